"""Balanced, stateless batches: the samples of an epoch and their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gcdflow.data.randomness import (
    LABELLED_STREAM,
    NEIGHBOUR_STREAM,
    UNLABELLED_STREAM,
    permutation,
    uniforms,
)
from gcdflow.errors import InputError
from gcdflow.files.formats import Split, align


@dataclass(frozen=True)
class BatchPlan:
    """One batch: sample ids (int64, B) and how often each occurred before in the epoch (int64, B).

    The number of occurrences makes the views differ if a sample is drawn twice in an epoch.
    """

    ids: np.ndarray
    occurrences: np.ndarray


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of samples, which batches hold side by side.

    Attributes
    ----------
    ids : int64 (n,), sample ids
    neighbours : int64 (n, m), sample ids of the neighbours of each, then -1
    """

    ids: np.ndarray
    neighbours: np.ndarray

    def draw(self, ids: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """One neighbour of each sample (int64, same shape), -1 where it has none.

        Parameters
        ----------
        ids : ndarray of int64
        numbers : ndarray of float64, same shape, in [0, 1)
        """
        lists = self.neighbours[align("split", self.ids, ids.ravel())]
        chosen = (numbers.ravel() * (lists >= 0).sum(axis=1)).astype(np.int64)
        return np.take_along_axis(lists, chosen[:, None], axis=1).reshape(ids.shape)


def batches_per_epoch(n_samples: int, batch_size: int, min_steps: int | None = None) -> int:
    """Whole batches closest to one pass over all samples; at least one, and ``min_steps``."""
    return max(min_steps or 1, round(n_samples / batch_size))


def plan_epoch(
    labelled: np.ndarray,
    unlabelled: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    min_steps: int | None = None,
    neighbours: Neighbours | None = None,
) -> list[BatchPlan]:
    """The batches of one epoch: half labelled, half unlabelled samples.

    Each kind passes through its samples in random order, and starts a new pass when the last one is
    used up. The epoch has as many samples as the training split, rounded to whole batches, or more
    for ``min_steps``. If fewer than half a batch are labelled, each of them is in every batch once:
    L_contrast would repel copies of one image from each other. Unlabelled samples take the other
    places, or labelled ones where all are labelled.

    With neighbours, the second half of the unlabelled samples makes room for one neighbour of each
    sample in the first half, drawn at random; samples without neighbours leave theirs as it is.

    Parameters
    ----------
    labelled, unlabelled : ndarray of int64
        Sample ids.
    min_steps : int or None
        Least number of batches.
    neighbours : Neighbours or None
        Of at least the unlabelled samples.

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
    n_batches = batches_per_epoch(n_samples, batch_size, min_steps)
    n_labelled = min(batch_size // 2, len(labelled)) if len(unlabelled) else batch_size
    streams = [
        _stream(labelled, n_batches * n_labelled, (seed, epoch, LABELLED_STREAM)),
        _stream(
            unlabelled, n_batches * (batch_size - n_labelled), (seed, epoch, UNLABELLED_STREAM)
        ),
    ]
    ids = np.concatenate([stream.reshape(n_batches, -1) for stream in streams], axis=1)
    if neighbours is not None:
        n_pairs = (batch_size - n_labelled) // 2
        anchors = ids[:, n_labelled : n_labelled + n_pairs]
        keys = (seed, epoch, anchors, _occurrences(anchors), NEIGHBOUR_STREAM)
        found = neighbours.draw(anchors, uniforms(1, *keys)[..., 0])
        room = ids[:, n_labelled + n_pairs : n_labelled + 2 * n_pairs]
        room[:] = np.where(found >= 0, found, room)
    occurrences = _occurrences(ids)
    return [BatchPlan(ids[b], occurrences[b]) for b in range(n_batches)]


def plans_by_epoch(
    split: Split,
    *,
    epochs: range,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    min_steps: int | None = None,
    neighbours: Neighbours | None = None,
) -> Iterator[tuple[int, list[BatchPlan]]]:
    """Each epoch with the batches of a split's training samples that are left to do.

    Parameters
    ----------
    first_step : int
        Number of finished batches of the first epoch, which are skipped.
    min_steps, neighbours
        As in :func:`plan_epoch`.
    """
    labelled = split.indices[split.train_mask & split.labelled_mask]
    unlabelled = split.indices[split.train_mask & ~split.labelled_mask]
    options = {"batch_size": batch_size, "seed": seed}
    options |= {"min_steps": min_steps, "neighbours": neighbours}
    for epoch in epochs:
        plans = plan_epoch(labelled, unlabelled, epoch=epoch, **options)
        yield epoch, plans[first_step:] if epoch == epochs[0] else plans


def _stream(ids: np.ndarray, length: int, keys: tuple[int, ...]) -> np.ndarray:
    """The first ``length`` ids of repeated random passes over the samples."""
    if length == 0:
        return np.empty(0, dtype=np.int64)
    n_passes = -(-length // len(ids))
    return np.concatenate([permutation(ids, *keys, n) for n in range(n_passes)])[:length]


def _occurrences(ids: np.ndarray) -> np.ndarray:
    """How often each id occurred before, in C order (int64, same shape)."""
    order = np.argsort(ids, axis=None, kind="stable")
    ordered = ids.ravel()[order]
    first = np.searchsorted(ordered, ordered)
    found = np.empty(ids.size, dtype=np.int64)
    found[order] = np.arange(ids.size) - first
    return found.reshape(ids.shape)
