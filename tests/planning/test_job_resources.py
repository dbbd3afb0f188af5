"""What jobs ask a cluster for: bounds from settings and headers of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gcdflow.clustering.number import TREE_SAMPLES
from gcdflow.config.settings import RunSettings
from gcdflow.planning import job_resources
from gcdflow.planning.job_resources import (
    JobRequest,
    array_shape,
    asks,
    baseline_request,
    cluster_request,
    estimate_request,
    evaluate_request,
    features_request,
    reading_request,
    train_request,
    training_shape,
    views_request,
)

CUB = RunSettings()  # ViT-B/16, 224 pixels, batches of 128; a warm-up of 50 epochs, segments of 5


class Files(dict):
    """Inputs of a job, as Snakemake hands them to a rule's functions."""

    def __init__(self, size_mb: float = 350.0, **paths: str):
        super().__init__(paths)
        self.size_mb = size_mb


@pytest.fixture
def shape(monkeypatch: pytest.MonkeyPatch):
    """Says how many rows and columns the arrays in all inputs have."""

    def say(n: int, d: int = 1):
        shapes = {"indices": (n, 1), "features": (n, d)}
        monkeypatch.setattr(job_resources, "array_shape", lambda path, name: shapes[name])
        monkeypatch.setattr(job_resources, "training_shape", lambda path: shapes["features"])

    return say


def test_shape_is_read_from_the_header(tmp_path: Path):
    path = tmp_path / "f.npz"
    np.savez(path, features=np.zeros((7, 3), np.float32), indices=np.arange(5))
    assert array_shape(path, "features") == (7, 3)
    assert array_shape(path, "indices") == (5, 1)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_shape_of_training_samples_is_read_from_the_mask(tmp_path: Path, save):
    path, features = tmp_path / "f.npz", np.zeros((7, 3), np.float32)
    save(path, features=features, train_mask=np.arange(7) % 2 == 0)
    assert training_shape(path) == (4, 3)
    save(path, features=features)
    assert training_shape(path) == (7, 3)
    save(path, features=features, train_mask=np.zeros(7, bool))
    assert training_shape(path)[0] == 1, "an error of the stage"
    save(path, features=features, train_mask=np.array([{}]))
    assert training_shape(path) == (1, 1)


def test_a_broken_mask_is_left_to_the_stage(tmp_path: Path):
    path = tmp_path / "f.npz"
    mask = np.random.default_rng(0).random(4000) < 0.5
    np.savez_compressed(path, features=np.zeros((4000, 3), np.float32), train_mask=mask)
    content = bytearray(path.read_bytes())
    content[-1000:-800] = bytes(200)  # of the mask, which is last
    path.write_bytes(content)
    assert array_shape(path, "features") == (4000, 3)
    assert training_shape(path) == (1, 1)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4"])
def test_a_broken_archive_is_left_to_the_stage(tmp_path: Path, content: bytes):
    path = tmp_path / "f.npz"
    path.write_bytes(content)
    assert array_shape(path, "features") == (1, 1)


def test_an_archive_without_the_array_is_left_to_the_stage(tmp_path: Path):
    np.savez(tmp_path / "f.npz", other=np.zeros(3), text=np.array("text"))
    assert array_shape(tmp_path / "f.npz", "features") == (1, 1)
    assert array_shape(tmp_path / "f.npz", "text") == (1, 1)


def test_a_missing_file_is_asked_for_again(tmp_path: Path):
    with pytest.raises(FileNotFoundError) as missing:
        array_shape(tmp_path / "f.npz", "features")
    assert missing.value.filename == str(tmp_path / "f.npz")  # by which Snakemake knows


def test_requests_wait_for_inputs_that_do_not_exist_yet(tmp_path: Path):
    files = Files(split=str(tmp_path / "split.npz"), features=str(tmp_path / "features.npz"))
    for request, arguments in (
        (train_request, ("a", 50)),
        (views_request, ()),
        (features_request, ()),
        (cluster_request, ()),
        (estimate_request, ()),
        (baseline_request, ()),
    ):
        with pytest.raises(FileNotFoundError):
            request(CUB, *arguments, files, 1, 1)


def test_a_rule_asks_for_memory_and_time_of_its_request():
    found = asks(lambda wildcards, *job: reading_request(CUB, *job))
    values = {name: ask(None, Files(), 4, 1) for name, ask in found.items()}
    assert values == {"mem_mb": 4100, "runtime": 30}


