"""What the jobs of a run ask a cluster for: GPUs, threads, memory in MB and walltime in minutes.

Too little gets a job killed, too much makes it wait. The numbers are upper bounds from what is
known before a job starts (settings, and headers and masks of its inputs); comments give measured
values. A profile may limit the requests (``resources:``). A job that is killed nevertheless
requests more in its next attempt.

A request raises FileNotFoundError if the input that says how much work there is does not exist yet.
"""

from __future__ import annotations

import ast
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from gcdflow.config.settings import RunSettings
from gcdflow.planning.plan import segment_length
from gcdflow.ssddbc import estimate_resources

THREADS_PER_GPU = 8  # of a training: they read images ahead

_MB = 1e6

# Python with PyTorch took 0.75 GB on a CPU, and 2.6 to 3.7 GiB on an H200 (docs/gpu.md).
_TORCH_MB = 6000
_PYTHON_MB = 2000  # NumPy, Numba, scikit-learn: 0.25 GB measured, and room for what is read
_LOADER_MB = 500  # an image-loading process, beside its batches
_FEATURE_BATCH = 64
_ROWS_OF_A_CHUNK = 64  # of stored views

_BATCHES_AHEAD = 3  # per loading process: two that wait, one that is made
_BYTES_PER_FEATURE_ROW = 3 * 1024 * 4  # 1,024 dimensions, in parts, whole, and being written

_USUAL_SIDE = 224  # of images whose size a run leaves to its model, which planning does not ask

_START_MINUTES = 15  # also of a cold file system
# Of a ViT-B/16 on a modest GPU: an H200 makes 1,276 fresh views and 449 features (docs/gpu.md).
_VIEWS_PER_SECOND = 200
_IMAGES_PER_SECOND = 100
# Of one thread, for each number of a row; 2e-6 measured on the digits, with fewer clusters.
_KMEANS_MINUTES = 1e-5
_TREE_SAMPLES = 20_000  # gcdflow.clustering.number takes seconds to import


class JobRequest(NamedTuple):
    """What one job asks for: memory in MB and walltime in minutes."""

    mem_mb: int
    runtime: int


class JobFiles(Protocol):
    """The inputs of a job, as Snakemake has them.

    Attributes
    ----------
    size_mb : float, size of all together.
    """

    size_mb: float

    def get(self, name: str) -> str | None:
        """Path of the input of that name; None if the job has none."""


_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, SyntaxError, TypeError)


def array_shape(path: str | Path, name: str) -> tuple[int, int]:
    """Rows and columns of an array in an ``.npz`` archive, of which only the header is read.

    A list counts as one column. A broken archive gives (1, 1): the stage that reads it will say
    what is wrong.

    Raises
    ------
    FileNotFoundError
        If there is no such file (yet).
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as array:
            rows, columns, *_ = (*_header(array)["shape"], 1, 1)
            return max(rows, 1), max(columns, 1)
    except _BROKEN:
        return 1, 1


def _header(array: IO[bytes]) -> dict[str, Any]:
    """The header of a ``.npy`` file, without NumPy, which Snakemake's environment need not have."""
    length = int.from_bytes(array.read(10)[8:], "little")  # after the magic string and the version
    return ast.literal_eval(array.read(length).decode("latin1"))


def training_shape(path: str | Path) -> tuple[int, int]:
    """Training samples and dimensions of a feature cache.

    A broken archive gives (1, 1), and a missing one is an error, as by :func:`array_shape`.
    """
    n, d = array_shape(path, "features")
    try:
        with zipfile.ZipFile(path) as archive:
            if "train_mask.npy" not in archive.namelist():
                return n, d  # all samples are for training (docs/contract.md, section 2)
            with archive.open("train_mask.npy") as mask:
                is_of_bytes = _header(mask)["descr"] == "|b1"
                return (max(mask.read().count(1), 1), d) if is_of_bytes else (1, 1)
    except _BROKEN:
        return 1, 1


def asks(request: Callable[..., JobRequest]) -> dict[str, Callable[..., int]]:
    """The resources of a rule: Snakemake calls them, again later if an input does not exist yet.

    Parameters
    ----------
    request : callable
        Of wildcards, inputs, threads and attempt.
    """

    def asked(name: str) -> Callable[..., int]:
        return lambda wildcards, input, threads, attempt: getattr(
            request(wildcards, input, threads, attempt), name
        )

    return {name: asked(name) for name in ("mem_mb", "runtime")}


def cluster_gpus(settings: RunSettings) -> int:
    """GPUs of a grid search."""
    return int(settings.clustering.device == "cuda")


def train_threads(settings: RunSettings) -> int:
    """Threads of a training."""
    return THREADS_PER_GPU * settings.gpus


