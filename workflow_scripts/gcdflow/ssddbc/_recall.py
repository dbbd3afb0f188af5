"""Recall, the share of exact neighbours in approximate lists: set before a search, measured after.

Both use random samples of points. The more points there are, the smaller is the cost of exact lists
of a sample, as a share of the exact search.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gcdflow.ssddbc._cells import Cells, distances
from gcdflow.ssddbc._lists import Lists, Search, neighbour_lists
from gcdflow.ssddbc._points import Points
from gcdflow.ssddbc._sketches import RIVALS, Sketches
from gcdflow.ssddbc._workers import Workers

SAMPLED = 512  # points of each sample
WANTED_RECALL = 0.95  # by a query alone; the others of its block look into further cells for it
LARGEST_REACH = 64.0  # lists long; bounds the cost where neighbours do not lie in few cells


def with_cells(points: Points, m: int, workers: Workers) -> Points:
    """The points with cells by which lists of m neighbours find most of the exact ones."""
    sample, exact = _exact_lists(points, RIVALS * m, 0, workers)
    sketches = Sketches.build(points, sample, exact.ids, m, workers)
    cells = Cells.build(sketches, np.arange(len(points)), 0.0, workers)
    order = np.argsort(distances(sketches.rows[sample], cells.centroids), axis=1)
    sizes = np.bincount(cells.of, minlength=len(cells.centroids))[order]
    before = np.empty_like(sizes)  # points in nearer cells, for each cell
    np.put_along_axis(before, order, np.cumsum(sizes, axis=1) - sizes, axis=1)
    known = np.isfinite(exact.dist[:, :m])
    needed = np.take_along_axis(before, cells.of[exact.ids[:, :m]], axis=1)[known]
    reach = 0.0
    if len(needed):
        # The first point after these is in the last cell that has to be looked at.
        reach = np.quantile(needed, WANTED_RECALL, method="higher") + 1.0 - m
    reach = float(np.clip(reach, 0.0, LARGEST_REACH * m))
    return replace(points, cells=replace(cells, reach=reach))


def recall(points: Points, lists: Lists, k: int, workers: Workers) -> float:
    """Share of the exact k nearest neighbours that the lists of all points hold, on a sample."""
    sample, exact = _exact_lists(points, k, 1, workers)
    known = np.isfinite(exact.dist)
    rows = zip(exact.ids, lists.ids[sample], strict=True)
    found = np.array([np.isin(exact_ids, ids) for exact_ids, ids in rows])
    return float(found[known].mean()) if known.any() else 1.0


def _exact_lists(points: Points, m: int, seed: int, workers: Workers) -> tuple[np.ndarray, Lists]:
    """A random sample of the points, (s,) int64 ascending, and their exact lists."""
    n = len(points)
    sample = np.sort(np.random.default_rng(seed).choice(n, min(n, SAMPLED), replace=False))
    exact = replace(points, cells=None)
    return sample, neighbour_lists(Search.of_all(exact, np.arange(n), workers).some(sample), m)
