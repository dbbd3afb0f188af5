"""Load batches as tensors: two views per image for training, one for feature extraction."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcdflow.data.augmentation import Augmentation
from gcdflow.data.datasets.images import Images
from gcdflow.data.randomness import AUGMENTATION_STREAM, uniforms
from gcdflow.data.sampling import BatchPlan, plans_by_epoch
from gcdflow.data.workers import Arrays, in_workers
from gcdflow.files.formats import Split, align

N_VIEWS = 2
_BYTES = np.dtype(np.int64).itemsize  # of a position


@dataclass(frozen=True)
class Batch:
    """Two views of each sample of a batch, or of the part of the batch that this rank embeds.

    Attributes
    ----------
    positions : int64 (B,), position of each sample of the whole batch in the split
    views : (2 · b, C, H, W), all first views, then all second; b is B, or the number of samples in
        the part
    """

    positions: Tensor
    views: Tensor


@dataclass(frozen=True)
class _TrainingBatches:
    """Maps (epoch, plan) to a batch; a pure function, so any process may call it."""

    split: Split
    images: Images
    augmentation: Augmentation
    seed: int
    part: slice

    def __call__(self, item: tuple[int, BatchPlan]) -> Arrays:
        epoch, whole = item
        positions = align("split", self.split.indices, whole.ids)
        plan = BatchPlan(whole.ids[self.part], whole.occurrences[self.part])
        images = self.images.read(positions[self.part], self.augmentation.shortest_side)
        prepared = self.augmentation.prepare(images)
        views = [
            self.augmentation.view(prepared, self._numbers(epoch, plan, view))
            for view in range(N_VIEWS)
        ]
        return positions, torch.cat(views).contiguous().numpy()

    def _numbers(self, epoch: int, plan: BatchPlan, view: int) -> np.ndarray:
        """Uniform numbers for one view of each sample of the batch, float64 (B, n_draws)."""
        which = N_VIEWS * plan.occurrences + view
        return uniforms(
            self.augmentation.n_draws, self.seed, epoch, plan.ids, which, AUGMENTATION_STREAM
        )


def training_batches(
    split: Split,
    images: Images,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    num_workers: int | None = None,
    part: slice = slice(None),
    **options: Any,
) -> Iterator[tuple[int, Iterator[Batch]]]:
    """Batches of several epochs, epoch by epoch; workers do not stop between epochs.

    Parameters
    ----------
    num_workers : int or None
        Processes that load images, as for :func:`n_workers`.
    part : slice
        Samples of each batch whose views this rank makes.
    **options
        The others of :func:`gcdflow.data.sampling.plans_by_epoch`: ``epochs``, and if needed
        ``first_step``, ``min_steps`` and ``neighbours``.

    Yields
    ------
    epoch : int
        Number of the epoch.
    batches : iterator of Batch
        Must be exhausted before the next epoch begins.
    """
    plans_of_epochs = plans_by_epoch(split, batch_size=batch_size, seed=seed, **options)
    by_epoch, ahead = itertools.tee(plans_of_epochs)  # workers begin the next epoch early

    def n_bytes() -> int:  # views with and without randomness have the same size
        (view,) = _evaluation_batch(images, augmentation, split.train_mask.nonzero()[0][:1])
        return batch_size * (N_VIEWS * view.nbytes + _BYTES)

    batches = in_workers(
        _TrainingBatches(split, images, augmentation, seed, part),
        ((epoch, plan) for epoch, plans in ahead for plan in plans),
        n_workers(num_workers, images, augmentation),
        n_bytes,
    )
    with contextlib.closing(batches):
        for epoch, plans in by_epoch:
            yield epoch, (Batch(*map(torch.from_numpy, next(batches))) for _ in plans)


def n_workers(asked: int | None, images: Images, augmentation: Augmentation) -> int:
    """Number of image-loading processes; None: one per thread, none if loading is cheap."""
    if asked is not None:
        return asked
    wanted = images.needs_workers or augmentation.needs_workers
    return torch.get_num_threads() if wanted else 0


def _evaluation_batch(images: Images, augmentation: Augmentation, positions: np.ndarray) -> Arrays:
    """Images at some positions, without randomness."""
    read = images.read(positions, augmentation.shortest_side)
    return (augmentation.evaluation_view(augmentation.prepare(read)).contiguous().numpy(),)


def evaluation_batches(
    images: Images,
    augmentation: Augmentation,
    positions: np.ndarray,
    *,
    batch_size: int,
    num_workers: int | None = None,
) -> Iterator[Tensor]:
    """Images at the given positions in order, in batches (≤ batch_size, C, H, W).

    ``num_workers`` as of :func:`training_batches`.
    """
    if len(positions) == 0:
        return
    chunks = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    load = partial(_evaluation_batch, images, augmentation)
    batches = in_workers(
        load,
        chunks,
        n_workers(num_workers, images, augmentation),
        lambda: batch_size * load(positions[:1])[0].nbytes,
    )
    with contextlib.closing(batches):
        for (batch,) in batches:
            yield torch.from_numpy(batch)
