"""Cluster with all configurations of a grid at once, and do shared work only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gcdflow.ssddbc import _gpu
from gcdflow.ssddbc import _kernels_samples as kernels
from gcdflow.ssddbc._backbone import Backbone, grow_group, join_isolated
from gcdflow.ssddbc._cells import Cells, import_faiss
from gcdflow.ssddbc._density import Configuration, Group, configurations, groups
from gcdflow.ssddbc._lists import Lists, Search, complete_lists, neighbour_lists
from gcdflow.ssddbc._modularity import N_LINKS, modularity
from gcdflow.ssddbc._nearest import NearestQuery, answer
from gcdflow.ssddbc._points import Points, prepare
from gcdflow.ssddbc._recall import recall, with_cells
from gcdflow.ssddbc._samples import Samples, make_samples
from gcdflow.ssddbc._scores import cross_entropy, distinct_labelings, mean_silhouettes
from gcdflow.ssddbc._workers import Workers
from gcdflow.ssddbc.resources import GRAPH_BYTES, LONGEST_LIST, SPARE_NEIGHBOURS

# No core of a group is smaller than the union of all by more than this factor.
RATIO = 3.0
# Up to this percentile, lists among all points hold enough core points. Approximate ones are
# shorter, because those of a million points would take too much memory.
WIDEST_PERCENTILE, WIDEST_APPROXIMATE = 75, 60
NEW_SAMPLE_NEIGHBOURS = 48


@dataclass
class Clusterings:
    """Clusterings of C configurations, in grid order (k first, then percentile).

    Attributes
    ----------
    cells : list of C Configuration.
    labels : (C, n) int32. n_clusters : (C,) int64.
    seconds : (C,) float64, without shared work.
    recall : share of the exact neighbours that were found, on a sample; None for exact ones.
    links : (n, k) int32, the nearest neighbours of each sample (see `modularity`).
    """

    cells: list[Configuration]
    labels: np.ndarray
    n_clusters: np.ndarray
    seconds: np.ndarray
    recall: float | None
    links: np.ndarray


@dataclass
class Scores:
    """The parts of the scores, (C,) float64 each, and standard errors of the silhouettes."""

    cross_entropy: np.ndarray
    silhouette: np.ndarray
    silhouette_error: np.ndarray
    modularity: np.ndarray

    def total(self, w_ce: float, w_sil: float, w_mod: float = 0.0) -> np.ndarray:
        """The scores; larger is better."""
        return -w_ce * self.cross_entropy + w_sil * self.silhouette + w_mod * self.modularity


def cluster_grid(
    samples: Samples,
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
    points = samples.points
    lists = _shared_lists(points, ks, percentiles, workers, lambda share: advance(0.5 * share))
    everything = np.ones(len(samples), dtype=bool)
    near, far = nearest_samples(samples, lists, everything, _longest(len(samples), ks))
    cells = configurations(near, far, ks, percentiles, workers)
    links = near[:, :N_LINKS].copy()
    del near, far  # frees memory
    found_share = None
    if points.cells is not None:
        found_share = recall(points, lists, max(cell.density.k for cell in cells), workers)
    labels = np.empty((len(cells), len(samples)), dtype=np.int32)
    n_clusters = np.empty(len(cells), dtype=np.int64)
    seconds = np.zeros(len(cells))
    k, wide = max(cell.density.k for cell in cells), _widest(points, percentiles)
    parts = groups(cells, samples, wide, RATIO)
    for step, group in enumerate(parts):
        if step > 0 or wide < 0:
            lists = None  # frees memory before more is taken
            length = _list_length(k, group.smallest / len(group.columns))
            if points.cells is not None:
                sketches, reach = points.cells.sketches, points.cells.reach
                of_core = Cells.build(sketches, group.columns, reach, workers)
                points = replace(points, cells=of_core)
                samples = replace(samples, points=points)
            search = Search.of_all(points, group.columns, workers)
            lists = neighbour_lists(search, length)
            # Too many equal distances make lists short; steps 3 and 6 would both need longer ones.
            needed = min(k, len(group.columns) - 1) // 2
            complete_lists(lists, needed, search)
        for part in group.parts(GRAPH_BYTES):
            for backbone in _cluster_group(part, lists, samples, y, labels, workers):
                index = backbone.cell.index
                n_clusters[index], seconds[index] = backbone.n_clusters, backbone.seconds
        advance(0.5 + 0.5 * (step + 1) / len(parts))
    return Clusterings(cells, labels, n_clusters, seconds, found_share, links)


def _shared_lists(
    points: Points,
    ks: Sequence[int],
    percentiles: Sequence[float],
    workers: Workers,
    advance: Callable[[float], None] = lambda share: None,
) -> Lists:
    """Neighbours of every row among all others, which all configurations share.

    At least as many entries as the largest k, and as the links, are valid. Their content depends on
    the points alone; the grid determines only their length. Parameters as in :func:`cluster_grid`.
    """
    search = Search.of_all(points, np.arange(len(points)), workers)
    k, length = _longest(len(points), ks), _shared_length(points, ks, percentiles)
    lists = neighbour_lists(search, length, advance)
    complete_lists(lists, k, search)
    advance(1.0)
    return lists


def _shared_length(points: Points, ks: Sequence[int], percentiles: Sequence[float]) -> int:
    """Length of the lists of :func:`_shared_lists`."""
    k, wide = _longest(len(points), ks), _widest(points, percentiles)
    if wide < 0:
        return k + SPARE_NEIGHBOURS
    return max(_list_length(k, 1 - wide / 100), k + SPARE_NEIGHBOURS)


def _longest(n: int, ks: Sequence[int]) -> int:
    """The largest number of neighbours that something asks for, of n points."""
    return min(max(N_LINKS, *map(int, ks)), n - 1)


def approximate(samples: Samples, ks: Sequence[int], workers: Workers) -> Samples:
    """The same samples, whose neighbours are searched for in cells; parameters as above."""
    length = _longest(len(samples.points), ks) + SPARE_NEIGHBOURS
    return replace(samples, points=with_cells(samples.points, length, workers))


def searchable(
    X: np.ndarray,
    ks: Sequence[int],
    workers: Workers,
    *,
    normalize: bool,
    neighbours: str,
    device: str,
    marks: np.ndarray | None = None,
) -> Samples:
    """Samples whose neighbours are searched for as the estimators say.

    What is not installed is said at once.

    Parameters
    ----------
    X : (n, d) floats.
    ks : numbers of neighbours.
    normalize, neighbours, device : as of the estimators; ``neighbours`` is not None.
    marks : as of :func:`make_samples`.
    """
    if neighbours == "approximate":
        import_faiss()
    if device != "cpu":
        _gpu.check_torch(device)
    samples = make_samples(prepare(X, normalize, workers), workers, marks)
    if device != "cpu":
        points = samples.points
        gpu = _gpu.Gpu.holding(points.work, points.squares, device)
        samples = replace(samples, points=replace(points, gpu=gpu))
    return approximate(samples, ks, workers) if neighbours == "approximate" else samples


def _widest(points: Points, percentiles: Sequence[float]) -> float:
    """The highest percentile that uses the lists among all points; -1 if none does."""
    widest = WIDEST_PERCENTILE if points.cells is None else WIDEST_APPROXIMATE
    return max([p for p in percentiles if p <= widest], default=-1.0)


def _list_length(k: int, share: float) -> int:
    """Length of a list that usually holds k core points; ``share`` of its columns are core."""
    return int(min(LONGEST_LIST, max(32, 1.25 * (k + SPARE_NEIGHBOURS) / share)))


def _cluster_group(
    group: Group,
    lists: Lists,
    samples: Samples,
    y: np.ndarray,
    labels: np.ndarray,
    workers: Workers,
) -> list[Backbone]:
    """Steps 3 to 6 for the configurations of one group; fills their rows of ``labels``.

    ``lists`` hold the neighbours of every row; their columns include the group's.
    """
    search = Search.of_all(samples.points, group.columns, workers)
    backbones = grow_group(group, lists, samples, y, search)
    join_isolated(backbones, lists, samples, y, search)

    def ask(backbone: Backbone) -> NearestQuery:
        core_labels = labels[backbone.cell.index]
        core_labels[:] = -1
        core_labels[backbone.members] = backbone.labels
        sizes = np.bincount(backbone.labels, minlength=backbone.n_clusters)
        sparse = np.flatnonzero(samples.of_rows(~backbone.cell.core))
        return NearestQuery.of(sparse, samples.membership(core_labels), sizes)

    requests = workers.run(ask, backbones)
    answer(requests, lists, search)
    for backbone, request in zip(backbones, requests, strict=True):
        found = np.empty(len(samples.points), dtype=np.int32)
        found[request.positions] = request.found
        sparse = ~backbone.cell.core
        labels[backbone.cell.index, sparse] = samples.spread(found)[sparse]
        backbone.seconds += request.seconds
    return backbones


def score_grid(
    samples: Samples,
    clusterings: Clusterings,
    y: np.ndarray,
    workers: Workers,
    advance: Callable[[float], None] = lambda share: None,
) -> Scores:
    """The parts of the score of every configuration; equal labelings are scored once.

    ``advance`` is called with the finished share of the points.
    """
    ks = np.array([cell.density.k for cell in clusterings.cells])
    labels, which, family_of = distinct_labelings(clusterings.labels, ks)
    entropies = np.array(workers.run(lambda row: cross_entropy(row, y), labels))
    agreements = np.array(workers.run(lambda row: modularity(row, clusterings.links), labels))

    unlabelled, cells = np.flatnonzero(y < 0), samples.points.cells
    if cells is not None:  # similar samples together
        order = np.argsort(cells.of[samples.row_of[unlabelled]], kind="stable")
        unlabelled = unlabelled[order]
    silhouettes, errors = mean_silhouettes(
        samples, labels, family_of, unlabelled, workers, advance, draw=cells is not None
    )
    return Scores(*(part[which] for part in (entropies, silhouettes, errors, agreements)))


def nearest_samples(
    samples: Samples, lists: Lists, among: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some samples to every sample, without itself, from the lists of all rows.

    Parameters
    ----------
    among : (n,) bool, these samples; equal ones agree.

    Returns
    -------
    (n, k) int32, nearest first; -1 at the end of shorter lists.
    (n, k) float64, their distances; infinite at the end.
    """
    everyone = np.arange(len(samples.points))
    every_sample = np.arange(len(samples), dtype=np.int32)
    near = np.full((len(samples), k), -1, dtype=np.int32)
    far = np.full((len(samples), k), np.inf)
    kernels.neighbours_within(
        lists.ids,
        lists.dist,
        lists.valid,
        lists.radius,
        everyone,
        everyone,
        samples.start,
        samples.members,
        np.where(among, every_sample, -1).astype(np.int32),
        every_sample,
        np.inf,
        near,
        far,
        np.empty(len(samples), dtype=np.int32),
    )
    return near, far


