"""The search as a GPU does it, here on PyTorch's CPU; tests/gpu repeats it on a GPU."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch, _gpu, _lists, _scores, core_neighbours
from gcdflow.ssddbc import _search as search
from gcdflow.ssddbc._gpu import Gpu
from gcdflow.ssddbc._points import make_points
from sklearn.metrics import silhouette_score

from ssddbc.on_gpu import assert_equals_cpu
from ssddbc.test_approximate import groups


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    """So that small data have several tiles, blocks and parts of runs."""
    monkeypatch.setattr(_gpu, "COLUMNS_PER_TILE", 190)
    monkeypatch.setattr(_gpu, "SCORED_PER_BLOCK", 100)
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
    monkeypatch.setattr(_gpu, "check_torch", lambda device: None)
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


@pytest.mark.parametrize("unit", [1.0, 1e-100, 1e100])
def test_silhouettes_are_those_of_the_definition(unit):
    X = rows()
    X[1] = X[0] + 1e-5 * X[1]  # a distance that the CPU mends
    X, labels = unit * X, np.random.default_rng(1).integers(6, size=(3, 700))
    labels[1] = labels[0] // 3  # a family
    labels[2, labels[2] == 5] = 4
    labels[2, 17] = 5  # alone in its cluster
    _, gpu = held(X)
    with search.Workers(1) as workers:
        samples = search.make_samples(X, workers)
        samples = replace(samples, points=replace(samples.points, gpu=gpu))
        found, _ = _scores.mean_silhouettes(
            samples, labels.astype(np.int32), np.array([0, 0, 1]), np.arange(700), workers
        )
    expected = [silhouette_score(X, row) for row in labels]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("copies", [False, True])
def test_a_search_equals_that_of_the_cpu(copies, monkeypatch):
    X, y = groups(900)
    if copies:
        X[300:600] = X[np.arange(300) % 7]
    assert_equals_cpu(X, y, "cpu", monkeypatch)


def test_tight_clusters_far_apart(monkeypatch):
    """Within them, float32 products tell no distances, and float64 is needed on the CPU."""
    X, y = groups(600)
    X = 1e-4 * X + 100 * (np.arange(600) % 2)[:, None]
    assert any(assert_equals_cpu(X, y, "cpu", monkeypatch))


def test_a_few_points_close_together(monkeypatch):
    X, y = groups(600)
    X[:10] = X[0] + 1e-5 * X[:10]
    assert not any(assert_equals_cpu(X, y, "cpu", monkeypatch))


def test_rows_whose_distances_underflow(monkeypatch):
    X, y = np.zeros((40, 3)), np.where(np.arange(40) % 3, -1, np.arange(40) % 2)
    X[:, 0] = np.arange(40) % 4 * 1e-170
    X[20:, 1] = 1.0
    assert_equals_cpu(X, y.astype(np.int32), "cpu", monkeypatch)


def test_lists_end_like_those_of_the_cpu():
    points, gpu = held(rows(60))
    everyone = np.arange(60)
    with search.Workers(1) as workers:
        for with_gpu in (points, replace(points, gpu=gpu)):
            of_all = _lists.Search(points, everyone, with_gpu, everyone, workers)
            lists = _lists.neighbour_lists(of_all, 60)
            assert (lists.ids[:, -1] == -1).all()
            assert np.isinf(lists.dist[:, -1]).all()
            assert (lists.valid == 59).all()


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


@pytest.mark.parametrize("low", ["high", "new interface"])
def test_products_have_the_whole_precision_whatever_the_caller_has_set(low, monkeypatch):
    """Also where several searches run at the same time."""
    points, gpu = held(rows())
    matmul, before = torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    seen, addmm = [], torch.addmm

    def product(*arguments, **options):
        seen.append((matmul.fp32_precision, torch.is_autocast_enabled("cpu")))
        time.sleep(0.01)
        return addmm(*arguments, **options)

    monkeypatch.setattr(torch, "addmm", product)
    try:
        if low == "high":
            torch.set_float32_matmul_precision("high")
        else:
            matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", dtype=torch.bfloat16), ThreadPoolExecutor(2) as pool:
            others = [gpu, gpu.take(np.arange(700))]
            searches = [
                pool.submit(one.nearest, points.work[:50], np.full(50, -1), 5) for one in others
            ]
            _, _, bounds = gpu.nearest(points.work[:50], np.full(50, -1), 5)
            for one in searches:
                one.result()
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = "ieee"
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {("ieee", False)}
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


def test_a_device_that_cannot_be_used(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("CUDA error: invalid device ordinal\nMore lines.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(InputError) as error:
        SSDDBC(device="cuda:7").fit(groups(60)[0])
    sentence = "device cuda:7 cannot be used: CUDA error: invalid device ordinal; choose device cpu"
    assert str(error.value) == sentence


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
