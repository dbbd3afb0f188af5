"""Balanced, stateless batches: the samples of an epoch and their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gcdflow.data.randomness import permutation
from gcdflow.errors import InputError
from gcdflow.files.formats import Split

_LABELLED_STREAM, _UNLABELLED_STREAM = 0, 1


@dataclass(frozen=True)
class BatchPlan:
    """One batch: sample ids (int64, B) and how often each occurred before in the epoch (int64, B).

    The number of occurrences makes the views differ if a sample is drawn twice in an epoch.
    """

    ids: np.ndarray
    occurrences: np.ndarray


def batches_per_epoch(n_samples: int, batch_size: int) -> int:
    """Number of whole batches closest to one pass over all samples; at least one."""
    return max(1, round(n_samples / batch_size))


def plan_epoch(
    labelled: np.ndarray, unlabelled: np.ndarray, *, batch_size: int, seed: int, epoch: int
) -> list[BatchPlan]:
    """The batches of one epoch: half labelled, half unlabelled samples.

    Each half passes through its samples in random order, and starts a new pass when the last one is
    used up. The epoch has as many samples as the training split, rounded to whole batches. If one
    kind is missing, the other fills the batch.

    Parameters
    ----------
    labelled, unlabelled : ndarray of int64
        Sample ids.

    Returns
    -------
    list of BatchPlan, each with exactly ``batch_size`` samples

    Raises
    ------
    InputError
        If there are no samples.
    """
    n_samples = len(labelled) + len(unlabelled)
    if n_samples == 0:
        raise InputError("the split has no training samples")
    n_batches = batches_per_epoch(n_samples, batch_size)
    n_labelled = batch_size // 2
    if len(labelled) == 0 or len(unlabelled) == 0:
        n_labelled = batch_size if len(labelled) else 0
    streams = [
        _stream(labelled, n_batches * n_labelled, (seed, epoch, _LABELLED_STREAM)),
        _stream(
            unlabelled, n_batches * (batch_size - n_labelled), (seed, epoch, _UNLABELLED_STREAM)
        ),
    ]
    halves = [
        (ids.reshape(n_batches, -1), passes.reshape(n_batches, -1)) for ids, passes in streams
    ]
    ids, passes = (np.concatenate(parts, axis=1) for parts in zip(*halves, strict=True))
    return [BatchPlan(ids[b], passes[b]) for b in range(n_batches)]


def plans_by_epoch(
    split: Split, *, epochs: range, batch_size: int, seed: int, first_step: int = 0
) -> Iterator[tuple[int, list[BatchPlan]]]:
    """Each epoch with the batches of a split's training samples that are left to do.

    Parameters
    ----------
    first_step : int
        Number of finished batches of the first epoch, which are skipped.
    """
    labelled = split.indices[split.train_mask & split.labelled_mask]
    unlabelled = split.indices[split.train_mask & ~split.labelled_mask]
    for epoch in epochs:
        plans = plan_epoch(labelled, unlabelled, batch_size=batch_size, seed=seed, epoch=epoch)
        yield epoch, plans[first_step:] if epoch == epochs[0] else plans


def _stream(ids: np.ndarray, length: int, keys: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The first ``length`` ids of repeated random passes over the samples, with pass numbers."""
    if length == 0:
        empty = np.empty(0, dtype=np.int64)
        return empty, empty
    n_passes = -(-length // len(ids))
    orders = np.concatenate([permutation(ids, *keys, number) for number in range(n_passes)])
    return orders[:length], np.repeat(np.arange(n_passes), len(ids))[:length]
