"""What jobs ask a cluster for: bounds from settings and headers of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import ClusteringSettings, RunSettings
from gcdflow.planning.job_resources import (
    JobRequest,
    array_shape,
    cluster_request,
    features_request,
    reading_request,
    train_request,
)

CUB = RunSettings()  # ViT-B/16, 224 pixels, batches of 128


def test_shape_is_read_from_the_header(tmp_path: Path):
    path = tmp_path / "f.npz"
    np.savez(path, features=np.zeros((7, 3), np.float32), indices=np.arange(5))
    assert array_shape(path, "features") == (7, 3)
    assert array_shape(path, "indices") == (5, 1)


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


def test_training_asks_by_epochs_samples_batches_and_weights():
    def request(epochs=5, n=12_000, input_mb=350.0, threads=8, attempt=1, **changes):
        settings = RunSettings.model_validate(changes)
        return train_request(settings, epochs, n, input_mb, threads, attempt)

    base = request()
    assert base == JobRequest(
        mem_mb=15_100, runtime=25
    )  # 12,000 · 5 epochs · 2 views at 200 a second
    assert request(epochs=50).runtime == 15 + 100
    assert request(n=120_000).runtime == 15 + 100
    steps = {"min_steps": 200, "batch_size": 120}
    assert request(training=steps).runtime == 15 + 20  # 200 · 120 images an epoch
    assert request(n=120_000, training=steps).runtime == 15 + 100
    assert request(threads=4).mem_mb < base.mem_mb
    assert request(training={"batch_size": 256}).mem_mb > base.mem_mb
    four = request(gpus=4, threads=32)
    assert 2 * base.mem_mb < four.mem_mb < 4 * base.mem_mb
    assert request(input_mb=1350.0).mem_mb == base.mem_mb + 4000


def test_a_second_attempt_at_training_asks_for_more_memory_but_no_more_time():
    first, second = (train_request(CUB, 5, 12_000, 350.0, 8, attempt) for attempt in (1, 2))
    assert second.mem_mb == pytest.approx(2 * first.mem_mb, abs=100)
    assert second.runtime == first.runtime


@pytest.mark.parametrize(
    "request_of",
    [
        lambda attempt: features_request(CUB, 12_000, 350.0, 8, attempt),
        lambda attempt: cluster_request(ClusteringSettings(), 50_000, 768, 8, attempt),
        lambda attempt: reading_request(100.0, attempt),
    ],
)
def test_other_jobs_ask_for_more_of_both_up_to_the_third_attempt(request_of):
    first, second, third, fourth = map(request_of, (1, 2, 3, 4))
    assert second.mem_mb == pytest.approx(2 * first.mem_mb, abs=100)
    assert second.runtime == pytest.approx(2 * first.runtime, abs=1)
    assert third.mem_mb > second.mem_mb
    assert fourth == third


def test_clustering_asks_for_more_than_was_measured():
    """1,371 MiB and 119 s at 50,000 × 768 with two threads (docs/ssddbc.md)."""
    request = cluster_request(ClusteringSettings(), 50_000, 768, threads=2, attempt=1)
    assert 1438 < request.mem_mb < 8000
    assert 15 + 2 < request.runtime < 60
    larger = cluster_request(ClusteringSettings(), 200_000, 768, threads=2, attempt=1)
    assert larger.runtime > 3 * request.runtime
