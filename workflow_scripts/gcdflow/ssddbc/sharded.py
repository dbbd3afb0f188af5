"""The grid search in steps that different processes can take, on one machine or on many.

    neighbours ──► cluster_shard, N times ──► score_shard, N times ──► gather

The clusterings are shared out by configurations, and the silhouettes, which take one pass over all
pairs of points for all clusterings together, by points. What becomes of a configuration or of a
block of points does not depend on what it is computed with, so the result has the bits of
:meth:`~gcdflow.ssddbc.SSDDBCGridSearch.fit`.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gcdflow.errors import InputError
from gcdflow.ssddbc import _validate as validate
from gcdflow.ssddbc.estimators import SSDDBCGridSearch

# Above this percentile, configurations search for neighbours among their core points alone, which
# makes one about twice as dear as one below (measured from 2,500 to 10,000 points).
_WIDE_PERCENTILE, _COST_ABOVE = 75, 2.0


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of the work: ``number`` (from 1) ``of`` so many."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise InputError(f"shard {self.number} of {self.of}, expected one from 1 to {self.of}")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Neighbours:
    """The nearest neighbours of every point: all that the configurations have in common.

    Attributes
    ----------
    ids : (n, m) int32, indices of points, nearest first, ties to the lower index.
    dist : (n, m) float64, their distances.
    valid : (n,) int64, how many leading entries are certainly the nearest: the largest k at least.
    radius : (n,) float64, no point outside the valid entries is nearer than this.
    seconds : float, wall time of the search.
    """

    ids: np.ndarray
    dist: np.ndarray
    valid: np.ndarray
    radius: np.ndarray
    seconds: float = 0.0


@dataclass(frozen=True)
class ClusteredShard:
    """Clusterings of a part of the grid, which :func:`shares_of_grid` says.

    Attributes
    ----------
    shard : Shard
    labels : (c, n) int32, consecutive from 0, a row per configuration in grid order.
    seconds : (c,) float64, adding up to the wall time.
    """

    shard: Shard
    labels: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class ScoredShard:
    """Silhouettes of a part of the points, under the clusterings of the whole grid.

    Attributes
    ----------
    shard : Shard
    sums : (b, l) float64, over blocks of points, of the distinct labelings of two clusters or more.
    seconds : float, wall time.
    """

    shard: Shard
    sums: np.ndarray
    seconds: float = 0.0


def shares_of_grid(
    ks: Sequence[int], percentiles: Sequence[float], shards: int
) -> list[np.ndarray]:
    """Places in the grid (k first, then percentile) that each shard clusters, ascending.

    Configurations of the same percentile share most work, whatever their k: high percentiles
    search for neighbours among core points. So neighbouring percentiles stay together.

    Raises
    ------
    InputError
        If there are more shards than configurations.
    """
    n_k, n_p = len(ks), len(percentiles)
    n = n_k * n_p
    if not 1 <= shards <= n:
        raise InputError(
            f"{shards} shards for {n} configurations ({n_k} k × {n_p} percentiles), expected 1 to "
            f"{n}"
        )
    order = np.arange(n).reshape(n_k, n_p).T.ravel()  # percentile first
    costs = np.where(np.asarray(percentiles)[order % n_p] > _WIDE_PERCENTILE, _COST_ABOVE, 1.0)
    goals = np.arange(shards + 1) * costs.sum() / shards
    ends = np.searchsorted(np.cumsum(costs), goals * (1 + 1e-12), side="right")
    for shard in range(1, shards):  # nobody goes empty
        ends[shard] = min(max(ends[shard], ends[shard - 1] + 1), n - (shards - shard))
    ends[0], ends[shards] = 0, n
    return [np.sort(order[start:end]) for start, end in itertools.pairwise(ends)]


class ShardedGridSearch(SSDDBCGridSearch):
    """:class:`SSDDBCGridSearch` in steps; parameters and, after `gather`, attributes are the same.

    Each step may be taken by another process, which makes the same estimator and gets the same
    ``X`` and ``y``. The results of the steps are plain arrays
    (:mod:`gcdflow.shard_files` keeps them in files). What is passed in is believed.

    Examples
    --------
    >>> import numpy as np
    >>> from gcdflow.ssddbc import Shard, ShardedGridSearch
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 0.1, size=(30, 2)) for m in (0, 3)])
    >>> search = ShardedGridSearch(k=[4, 5], density_percentile=[40, 50], normalize=False)
    >>> near, shards = search.neighbours(X), [Shard(1, 2), Shard(2, 2)]
    >>> clustered = [search.cluster_shard(X, None, near, shard) for shard in shards]
    >>> scored = [search.score_shard(X, None, clustered, shard) for shard in shards]
    >>> search.gather(X, None, near, clustered, scored).n_clusters_
    2
    """

    def neighbours(self, X) -> Neighbours:
        """What all configurations share; parameters as in :meth:`fit`."""
        begin = time.perf_counter()
        ks, percentiles = self.axes()
        X, _ = validate.training_samples(X, None, self)
        from gcdflow.ssddbc import _search as search  # compiled code: slow to import

        report = self._report(len(X))
        with search.Workers(self.n_jobs) as workers:
            points = search.make_points(search.prepare(X, self.normalize, workers), workers)
            lists = search.shared_lists(points, ks, percentiles, workers, report)
        seconds = time.perf_counter() - begin
        return Neighbours(lists.ids, lists.dist, lists.valid, lists.radius, seconds)

    def cluster_shard(self, X, y, neighbours: Neighbours, shard: Shard) -> ClusteredShard:
        """Cluster under a part of the grid.

        Parameters
        ----------
        X, y : as in :meth:`fit`.
        neighbours : of these X, with a k as large as the grid's, from :meth:`neighbours`.
        """
        begin = time.perf_counter()
        ks, percentiles = self.axes()
        chosen = shares_of_grid(ks, percentiles, shard.of)[shard.number - 1]
        X, y = validate.training_samples(X, y, self)
        from gcdflow.ssddbc import _search as search

        with search.Workers(self.n_jobs) as workers:
            points = search.make_points(search.prepare(X, self.normalize, workers), workers)
            found = search.cluster_cells(
                *(points, y, _lists(neighbours), ks, percentiles, workers),
                *(self._report(len(chosen)), chosen),
            )
        own = found.seconds / workers.n_threads
        shared = max(0.0, time.perf_counter() - begin - own.sum())
        return ClusteredShard(shard, found.labels, own + shared / len(own))

    def score_shard(self, X, y, clustered: Sequence[ClusteredShard], shard: Shard) -> ScoredShard:
        """Silhouettes of a part of the points.

        Parameters
        ----------
        X, y : as in :meth:`fit`.
        clustered : all shards of the grid, of which there may be another number than of these.
        """
        begin = time.perf_counter()
        X, y = validate.training_samples(X, y, self)
        labels, _ = self.whole_grid(clustered)
        from gcdflow.ssddbc import _scores as scores
        from gcdflow.ssddbc import _search as search

        distinct, _, family_of = scores.distinct_labelings(labels, self._used_ks(len(X)))
        report = self._report(int((y < 0).sum()))
        with search.Workers(self.n_jobs) as workers:
            points = search.make_points(search.prepare(X, self.normalize, workers), workers)
            sums = scores.silhouette_sums(
                *(points, distinct, family_of, y, workers, lambda share, _: report(share)),
                slice(shard.number - 1, None, shard.of),
            )
        return ScoredShard(shard, sums, time.perf_counter() - begin)

    def gather(
        self,
        X,
        y,
        neighbours: Neighbours,
        clustered: Sequence[ClusteredShard],
        scored: Sequence[ScoredShard],
    ):
        """What :meth:`fit` does, from the results of all shards."""
        begin = time.perf_counter()
        ks, percentiles = self.axes()
        X, y = validate.training_samples(X, y, self)
        labels, seconds = self.whole_grid(clustered)
        from gcdflow.ssddbc import _scores as scores
        from gcdflow.ssddbc import _search as search

        distinct, which, _ = scores.distinct_labelings(labels, self._used_ks(len(X)))
        sums = np.empty(scores.sums_shape(distinct, y))
        for part in scored:
            sums[part.shard.number - 1 :: part.shard.of] = part.sums
        with search.Workers(self.n_jobs) as workers:
            cells = search.grid_cells(_lists(neighbours), ks, percentiles, workers)
            entropies = workers.run(lambda row: scores.cross_entropy(row, y), distinct)
        silhouettes = scores.means_of_sums(sums, distinct, y)
        n_clusters = labels.max(axis=1).astype(np.int64) + 1
        found = search.Clusterings(cells, labels, n_clusters, seconds)
        self._take_best(X, found, search.Scores(np.array(entropies)[which], silhouettes[which]))
        shared = neighbours.seconds + sum(part.seconds for part in scored)
        shared += time.perf_counter() - begin
        self.results_["seconds"] = seconds + shared / len(seconds)
        return self

    def shape_of_sums(self, y, clustered: Sequence[ClusteredShard]) -> tuple[int, int]:
        """Blocks and labelings that all scored shards together have sums of."""
        from gcdflow.ssddbc import _scores as scores

        labels, _ = self.whole_grid(clustered)
        distinct, _, _ = scores.distinct_labelings(labels, self._used_ks(len(y)))
        return scores.sums_shape(distinct, validate.labels(y, len(y)))

    def axes(self) -> tuple[list[int], list[float]]:
        """The k and the percentiles of the grid, ascending."""
        ks, percentiles, _ = self._checked_parameters()
        return ks, percentiles

    def whole_grid(self, clustered: Sequence[ClusteredShard]) -> tuple[np.ndarray, np.ndarray]:
        """Labels (C, n) int32 and seconds (C,) of all configurations in grid order."""
        ks, percentiles = self.axes()
        shares = shares_of_grid(ks, percentiles, clustered[0].shard.of)
        n_cells, n = len(ks) * len(percentiles), clustered[0].labels.shape[1]
        labels, seconds = np.empty((n_cells, n), dtype=np.int32), np.empty(n_cells)
        for part in clustered:
            mine = shares[part.shard.number - 1]
            labels[mine], seconds[mine] = part.labels, part.seconds
        return labels, seconds

    def _used_ks(self, n: int) -> np.ndarray:
        """The k of each configuration, cut to n - 1."""
        ks, percentiles = self.axes()
        return np.minimum(np.repeat(ks, len(percentiles)), n - 1)

    def _report(self, total: int) -> Callable[[float], None]:
        """Calls ``progress`` with the number of ``total`` that a share of the work stands for."""

        def report(share: float) -> None:
            if self.progress is not None:
                self.progress(int(share * total), total, None)

        return report


def _lists(neighbours: Neighbours):
    from gcdflow.ssddbc import _lists as lists

    return lists.Lists(neighbours.ids, neighbours.dist, neighbours.valid, neighbours.radius)
