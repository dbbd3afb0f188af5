"""Backbone clusters of many configurations (steps 3, 4 and 5)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from gcdflow.ssddbc import _kernels_graph as kernels
from gcdflow.ssddbc import _kernels_samples
from gcdflow.ssddbc._density import Configuration, Group
from gcdflow.ssddbc._lists import Lists, Search, deeper_lists, neighbour_lists
from gcdflow.ssddbc._nearest import NearestQuery, answer
from gcdflow.ssddbc._samples import Samples

ISOLATED = 3  # a backbone cluster with at most this many members is isolated


@dataclass
class Backbone:
    """Clusters of one configuration's core.

    Attributes
    ----------
    cell : Configuration.
    rows : (r,) int64, rows of the core points, ascending.
    members : (m,) int64, core points, ascending.
    edges, counts : (m, k) int32 and (m,) int32, backbone graph in positions within the core.
    labels : (m,) int32, cluster of each core point.
    n_clusters : int.
    seconds : float, time spent on this configuration alone.
    """

    cell: Configuration
    rows: np.ndarray
    members: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    labels: np.ndarray
    n_clusters: int = 0
    seconds: float = 0.0

    @property
    def k(self) -> int:
        """Number of neighbours within the core."""
        return self.edges.shape[1]


def _connect(
    backbone: Backbone, samples: Samples, lists: Lists, positions: np.ndarray, rows: np.ndarray
) -> None:
    """Step 3 for the core points of some rows, with the lists at ``positions``."""
    local = np.full(len(samples), -1, dtype=np.int32)
    local[backbone.members] = np.arange(len(backbone.members), dtype=np.int32)
    _kernels_samples.neighbours_within(
        lists.ids,
        lists.dist,
        lists.valid,
        lists.radius,
        positions,
        rows,
        samples.start,
        samples.members,
        local,
        local,
        backbone.cell.density.cutoff,
        backbone.edges,
        np.empty((0, 0)),
        backbone.counts,
    )


def _unconnected(backbone: Backbone, samples: Samples, rows: np.ndarray) -> np.ndarray:
    """Those of a backbone's rows whose lists were too short, as a mask."""
    place = np.searchsorted(backbone.members, samples.first[rows])
    return backbone.counts[place] < 0


def grow_group(
    group: Group, lists: Lists, samples: Samples, y: np.ndarray, search: Search
) -> list[Backbone]:
    """Steps 3 and 4 for the configurations of a group.

    Parameters
    ----------
    lists : one per row, of neighbours among the group's columns.
    y : (n,) int32, -1 = unlabelled.
    search : that of the lists.
    """

    def start(cell: Configuration) -> Backbone:
        begin = time.perf_counter()
        members = np.flatnonzero(cell.core)
        m, k = len(members), min(cell.density.k, len(members) - 1)
        backbone = Backbone(
            cell,
            np.flatnonzero(samples.of_rows(cell.core)),
            members,
            np.empty((m, k), dtype=np.int32),
            np.empty(m, dtype=np.int32),
            np.empty(0, dtype=np.int32),
        )
        _connect(backbone, samples, lists, backbone.rows, backbone.rows)
        backbone.seconds = time.perf_counter() - begin
        return backbone

    backbones = search.workers.run(start, group.members)
    short = [b.rows[_unconnected(b, samples, b.rows)] for b in backbones]

    def connect_deeper(
        number: int, places: np.ndarray, deeper: Lists, at: np.ndarray
    ) -> np.ndarray:
        backbone, rows = backbones[number], short[number][places]
        _connect(backbone, samples, deeper, at, rows)
        return ~_unconnected(backbone, samples, rows)

    deeper_lists(short, lists.ids.shape[1], search, connect_deeper)

    def grow_one(backbone: Backbone) -> None:
        begin = time.perf_counter()
        backbone.labels, backbone.n_clusters = grow(
            backbone.edges,
            backbone.counts,
            backbone.cell.density.rho[backbone.members],
            y[backbone.members],
        )
        backbone.edges = backbone.counts = np.empty((0, 0), dtype=np.int32)
        backbone.seconds += time.perf_counter() - begin

    search.workers.run(grow_one, backbones)
    return backbones


def grow(
    edges: np.ndarray, counts: np.ndarray, rho: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, int]:
    """Step 4 for one backbone graph; indices are positions within the core.

    Parameters
    ----------
    edges, counts : (m, k) int32 and (m,) int32, targets nearest first.
    rho : (m,) float64 densities. y : (m,) int, -1 = unlabelled.

    Returns
    -------
    (m,) int32 labels, consecutive in order of opening, and the number of clusters.
    """
    labels = np.full(len(rho), -1, dtype=np.int32)
    seeds = np.argsort(-rho, kind="stable")
    y = y.astype(np.int64)
    state = kernels.empty_state(len(rho), int((y >= 0).sum()))
    return labels, int(kernels.grow_clusters(edges, counts, rho, seeds, y, state, labels))


