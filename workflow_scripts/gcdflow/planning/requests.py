"""What the jobs of a run ask a cluster for: GPUs, threads, memory and time."""

from __future__ import annotations

from typing import Protocol

from gcdflow.config.settings import RunSettings
from gcdflow.planning import job_resources
from gcdflow.planning.job_resources import JobRequest, array_shape
from gcdflow.planning.plan import segment_length

THREADS_PER_GPU = 8  # of a training: they read images ahead


class JobFiles(Protocol):
    """The inputs of a job, as Snakemake has them.

    Attributes
    ----------
    size_mb : float, size of all together.
    """

    size_mb: float

    def get(self, name: str) -> str | None:
        """Path of the input of that name; None if the job has none."""


def train_gpus(settings: RunSettings) -> int:
    """GPUs of a training."""
    return settings.gpus


def cluster_gpus(settings: RunSettings) -> int:
    """GPUs of a grid search."""
    return int(settings.clustering.device == "cuda")


def train_threads(settings: RunSettings) -> int:
    """Threads of a training."""
    return THREADS_PER_GPU * settings.gpus


def train_request(
    settings: RunSettings, run: str, epoch: int, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Memory and walltime of the segment that ends with an epoch.

    Raises
    ------
    FileNotFoundError
        By this and the next three, if the input that says how much work there is does not
        exist yet.
    """
    n, _ = array_shape(files.get("split"), "indices")
    epochs = segment_length(settings, run, epoch)
    return job_resources.train_request(settings, epochs, n, files.size_mb, threads, attempt)


def views_request(
    settings: RunSettings, run: str, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Memory and walltime of the making of stored views."""
    n, _ = array_shape(files.get("split"), "indices")
    return job_resources.views_request(settings, n, files.size_mb, threads, attempt)


def features_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Memory and walltime of a feature extraction."""
    n, _ = array_shape(files.get("split"), "indices")
    return job_resources.features_request(settings, n, files.size_mb, threads, attempt)


def cluster_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Memory and walltime of a grid search."""
    n, d = array_shape(files.get("features"), "features")
    return job_resources.cluster_request(settings.clustering, n, d, threads, attempt)


def evaluate_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Memory and walltime of an evaluation, with a grid search for each draw of labels."""
    draws = settings.clustering.label_draws
    if not draws:
        return reading_request(settings, files, threads, attempt)
    n, d = array_shape(files.get("features"), "features")
    return job_resources.cluster_request(settings.clustering, n, d, threads, attempt, draws)


def reading_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Memory and walltime of a job that reads its inputs and is done in minutes."""
    return job_resources.reading_request(files.size_mb, attempt)