def train_request(
    settings: RunSettings, run: str, epoch: int, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Request of the segment of training that ends with an epoch.

    Its walltime does not grow with the attempts: each resumes where the one before stopped.
    """
    n, _ = array_shape(files.get("split"), "indices")
    training = settings.training
    batch_mb = 2 * training.batch_size * _image_mb(settings)
    # Each rank has the model; the threads, and the images that they read ahead, are all ranks'.
    memory = settings.gpus * (_TORCH_MB + 4 * files.size_mb)
    memory += threads * (_LOADER_MB + _BATCHES_AHEAD * batch_mb / settings.gpus)
    n_of_epoch = max(n, (training.min_steps or 0) * training.batch_size)
    epochs = segment_length(settings, run, epoch)
    minutes = _START_MINUTES + 2 * n_of_epoch * epochs / _VIEWS_PER_SECOND / 60
    return _rounded(_grown(memory, attempt), minutes)


def features_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Request of a feature extraction."""
    n, _ = array_shape(files.get("split"), "indices")
    batch_mb = _FEATURE_BATCH * _image_mb(settings)
    memory = _TORCH_MB + threads * (_LOADER_MB + _BATCHES_AHEAD * batch_mb) + 4 * files.size_mb
    memory += n * _BYTES_PER_FEATURE_ROW / _MB
    minutes = _START_MINUTES + n / _IMAGES_PER_SECOND / 60
    return _rounded(_grown(memory, attempt), _grown(minutes, attempt))


def views_request(settings: RunSettings, files: JobFiles, threads: int, attempt: int) -> JobRequest:
    """Request of the making of stored views, a chunk at a time.

    Its walltime does not grow with the attempts: each resumes where the one before stopped.
    """
    n, _ = array_shape(files.get("split"), "indices")
    rows = 1 + (settings.training.views or 0)
    batch_mb = max(rows, _ROWS_OF_A_CHUNK) * _image_mb(settings)
    memory = _TORCH_MB + threads * (_LOADER_MB + _BATCHES_AHEAD * batch_mb)
    minutes = _START_MINUTES + n * rows / _IMAGES_PER_SECOND / 60
    return _rounded(_grown(memory + 4 * files.size_mb, attempt), minutes)


def cluster_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int, searches: int = 1
) -> JobRequest:
    """Request of grid searches.

    The prediction of time is right within a factor of two or so (docs/ssddbc.md), and Numba may
    have to compile: hence three times as much. Test samples are read, but not searched.
    """
    n, d = training_shape(files.get("features"))
    cost = estimate_resources(n, d, n_jobs=threads, **settings.clustering.work())
    memory = _PYTHON_MB + files.size_mb + 1.2 * cost.memory_bytes / _MB
    minutes = _START_MINUTES + 3 * searches * cost.seconds / 60
    return _rounded(_grown(memory, attempt), _grown(minutes, attempt))


def evaluate_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Request of an evaluation, with a grid search for each draw of labels."""
    if draws := settings.clustering.label_draws:
        return cluster_request(settings, files, threads, attempt, draws)
    return reading_request(settings, files, threads, attempt)


def estimate_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Request of estimates of the number of clusters.

    k-means with up to 1,000 clusters takes most of the time. Ward's tree, of :data:`_TREE_SAMPLES`
    samples at most, takes most of the memory.
    """
    n, d = array_shape(files.get("features"), "features")
    memory = _PYTHON_MB + (min(n, _TREE_SAMPLES) ** 2 + 6 * n * d) * 8 / _MB
    minutes = _START_MINUTES + n * d * _KMEANS_MINUTES / threads
    return _rounded(_grown(memory, attempt), _grown(minutes, attempt))


def baseline_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Request of another clustering, whichever it is.

    Ward's linkage takes most of the memory: a float64 for each pair of samples, and a copy. If the
    numbers of clusters are given, half of the time is enough: of 4,000 × 768 features, three
    k-means with 1,000 clusters take a seventh of it, semi-supervised ones a quarter (from times of
    100 and 400 clusters), and three linkages, in n², a hundredth.
    """
    n, d = array_shape(files.get("features"), "features")
    memory = _PYTHON_MB + (n**2 + 6 * n * d) * 8 / _MB
    given = files.get("estimates") is not None
    minutes = _START_MINUTES + n * d * _KMEANS_MINUTES / threads / (2 if given else 1)
    return _rounded(_grown(memory, attempt), _grown(minutes, attempt))


def reading_request(
    settings: RunSettings, files: JobFiles, threads: int, attempt: int
) -> JobRequest:
    """Request of a job that reads its inputs and is done in minutes."""
    return _rounded(_grown(_PYTHON_MB + 6 * files.size_mb, attempt), _grown(30, attempt))


def _image_mb(settings: RunSettings) -> float:
    """Size of one view in float32."""
    side = getattr(settings.augmentation, "image_size", 32) or _USUAL_SIDE
    return 3 * side**2 * 4 / _MB


def _grown(amount: float, attempt: int) -> float:
    """Twice as much in the second attempt, three times from the third on."""
    return amount * min(attempt, 3)


def _rounded(memory: float, minutes: float) -> JobRequest:
    return JobRequest(mem_mb=100 * math.ceil(memory / 100), runtime=math.ceil(minutes))
