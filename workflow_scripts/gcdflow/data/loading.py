"""From batch plans to tensors: two views per image for training, one for feature extraction."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from gcdflow.data.augmentation import Augmentation
from gcdflow.data.datasets.images import Images
from gcdflow.data.randomness import uniforms
from gcdflow.data.sampling import BatchPlan, batches_per_epoch, plan_epoch
from gcdflow.distributed.interruption import outlive_first_sigterm
from gcdflow.errors import StageError, machine_error
from gcdflow.files.formats import Split, align

log = logging.getLogger(__name__)

T = TypeVar("T")

N_VIEWS = 2
# A batch takes seconds; what takes so long will not come.
TIMEOUT_SECONDS = 600
_PREFETCHED = 2  # batches that each worker makes ahead
_SHARED_MEMORY = Path("/dev/shm")
_AUGMENTATION_STREAM = 2  # apart from the sampling streams 0 and 1


@dataclass(frozen=True)
class Batch:
    """Two views of a batch of samples, or of the part of it that one of several ranks embeds.

    Attributes
    ----------
    positions : int64 (B,), position of each sample of the whole batch in the split
    views : (2 · b, C, H, W), all first views, then all second, as the augmentation makes them;
        b is B, or the number of samples in the part
    """

    positions: Tensor
    views: Tensor


class _TrainingBatches(Dataset):
    """Maps (epoch, plan) to a batch; a pure function, so any worker may do it."""

    def __init__(
        self, split: Split, images: Images, augmentation: Augmentation, seed: int, part: slice
    ):
        self._split = split
        self._images = images
        self._augmentation = augmentation
        self._seed = seed
        self._part = part

    def __getitem__(self, item: tuple[int, BatchPlan]) -> tuple[Tensor, Tensor]:
        epoch, whole = item
        positions = align("split", self._split.indices, whole.ids)
        plan = BatchPlan(whole.ids[self._part], whole.occurrences[self._part])
        images = self._images.read(positions[self._part], self._augmentation.shortest_side)
        prepared = self._augmentation.prepare(images)
        views = [
            self._augmentation.view(prepared, self._numbers(epoch, plan, view))
            for view in range(N_VIEWS)
        ]
        return torch.from_numpy(positions), torch.cat(views)

    def _numbers(self, epoch: int, plan: BatchPlan, view: int) -> np.ndarray:
        """Uniform numbers of one view of each sample of the batch, float64 (B, n_draws)."""
        which = N_VIEWS * plan.occurrences + view
        return uniforms(
            self._augmentation.n_draws, self._seed, epoch, plan.ids, which, _AUGMENTATION_STREAM
        )


def training_batches(
    split: Split,
    images: Images,
    augmentation: Augmentation,
    *,
    epochs: range,
    batch_size: int,
    seed: int,
    num_workers: int,
    first_step: int = 0,
    part: slice = slice(None),
) -> Iterator[tuple[int, Iterator[Batch]]]:
    """Batches of several epochs, epoch by epoch; workers run on across epoch boundaries.

    Parameters
    ----------
    first_step : int
        Batches of the first epoch that are left out, because they are done.
    part : slice
        Samples of each batch whose views are made here.

    Yields
    ------
    epoch : int
        Number of the epoch.
    batches : iterator of Batch
        Must be used up before the next epoch is asked for.
    """
    train = split.train_mask
    labelled = split.indices[train & split.labelled_mask]
    unlabelled = split.indices[train & ~split.labelled_mask]

    def plans(epoch: int) -> list[BatchPlan]:
        whole = plan_epoch(labelled, unlabelled, batch_size=batch_size, seed=seed, epoch=epoch)
        return whole[first_step:] if epoch == epochs[0] else whole

    batches = _loaded(
        _TrainingBatches(split, images, augmentation, seed, part),
        ((epoch, plan) for epoch in epochs for plan in plans(epoch)),
        num_workers,
        lambda: (
            N_VIEWS * batch_size * _bytes_of_a_view(images, augmentation, train.nonzero()[0][:1])
        ),
    )
    n_batches = batches_per_epoch(int(train.sum()), batch_size)
    with contextlib.closing(batches):
        for epoch in epochs:
            left = n_batches - first_step if epoch == epochs[0] else n_batches
            yield epoch, (Batch(*next(batches)) for _ in range(left))


def default_workers(images: Images, augmentation: Augmentation) -> int:
    """Image-loading processes where nobody chose: one a thread, none where they would only cost."""
    wanted = images.needs_workers or augmentation.needs_workers
    return torch.get_num_threads() if wanted else 0


def _bytes_of_a_view(images: Images, augmentation: Augmentation, position: np.ndarray) -> int:
    """Bytes of a view of one image; views with and without randomness are of one size."""
    prepared = augmentation.prepare(images.read(position, augmentation.shortest_side))
    return augmentation.evaluation_view(prepared).nbytes


class _EvaluationBatches(Dataset):
    """Maps an array of positions to images without randomness."""

    def __init__(self, images: Images, augmentation: Augmentation):
        self._images = images
        self._augmentation = augmentation

    def __getitem__(self, positions: np.ndarray) -> tuple[Tensor]:
        images = self._images.read(positions, self._augmentation.shortest_side)
        return (self._augmentation.evaluation_view(self._augmentation.prepare(images)),)


def evaluation_batches(
    images: Images,
    augmentation: Augmentation,
    positions: np.ndarray,
    *,
    batch_size: int,
    num_workers: int,
) -> Iterator[Tensor]:
    """Images of the given positions in order, (≤ batch_size, C, H, W) at a time."""
    if len(positions) == 0:
        return
    chunks = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    batches = _loaded(
        _EvaluationBatches(images, augmentation),
        chunks,
        num_workers,
        lambda: batch_size * _bytes_of_a_view(images, augmentation, positions[:1]),
    )
    with contextlib.closing(batches):
        for (batch,) in batches:
            yield batch


# -- worker processes -----------------------------------------------------------------------------

Tensors: TypeAlias = tuple[Tensor, ...]


class _InWorker(Dataset):
    """What a worker process makes of a dataset's items, on their way to the main process.

    An error that ends the stage is returned: raised here, it would arrive with a traceback. Memory
    to share is taken here, where that can fail, and not in PyTorch's background thread, which would
    drop the batch without a word.
    """

    def __init__(self, dataset: Dataset, shares_memory: bool):
        self._dataset = dataset
        self._shares_memory = shares_memory

    def __getitem__(self, item: object) -> Tensors | tuple[np.ndarray, ...] | StageError:
        try:
            tensors = self._dataset[item]
            if get_worker_info() is None:
                return tensors
            if self._shares_memory:
                return tuple(tensor.share_memory_() for tensor in tensors)
            return tuple(tensor.numpy() for tensor in tensors)
        except StageError as error:
            return error
        except (MemoryError, OSError, RuntimeError) as error:
            if (known := machine_error(error)) is None:
                raise
            return known


def _loaded(
    dataset: Dataset, items: Iterable[object], num_workers: int, n_bytes: Callable[[], int]
) -> Iterator[Tensors]:
    """What a dataset makes of the items, in their order.

    Parameters
    ----------
    num_workers : int
        Processes that make it; 0: this one.
    n_bytes : callable
        Gives the bytes of one result, at most; called where there are workers.

    Raises
    ------
    StageError
        Also if a worker is gone, or nothing comes for ``TIMEOUT_SECONDS``.
    """
    num_workers = _possible(num_workers)
    loader = DataLoader(
        _InWorker(dataset, num_workers > 0 and _fits_shared_memory(num_workers, n_bytes())),
        batch_size=None,
        collate_fn=_as_it_is,  # PyTorch's own would make tensors of arrays, in the worker
        sampler=items,
        num_workers=num_workers,
        prefetch_factor=_PREFETCHED if num_workers > 0 else None,
        timeout=TIMEOUT_SECONDS if num_workers > 0 else 0,
        worker_init_fn=outlive_first_sigterm,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
    )
    results = _or_machine_error(loader)
    with contextlib.closing(results):
        for result in results:
            if isinstance(result, StageError):
                raise result
            yield tuple(map(torch.as_tensor, result))


def _as_it_is(result: T) -> T:
    return result


def _or_machine_error(loader: DataLoader) -> Iterator[object]:
    """The loader's results; its own words for a failed machine become an error of one sentence."""
    known = None
    try:
        yield from loader
    except (RuntimeError, OSError) as error:
        if (known := machine_error(error)) is None:
            raise
    if known is not None:  # raised here, it does not keep the frames of the loader alive
        raise known


def _possible(num_workers: int) -> int:
    """So many worker processes, or none where the machine gives no locks to share with them."""
    try:
        multiprocessing.Lock()
    except OSError as error:
        if num_workers > 0:
            log.warning(
                "no data-loading processes can be started (%s, is %s writable?), so this process "
                "loads the images",
                *(error.strerror, _SHARED_MEMORY),
            )
        return 0
    return num_workers


def _fits_shared_memory(num_workers: int, n_bytes: int) -> bool:
    """Whether shared memory has room for all batches on their way; else they go through pipes.

    Where it is full, the kernel kills whoever writes to it. Containers often have 64 MB.
    """
    try:
        free = shutil.disk_usage(_SHARED_MEMORY).free
    except OSError:
        free = 0
    needed = (_PREFETCHED * num_workers + 2) * n_bytes
    if needed <= free // 2:  # others may use it, too
        return True
    log.warning(
        "%s has %.0f MB free and the batches of %d data-loading processes take %.0f MB, so they "
        "are sent through pipes, which is slower (docker run --shm-size=8g gives more)",
        *(_SHARED_MEMORY, free / 1e6, num_workers, needed / 1e6),
    )
    return False