def join_isolated(
    backbones: list[Backbone], lists: Lists, samples: Samples, y: np.ndarray, search: Search
) -> None:
    """Step 5: update ``labels`` and ``n_clusters`` of each backbone in place."""
    found = search.workers.run(lambda b: _isolate(b, y), backbones)
    jobs = [job for job in found if job is not None]
    if not jobs:
        return
    members = [samples.membership(job.labels) for job in jobs]
    # A cluster of one point uses the list of that point. The others use lists of their centroids,
    # which many configurations share.
    singles = [
        NearestQuery.of(samples.row_of[job.homeless(True)[:, 0]], among, job.sizes)
        for job, among in zip(jobs, members, strict=True)
    ]
    answer(singles, lists, search)
    sets = [_rows_of(job.homeless(False), samples) for job in jobs]
    distinct, place = np.unique(np.concatenate(sets), axis=0, return_inverse=True)
    place = np.split(place.ravel(), np.cumsum([len(s) for s in sets])[:-1])
    several = [
        NearestQuery.of(p, among, job.sizes)
        for p, among, job in zip(place, members, jobs, strict=True)
    ]
    if len(distinct):
        centroids = search.points.embed(_centroids(search.points.rows, distinct), search.workers)
        of_centroids = replace(search, queries=centroids, own=np.full(len(distinct), -1))
        near = neighbour_lists(of_centroids, lists.ids.shape[1])
        answer(several, near, of_centroids)
    for job, single, other in zip(jobs, singles, several, strict=True):
        job.finish(single.found, other.found)
        job.backbone.seconds += single.seconds + other.seconds


def _rows_of(sets: np.ndarray, samples: Samples) -> np.ndarray:
    """Rows of sets of samples, which are padded with -1."""
    return np.where(sets >= 0, samples.row_of[sets], -1)


def _centroids(rows: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Means of two or three rows each; ``sets`` is (s, 3), padded with -1."""
    total = rows[sets[:, 0]] + rows[sets[:, 1]]
    third = sets[:, 2] >= 0
    total[third] += rows[sets[third, 2]]
    return total / np.where(third, 3.0, 2.0)[:, None]


@dataclass
class _Isolated:
    """Isolated clusters of one backbone and the clusters that they join.

    Attributes
    ----------
    target : (clusters,) int64, the new label of each cluster, -1 if not yet known.
    clusters : (i,) int64, the isolated clusters, in order of opening.
    members : (i, 3) int64, their points, padded with -1.
    labels : (n,) int32, new label of each member of a larger cluster, -1 elsewhere.
    sizes : (larger clusters,) int64, number of members of each larger cluster.
    """

    backbone: Backbone
    target: np.ndarray
    clusters: np.ndarray
    members: np.ndarray
    labels: np.ndarray
    sizes: np.ndarray

    def _waiting(self, single: bool) -> np.ndarray:
        return (self.target[self.clusters] < 0) & ((self.members[:, 1] < 0) == single)

    def homeless(self, single: bool) -> np.ndarray:
        """Members of the clusters without a target; clusters of one point, or all others."""
        return self.members[self._waiting(single)]

    def finish(self, singles: np.ndarray, several: np.ndarray) -> None:
        """Set the targets of the remaining clusters and the new labels of the backbone."""
        ones, others = self._waiting(True), self._waiting(False)
        self.target[self.clusters[ones]] = singles
        self.target[self.clusters[others]] = several
        self.backbone.labels = self.target[self.backbone.labels].astype(np.int32)
        self.backbone.n_clusters = len(self.sizes)


def _isolate(backbone: Backbone, y: np.ndarray) -> _Isolated | None:
    """Find the isolated clusters and join some of them by label; None if there are none."""
    labels = backbone.labels
    sizes = np.bincount(labels, minlength=backbone.n_clusters)
    is_larger = sizes > ISOLATED
    if is_larger.all() or not is_larger.any():
        return None
    target = np.where(is_larger, np.cumsum(is_larger) - 1, -1)
    of_larger = np.full(len(backbone.cell.core), -1, dtype=np.int32)
    of_larger[backbone.members] = target[labels]
    clusters = np.flatnonzero(~is_larger)
    members = np.full((len(clusters), ISOLATED), -1, dtype=np.int64)
    points = np.flatnonzero(~is_larger[labels])
    points = points[np.argsort(labels[points], kind="stable")]
    last = np.cumsum(sizes[clusters])
    for c in range(ISOLATED):
        has = sizes[clusters] > c
        members[has, c] = backbone.members[points[(last - sizes[clusters])[has] + c]]
    _join_by_label(labels, y[backbone.members], is_larger, target)
    return _Isolated(backbone, target, clusters, members, of_larger, sizes[is_larger])


def _join_by_label(
    labels: np.ndarray, y: np.ndarray, is_larger: np.ndarray, target: np.ndarray
) -> None:
    """Set the targets of isolated clusters with one label to a larger cluster with that label.

    The labelled members of the larger cluster must all carry that label.
    """
    labelled = y >= 0
    lowest = np.full(len(target), np.iinfo(np.int32).max)
    highest = np.full(len(target), -1)
    np.minimum.at(lowest, labels[labelled], y[labelled])
    np.maximum.at(highest, labels[labelled], y[labelled])
    pure = np.where((highest >= 0) & (lowest == highest), highest, -1)
    first_with: dict[int, int] = {}
    for cluster in np.flatnonzero(is_larger & (pure >= 0)):
        first_with.setdefault(int(pure[cluster]), int(target[cluster]))
    for cluster in np.flatnonzero(~is_larger & (pure >= 0)):
        target[cluster] = first_with.get(int(pure[cluster]), -1)
