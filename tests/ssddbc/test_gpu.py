"""The search as a GPU does it, here on PyTorch's CPU; tests/gpu repeats it on a GPU."""

import sys

import numpy as np
import pytest
import torch
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch, _gpu, _scores, core_neighbours
from gcdflow.ssddbc import _search as search
from gcdflow.ssddbc._gpu import Gpu
from gcdflow.ssddbc._points import make_points

from ssddbc.on_gpu import assert_equals_cpu
from ssddbc.test_approximate import groups


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """So that small data have several tiles, blocks and parts of runs."""
    monkeypatch.setattr(_gpu, "COLUMNS_PER_TILE", 190)
    monkeypatch.setattr(_gpu, "SUMMED_QUERIES", 100)
    monkeypatch.setattr(_gpu, "LONGEST_RUN", 7)
    monkeypatch.setattr("gcdflow.ssddbc._lists.QUERIES_ON_GPU", 150)


@pytest.fixture
def cpu_as_gpu(monkeypatch):
    """PyTorch's CPU takes the place of the GPU; returns the devices that were asked for."""
    holding, asked = Gpu.holding, []

    def hold(work, squares, device):
        asked.append(device)
        return holding(work, squares, "cpu")

    monkeypatch.setattr(Gpu, "holding", hold)
    monkeypatch.setattr(_gpu, "import_torch", lambda device: torch)
    return asked


def rows(n=700, d=12):
    return np.random.default_rng(0).normal(size=(n, d))


def held(X):
    with search.Workers(1) as workers:
        points = make_points(X, workers)
    return points, Gpu.holding(points.work, points.squares, "cpu")


@pytest.mark.parametrize("m", [1, 20, 500, 699, 700])
def test_the_nearest_by_products(m):
    points, gpu = held(rows())
    own = np.where(np.arange(700) % 3, np.arange(700), -1)
    found, counts, bounds = gpu.nearest(points.work, own, m)
    keys = points.squares - 2 * (points.work @ points.work.T)
    keys[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
    np.testing.assert_array_equal(counts, np.minimum(m, 700 - (own >= 0)))
    for query in range(700):
        mine = found[query, : counts[query]]
        assert len(set(mine)) == counts[query]
        assert own[query] not in mine
        rest = np.delete(keys[query], mine)
        assert keys[query, mine].max() <= rest.min(initial=np.inf) + 1e-5
        assert bounds[query] == np.inf or abs(bounds[query] - keys[query, mine].max()) < 1e-5
        assert (bounds[query] == np.inf) == (m >= 700 - (own[query] >= 0))


def test_sums_of_runs_and_what_is_left_out_of_them():
    X = rows()
    X[50] = X[3] + 1e-9
    points, gpu = held(X)
    columns, queries = np.arange(100), np.array([3, 200, 99])
    runs, weights = np.array([1, 60, 39]), np.arange(1.0, 101.0)
    found, doubtful = gpu.sums(columns, queries, runs, weights, points.scale, 1e-3, 0.5)
    assert sorted(map(tuple, doubtful)) == [(3, 0), (50, 0), (99, 2)]
    away = np.linalg.norm(X[columns, None] - X[queries], axis=2) * weights[:, None]
    expected = np.add.reduceat(away, [0, 1, 61])
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert gpu.sums(columns, queries, runs, weights, points.scale, 1e-3, 0.005) is None


@pytest.mark.parametrize("copies", [False, True])
def test_a_search_equals_that_of_the_cpu(copies):
    X, y = groups(900)
    if copies:
        X[300:600] = X[np.arange(300) % 7]
    assert_equals_cpu(X, y, "cpu")


def test_tight_clusters_far_apart(monkeypatch):
    """Within them, float32 products tell no distances, and float64 is needed on the CPU."""
    X, y = groups(600)
    X = 1e-4 * X + 100 * (np.arange(600) % 2)[:, None]
    precise = []
    centred = _scores.Columns.centred
    monkeypatch.setattr(
        _scores.Columns, "centred", lambda self, part: precise.append(part) or centred(self, part)
    )
    assert_equals_cpu(X, y, "cpu")
    assert precise


def test_rows_whose_distances_underflow():
    X = np.zeros((40, 3))
    X[:, 0] = np.arange(40) % 4 * 1e-170
    X[20:, 1] = 1.0
    assert_equals_cpu(X, np.where(np.arange(40) % 3, -1, np.arange(40) % 2).astype(np.int32), "cpu")


def test_estimators_use_the_device(cpu_as_gpu):
    X, y = groups(500)
    found = SSDDBCGridSearch((3, 5), (50, 80), device="cuda").fit(X, y)
    expected = SSDDBCGridSearch((3, 5), (50, 80)).fit(X, y)
    np.testing.assert_array_equal(found.labels_, expected.labels_)
    core = expected.core_sample_mask_
    near = core_neighbours(X, core, expected.labels_, y, device="cuda:1")
    np.testing.assert_array_equal(near, core_neighbours(X, core, expected.labels_, y))
    SSDDBC(device="cuda", neighbours="approximate").fit(X, y)
    assert cpu_as_gpu == ["cuda", "cuda:1", "cuda"]


def test_products_have_the_whole_precision_whatever_the_caller_has_set():
    points, gpu = held(rows())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, _, bounds = gpu.nearest(points.work[:50], np.full(50, -1), 5)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    keys = np.sort(points.squares - 2 * (points.work[:50] @ points.work.T), axis=1)
    np.testing.assert_allclose(bounds, keys[:, 4], atol=1e-6)


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("gpu", "device is 'gpu', expected 'cpu', 'cuda' or 'cuda:<number>'"),
        (None, "device is None, expected"),
        ("cuda", "device cuda: PyTorch finds no GPU; choose device cpu"),
    ],
)
def test_a_device_that_is_none(device, sentence, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    X, _ = groups(60)
    for search_ in (SSDDBC(device=device), SSDDBCGridSearch((3,), (50,), device=device)):
        with pytest.raises(InputError, match=sentence):
            search_.fit(X)


def test_no_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="device cuda needs the package torch, which is not"):
        SSDDBC(device="cuda").fit(groups(60)[0])


def test_memory_of_a_gpu_that_is_too_small(cpu_as_gpu, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines.")

    monkeypatch.setattr(torch, "addmm", fail)
    with pytest.raises(
        InputError, match="too small for these features: CUDA out of memory"
    ) as error:
        SSDDBC(device="cuda").fit(groups(60)[0])
    assert "\n" not in str(error.value)