def core_neighbours(
    samples: Samples,
    core: np.ndarray,
    labels: np.ndarray,
    y: np.ndarray,
    n_neighbours: int,
    workers: Workers,
) -> np.ndarray:
    """The nearest core points of every point, without those of other clusters or other labels.

    Parameters
    ----------
    samples : n samples, of which equal ones are all core points or none.
    core : (n,) bool. labels : (n,) int. y : (n,) int, -1 = unlabelled.

    Returns
    -------
    (n, n_neighbours) int64, numbers of samples, nearest first; -1 at the end of shorter lists.
    """
    search = Search.of_all(samples.points, np.flatnonzero(samples.of_rows(core)), workers)
    lists = neighbour_lists(search, n_neighbours + SPARE_NEIGHBOURS)
    complete_lists(lists, min(n_neighbours, len(search.columns)), search)
    nearest, _ = nearest_samples(samples, lists, core, n_neighbours)
    mine = nearest >= 0
    mine &= labels[nearest] == labels[:, None]
    mine &= (y[nearest] == y[:, None]) | (y[nearest] < 0) | (y[:, None] < 0)
    order = np.argsort(~mine, axis=1, kind="stable")  # these first, still by distance
    return np.take_along_axis(np.where(mine, nearest, -1), order, axis=1).astype(np.int64)


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
    members = make_samples(prepare(core_X, normalize, workers), workers)
    points = members.points
    queries = points.embed(prepare(X, normalize, workers), workers)
    nobody = np.full(len(queries), -1)
    search = Search(queries, nobody, points, np.arange(len(points)), workers)
    among = members.membership(core_labels.astype(np.int32))
    request = NearestQuery.of(np.arange(len(queries)), among, np.bincount(core_labels))
    if len(queries):
        answer([request], neighbour_lists(search, NEW_SAMPLE_NEIGHBOURS), search)
    return request.found, request.means
