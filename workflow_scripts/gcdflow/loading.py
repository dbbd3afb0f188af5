"""From batch plans to tensors: two views per image for training, one for feature extraction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gcdflow.augmentation import Augmentation
from gcdflow.datasets.images import Images
from gcdflow.errors import InputError
from gcdflow.formats import Split, align
from gcdflow.interruption import outlive_first_sigterm
from gcdflow.randomness import uniforms
from gcdflow.sampling import BatchPlan, batches_per_epoch, plan_epoch

T = TypeVar("T")

N_VIEWS = 2
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

    def __getitem__(self, item: tuple[int, BatchPlan]) -> Batch | InputError:
        epoch, whole = item
        positions = align("split", self._split.indices, whole.ids)
        plan = BatchPlan(whole.ids[self._part], whole.occurrences[self._part])
        try:
            images = self._images.read(positions[self._part], self._augmentation.shortest_side)
            prepared = self._augmentation.prepare(images)
            views = [
                self._augmentation.view(prepared, self._numbers(epoch, plan, view))
                for view in range(N_VIEWS)
            ]
        except InputError as error:
            return error
        return Batch(torch.from_numpy(positions), torch.cat(views))

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

    loader = DataLoader(
        _TrainingBatches(split, images, augmentation, seed, part),
        batch_size=None,
        sampler=((epoch, plan) for epoch in epochs for plan in plans(epoch)),
        num_workers=num_workers,
        worker_init_fn=outlive_first_sigterm,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
    )
    batches = _raising(loader)
    n_batches = batches_per_epoch(int(train.sum()), batch_size)
    for epoch in epochs:
        left = n_batches - first_step if epoch == epochs[0] else n_batches
        yield epoch, (next(batches) for _ in range(left))


def _raising(items: Iterable[T | InputError]) -> Iterator[T]:
    """Raise the errors among the items; a worker that raised them would add its traceback."""
    for item in items:
        if isinstance(item, InputError):
            raise item
        yield item


def default_workers(images: Images, augmentation: Augmentation) -> int:
    """Image-loading processes where nobody chose: one a thread, none where they would only cost."""
    wanted = images.needs_workers or augmentation.needs_workers
    return torch.get_num_threads() if wanted else 0


class _EvaluationBatches(Dataset):
    """Maps an array of positions to images without randomness."""

    def __init__(self, images: Images, augmentation: Augmentation):
        self._images = images
        self._augmentation = augmentation

    def __getitem__(self, positions: np.ndarray) -> Tensor | InputError:
        try:
            images = self._images.read(positions, self._augmentation.shortest_side)
            return self._augmentation.evaluation_view(self._augmentation.prepare(images))
        except InputError as error:
            return error


def evaluation_batches(
    images: Images,
    augmentation: Augmentation,
    positions: np.ndarray,
    *,
    batch_size: int,
    num_workers: int,
) -> Iterator[Tensor]:
    """Images of the given positions in order, (≤ batch_size, C, H, W) at a time."""
    chunks = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    return _raising(
        DataLoader(
            _EvaluationBatches(images, augmentation),
            batch_size=None,
            sampler=chunks,
            num_workers=num_workers,
            generator=torch.Generator().manual_seed(0),
        )
    )