def test_training_asks_by_epochs_samples_batches_and_weights(shape):
    def request(epoch=55, n=12_000, input_mb=350.0, threads=8, **changes):
        shape(n)
        settings = RunSettings.model_validate(changes)
        return train_request(settings, "a", epoch, Files(input_mb), threads, attempt=1)

    base = request()
    assert base == JobRequest(
        mem_mb=15_100, runtime=25
    )  # 12,000 · 5 epochs · 2 views at 200 a second
    assert request(epoch=50).runtime == 15 + 100
    assert request(n=120_000).runtime == 15 + 100
    steps = {"min_steps": 200, "batch_size": 120}
    assert request(training=steps).runtime == 15 + 20  # 200 · 120 images an epoch
    assert request(n=120_000, training=steps).runtime == 15 + 100
    assert request(threads=4).mem_mb < base.mem_mb
    assert request(training={"batch_size": 256}).mem_mb > base.mem_mb
    four = request(gpus=4, threads=32)
    assert 2 * base.mem_mb < four.mem_mb < 4 * base.mem_mb
    assert request(input_mb=1350.0).mem_mb == base.mem_mb + 4000


def test_a_second_attempt_at_training_asks_for_more_memory_but_no_more_time(shape):
    shape(12_000)
    first, second = (train_request(CUB, "a", 55, Files(), 8, attempt) for attempt in (1, 2))
    assert second.mem_mb == pytest.approx(2 * first.mem_mb, abs=100)
    assert second.runtime == first.runtime


@pytest.mark.parametrize("request_of", [features_request, cluster_request, reading_request])
def test_other_jobs_ask_for_more_of_both_up_to_the_third_attempt(request_of, shape):
    shape(50_000, 768)
    first, second, third, fourth = (request_of(CUB, Files(), 8, attempt) for attempt in range(1, 5))
    assert second.mem_mb == pytest.approx(2 * first.mem_mb, abs=100)
    assert second.runtime == pytest.approx(2 * first.runtime, abs=1)
    assert third.mem_mb > second.mem_mb
    assert fourth == third


def test_a_job_that_only_reads_asks_by_the_size_of_its_inputs():
    assert reading_request(CUB, Files(), 4, 1) == JobRequest(mem_mb=4100, runtime=30)


def test_stored_views_ask_by_their_number(shape):
    def request(views, attempt=1):
        settings = RunSettings.model_validate({"training": {"views": views}})
        return views_request(settings, Files(100.0), 4, attempt)

    shape(10_000)
    few, many = request(2), request(32)
    assert (few.runtime - 15, many.runtime - 15) == (5, 55)  # minutes, for 3 and 33 views
    assert many.mem_mb >= few.mem_mb > 6000
    assert request(2, attempt=2).runtime == few.runtime


def test_clustering_asks_for_more_than_was_measured(shape):
    """1,371 MiB and 119 s at 50,000 × 768 with two threads (docs/ssddbc.md)."""
    shape(50_000, 768)
    request = cluster_request(CUB, Files(), threads=2, attempt=1)
    assert 1438 < request.mem_mb < 8000
    assert 15 + 2 < request.runtime < 60
    shape(200_000, 768)
    larger = cluster_request(CUB, Files(), threads=2, attempt=1)
    assert larger.runtime > 3 * request.runtime
    shape(50_000, 768)
    wide = RunSettings.model_validate({"clustering": {"k": "1000"}})
    lists = 12 * 1000 * 50_000 / 1e6
    assert cluster_request(wide, Files(), threads=2, attempt=1).mem_mb > request.mem_mb + lists


def test_clustering_asks_for_the_search_of_the_training_samples(monkeypatch):
    """Of 500,000 samples the search would be approximate, of the 450,000 for training it is not."""
    monkeypatch.setattr(job_resources, "array_shape", lambda path, name: (500_000, 768))
    monkeypatch.setattr(job_resources, "training_shape", lambda path: (450_000, 768))
    exact = RunSettings.model_validate({"clustering": {"neighbours": "exact"}})
    requests = [cluster_request(run, Files(1540.0), 4, 1) for run in (CUB, exact)]
    assert requests[0] == requests[1]


def test_an_evaluation_asks_for_the_time_of_all_its_searches(shape):
    shape(50_000, 768)
    run = RunSettings.model_validate({"clustering": {"label_draws": 5, "k": "5,10"}})
    assert evaluate_request(CUB, Files(), 4, 1) == reading_request(CUB, Files(), 4, 1)
    once, many = cluster_request(run, Files(), 4, 1), evaluate_request(run, Files(), 4, 1)
    assert many.mem_mb == once.mem_mb
    assert many.runtime > once.runtime


def test_other_clusterings_ask_for_distances_of_pairs_and_for_less_time_if_told_the_number(shape):
    shape(50_000, 768)
    request = baseline_request(CUB, Files(), 8, 1)
    assert request.mem_mb > 8 * 50_000**2 / 2 / 1e6, "distances of all pairs"
    estimate = estimate_request(CUB, Files(), 8, 1)
    assert estimate.runtime == request.runtime
    assert 8 * TREE_SAMPLES**2 / 1e6 < estimate.mem_mb < request.mem_mb, "distances of some pairs"
    given = baseline_request(CUB, Files(estimates="e.json"), 8, 1)
    assert given.mem_mb == request.mem_mb
    assert given.runtime < request.runtime
