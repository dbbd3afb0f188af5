"""Cluster with all configurations of a grid at once, and do shared work only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gcdflow.ssddbc._backbone import Backbone, grow_group, join_isolated
from gcdflow.ssddbc._density import Configuration, Group, configurations, density, groups
from gcdflow.ssddbc._lists import Lists, complete_lists, neighbour_lists
from gcdflow.ssddbc._nearest import NearestQuery, answer
from gcdflow.ssddbc._points import Points, make_points, prepare
from gcdflow.ssddbc._scores import cross_entropy, distinct_labelings, mean_silhouettes
from gcdflow.ssddbc._workers import Workers

SPARE_NEIGHBOURS = 12  # beyond the largest k, so that float32 can guarantee the k nearest
WIDEST_PERCENTILE = 75  # up to this percentile, lists among all points hold enough core points
LONGEST_LIST = 256
NEW_SAMPLE_NEIGHBOURS = 48


@dataclass
class Clusterings:
    """Clusterings of C configurations, in grid order (k first, then percentile).

    Attributes
    ----------
    cells : list of C Configuration.
    labels : (C, n) int32. n_clusters : (C,) int64.
    seconds : (C,) float64, without shared work.
    """

    cells: list[Configuration]
    labels: np.ndarray
    n_clusters: np.ndarray
    seconds: np.ndarray


@dataclass
class Scores:
    """The two parts of the scores, (C,) float64 each."""

    cross_entropy: np.ndarray
    silhouette: np.ndarray

    def total(self, w_ce: float, w_sil: float) -> np.ndarray:
        """The scores; larger is better."""
        return -w_ce * self.cross_entropy + w_sil * self.silhouette


def cluster_grid(
    points: Points,
    y: np.ndarray,
    ks: Sequence[int],
    percentiles: Sequence[float],
    workers: Workers,
    advance: Callable[[float], None] = lambda share: None,
) -> Clusterings:
    """Steps 1 to 7 for every configuration.

    Parameters
    ----------
    y : (n,) int32, -1 = unlabelled.
    ks : numbers of neighbours, reduced to n - 1. percentiles : of the relative density.
    advance : called with the finished share of the work.
    """
    everyone = np.arange(len(points))
    lists = _shared_lists(points, ks, percentiles, workers, lambda share: advance(0.5 * share))
    cells = _grid_cells(lists, ks, percentiles, workers)
    labels = np.empty((len(cells), len(points)), dtype=np.int32)
    n_clusters = np.empty(len(cells), dtype=np.int64)
    seconds = np.zeros(len(cells))
    k, wide = max(cell.density.k for cell in cells), _widest(percentiles)
    parts = groups(cells, wide)
    for step, group in enumerate(parts):
        if step > 0 or wide < 0:
            length = _list_length(k, group.smallest / len(group.columns))
            lists = neighbour_lists(points, everyone, points, group.columns, length, workers)
            # Too many equal distances make lists short; steps 3 and 6 would both need longer ones.
            needed = min(k, len(group.columns) - 1) // 2
            complete_lists(lists, needed, points, everyone, points, group.columns, workers)
        for backbone in _cluster_group(group, lists, points, y, labels, workers):
            index = backbone.cell.index
            n_clusters[index], seconds[index] = backbone.n_clusters, backbone.seconds
        advance(0.5 + 0.5 * (step + 1) / len(parts))
    return Clusterings(cells, labels, n_clusters, seconds)


def _shared_lists(
    points: Points,
    ks: Sequence[int],
    percentiles: Sequence[float],
    workers: Workers,
    advance: Callable[[float], None] = lambda share: None,
) -> Lists:
    """Neighbours of every point among all others, which all configurations share.

    At least as many entries as the largest k are valid. Their content depends on the points alone;
    the grid determines only their length. Parameters as in :func:`cluster_grid`.
    """
    everyone = np.arange(len(points))
    k, wide = min(max(map(int, ks)), len(points) - 1), _widest(percentiles)
    length = max(_list_length(k, 1 - max(wide, 0) / 100), k + SPARE_NEIGHBOURS)
    lists = neighbour_lists(points, everyone, points, everyone, length, workers, advance)
    complete_lists(lists, k, points, everyone, points, everyone, workers)
    advance(1.0)
    return lists


def _grid_cells(
    lists: Lists, ks: Sequence[int], percentiles: Sequence[float], workers: Workers
) -> list[Configuration]:
    """Steps 1 and 2 for every configuration, from the lists of :func:`_shared_lists`."""
    used = [min(int(k), len(lists.ids) - 1) for k in ks]
    by_k = dict(zip(used, workers.run(lambda k: density(lists, k), used), strict=True))
    return configurations([by_k[k] for k in used], percentiles, workers)


def _widest(percentiles: Sequence[float]) -> float:
    """The highest percentile that uses the lists among all points; -1 if none does."""
    return max([p for p in percentiles if p <= WIDEST_PERCENTILE], default=-1.0)


def _list_length(k: int, share: float) -> int:
    """Length of a list that usually holds k core points; ``share`` of its columns are core."""
    return int(min(LONGEST_LIST, max(32, 1.25 * (k + SPARE_NEIGHBOURS) / share)))


def _cluster_group(
    group: Group,
    lists: Lists,
    points: Points,
    y: np.ndarray,
    labels: np.ndarray,
    workers: Workers,
) -> list[Backbone]:
    """Steps 3 to 6 for the configurations of one group; fills their rows of ``labels``.

    ``lists`` hold the neighbours of every point; their columns include the group's.
    """
    everyone = np.arange(len(points))
    backbones = grow_group(group, lists, points, y, workers)
    join_isolated(backbones, group, lists, points, y, workers)

    def ask(backbone: Backbone) -> NearestQuery:
        core_labels = labels[backbone.cell.index]
        core_labels[:] = -1
        core_labels[backbone.members] = backbone.labels
        sizes = np.bincount(backbone.labels, minlength=backbone.n_clusters)
        return NearestQuery.of(np.flatnonzero(~backbone.cell.core), core_labels, sizes)

    requests = workers.run(ask, backbones)
    answer(requests, lists, points, everyone, points, group.columns, workers)
    for backbone, request in zip(backbones, requests, strict=True):
        request.labels[request.positions] = request.found
        backbone.seconds += request.seconds
    return backbones


def score_grid(
    points: Points,
    clusterings: Clusterings,
    y: np.ndarray,
    workers: Workers,
    advance: Callable[[float, Scores, np.ndarray], None] | None = None,
) -> Scores:
    """Cross-entropy and silhouette of every configuration; equal labelings are scored once.

    ``advance`` is called with the finished share of the points, the scores over these points, and
    the numbers of clusters.
    """
    ks = np.array([cell.density.k for cell in clusterings.cells])
    labels, which, family_of = distinct_labelings(clusterings.labels, ks)
    entropies = np.array(workers.run(lambda row: cross_entropy(row, y), labels))

    def partly(share: float, silhouettes: np.ndarray) -> None:
        if advance is not None:
            scores = Scores(entropies[which], silhouettes[which])
            advance(share, scores, clusterings.n_clusters)

    silhouettes = mean_silhouettes(points, labels, family_of, y, workers, partly)
    return Scores(entropies[which], silhouettes[which])


def core_neighbours(
    X: np.ndarray,
    core: np.ndarray,
    labels: np.ndarray,
    y: np.ndarray,
    n_neighbours: int,
    normalize: bool,
    workers: Workers,
) -> np.ndarray:
    """The nearest core points of every point, without those of other clusters or other labels.

    Parameters
    ----------
    X : (n, d) floats. core : (n,) bool. labels : (n,) int. y : (n,) int, -1 = unlabelled.

    Returns
    -------
    (n, n_neighbours) int64, rows of ``X``, nearest first; -1 at the end of shorter lists.
    """
    points = make_points(prepare(X, normalize, workers), workers)
    everyone, columns = np.arange(len(points)), np.flatnonzero(core)
    m = min(n_neighbours, len(columns))
    length = min(len(columns), n_neighbours + SPARE_NEIGHBOURS)
    lists = neighbour_lists(points, everyone, points, columns, length, workers)
    complete_lists(lists, m, points, everyone, points, columns, workers)
    found = np.full((len(points), n_neighbours), -1, dtype=np.int64)
    nearest = lists.ids[:, :m]
    mine = (nearest >= 0) & np.isfinite(lists.dist[:, :m])
    mine &= labels[nearest] == labels[:, None]
    mine &= (y[nearest] == y[:, None]) | (y[nearest] < 0) | (y[:, None] < 0)
    order = np.argsort(~mine, axis=1, kind="stable")  # these first, still by distance
    found[:, :m] = np.take_along_axis(np.where(mine, nearest, -1), order, axis=1)
    return found


def nearest_clusters(
    X: np.ndarray, core_X: np.ndarray, core_labels: np.ndarray, normalize: bool, workers: Workers
) -> tuple[np.ndarray, np.ndarray]:
    """Step 6 for new samples.

    Parameters
    ----------
    X, core_X : (m, d) and (c, d) floats. core_labels : (c,) consecutive from 0.

    Returns
    -------
    (m,) int32 clusters and (m,) float64 mean distances.
    """
    points = make_points(prepare(core_X, normalize, workers), workers)
    queries = points.embed(prepare(X, normalize, workers), workers)
    columns, nobody = np.arange(len(points)), np.full(len(queries), -1)
    request = NearestQuery.of(
        np.arange(len(queries)), core_labels.astype(np.int32), np.bincount(core_labels)
    )
    if len(queries):
        lists = neighbour_lists(queries, nobody, points, columns, NEW_SAMPLE_NEIGHBOURS, workers)
        answer([request], lists, queries, nobody, points, columns, workers)
    return request.found, request.means
