"""Confidence that a sample belongs to its category: a silhouette against core points."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

NEIGHBOURS = 3
# Distances per thread and step (16 MiB). It is fixed so that threads do not change results.
_BLOCK = 2**22


def measured(
    rows: np.ndarray,
    own: np.ndarray,
    core_mask: np.ndarray,
    column_categories: np.ndarray,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of each sample, and how far it is from its nearest category.

    A confidence is (b - a) / max(a, b), or 0 if this is negative. a is the mean distance to the 3
    nearest core points of the sample's category (all, if fewer); b is the smallest such mean over
    the other categories. A sample does not count for itself. If the sample's category has no core
    point, the confidence is 0; if no other category has one, it is 1.

    Parameters
    ----------
    rows : float32 (n, d), features for the distances
    own : int (n,), category of each sample
    core_mask : bool (n,)
    column_categories : int (n,), category of each sample's cluster, used for core points
    threads : int
        The result does not depend on it.

    Returns
    -------
    confidences : float64 (n,)
    distances : float64 (n,)
        The smallest mean distance to the 3 nearest core points of a category.
    """
    core = np.flatnonzero(core_mask)
    core = core[np.argsort(column_categories[core], kind="stable")]
    present, starts = np.unique(column_categories[core], return_index=True)
    segments = list(itertools.pairwise([*starts.tolist(), len(core)]))
    place = np.full(len(rows), -1)
    place[core] = np.arange(len(core))
    core_rows = rows[core]
    squares = np.einsum("ij,ij->i", rows, rows)
    result, distances = np.zeros(len(rows)), np.full(len(rows), np.inf)

    def measure(part: slice) -> None:
        distance = rows[part] @ core_rows.T
        distance *= -2
        distance += squares[part, None]
        distance += squares[core]
        itself = np.flatnonzero(place[part] >= 0)
        distance[itself, place[part][itself]] = np.inf
        means = np.column_stack([_mean_of_nearest(distance[:, a:b]) for a, b in segments])
        result[part] = _silhouettes(means, own[part, None] == present)
        distances[part] = means.min(axis=1, initial=np.inf)

    step = max(1, _BLOCK // max(1, len(core)))
    parts = [slice(start, start + step) for start in range(0, len(rows), step)]
    # NumPy releases the interpreter's lock in all slow operations here.
    with threadpool_limits(limits=1), ThreadPoolExecutor(threads) as pool:
        list(pool.map(measure, parts))
    return result, distances


def _mean_of_nearest(squares: np.ndarray) -> np.ndarray:
    """Mean distance to the nearest columns, (b,), from squared distances (b, m); inf if none."""
    if squares.shape[1] > NEIGHBOURS:
        squares = np.partition(squares, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    counts = np.isfinite(squares)
    total = np.sqrt(np.where(counts, np.maximum(squares, 0), 0)).sum(axis=1)
    n = counts.sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), np.inf)


def _silhouettes(means: np.ndarray, is_own: np.ndarray) -> np.ndarray:
    """(b - a) / max(a, b) from mean distances to categories (b, c); at most one is a row's own."""
    a = np.where(is_own, means, np.inf).min(axis=1)
    b = np.where(is_own, np.inf, means).min(axis=1)
    value = np.zeros(len(a))
    inside = np.isfinite(a) & np.isfinite(b) & (np.maximum(a, b) > 0)
    value[inside] = (b[inside] - a[inside]) / np.maximum(a, b)[inside]
    value[np.isinf(b) & is_own.any(axis=1)] = 1
    return np.clip(value, 0, 1)
