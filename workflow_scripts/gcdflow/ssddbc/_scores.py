"""Scores of many labelings: cross-entropy, and silhouettes in one pass over the distances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gcdflow.ssddbc import _kernels_silhouette as kernels
from gcdflow.ssddbc._points import Points
from gcdflow.ssddbc._workers import Workers

QUERIES_PER_BLOCK = 64
COLUMNS_PER_TILE = 1024
# A squared distance below this share of the squared norms has lost so many digits in float32
# (in float64) that the silhouettes of a tight cluster would be wrong.
DOUBT, PRECISE_DOUBT = 1e-3, 1e-9
TOO_DOUBTFUL = 0.05  # share of a tile above which a product in float64 is cheaper than corrections


def cross_entropy(labels: np.ndarray, y: np.ndarray) -> float:
    """Mean over labelled points of -log(share of their class among their cluster's labels + 1e-10).

    Parameters
    ----------
    labels : (n,) clusters. y : (n,) int32 consecutive classes, -1 = unlabelled.

    Returns
    -------
    float : 0 if no point is labelled.
    """
    labelled = y >= 0
    if not labelled.any():
        return 0.0
    n_classes = int(y.max()) + 1
    pairs = labels[labelled].astype(np.int64) * n_classes + y[labelled]
    _, pair_of, together = np.unique(pairs, return_inverse=True, return_counts=True)
    in_cluster = np.bincount(labels[labelled])
    share = together[pair_of] / in_cluster[labels[labelled]]
    return float(np.mean(-np.log(share + 1e-10)))


def distinct_labelings(
    labels: np.ndarray, ks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct labelings, each labeling's index among them, and the k of each distinct one.

    Labelings that differ only by a permutation of clusters are equal, because their scores are.

    Parameters
    ----------
    labels : (l, n) int32. ks : (l,) int.
    """
    canonical = np.empty_like(labels)
    kernels.rename_by_appearance(labels, canonical)
    seen: dict[bytes, int] = {}
    which = np.array([seen.setdefault(row.tobytes(), len(seen)) for row in canonical])
    _, first = np.unique(which, return_index=True)
    return canonical[first], which, np.asarray(ks)[first]


def refine(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Common refinement of labelings (l, n): the piece of each point, one point of each piece."""
    code = np.zeros(labels.shape[1], dtype=np.uint64)
    for row in labels:  # a hash per point; collisions are checked below
        code ^= row.astype(np.uint64)
        code *= np.uint64(0x9E3779B97F4A7C15)
        code ^= code >> np.uint64(29)
    _, first, piece = np.unique(code, return_index=True, return_inverse=True)
    piece = piece.ravel()
    if any((row[first][piece] != row).any() for row in labels):
        _, first, piece = np.unique(labels, axis=1, return_index=True, return_inverse=True)
    return piece.ravel(), first


@dataclass(frozen=True)
class _Family:
    """Labelings whose clusters are unions of common pieces, which are unions of finer pieces.

    Attributes
    ----------
    piece : (finer pieces,) int64. n_pieces : int.
    clusters : list of (n_pieces,) int64, the cluster of each piece, one per labeling.
    indices : list of int, indices of the labelings.
    """

    piece: np.ndarray
    n_pieces: int
    clusters: list[np.ndarray]
    indices: list[int]


def _families(labels: np.ndarray, family_of: np.ndarray, workers: Workers) -> list[_Family]:
    """Families of labelings (l, pieces), given on the pieces of the common refinement."""

    def collect(family: int) -> _Family:
        indices = np.flatnonzero(family_of == family)
        piece, first = refine(labels[indices])
        clusters = [labels[i, first].astype(np.int64) for i in indices]
        return _Family(piece, len(first), clusters, indices.tolist())

    return workers.run(collect, np.unique(family_of))


def mean_silhouettes(
    points: Points,
    labels: np.ndarray,
    family_of: np.ndarray,
    y: np.ndarray,
    workers: Workers,
    advance: Callable[[float, np.ndarray], None] | None = None,
) -> np.ndarray:
    """Mean silhouettes of the unlabelled points, under each labeling.

    All labelings share one pass over blocks of distances, which are not stored. Distances are
    summed in three steps: over the pieces of the common refinement of all labelings, then over the
    pieces of each family, then over clusters.

    Parameters
    ----------
    labels : (l, n) int32, distinct labelings, consecutive from 0.
    family_of : (l,) int, labelings of the same family are similar.
    y : (n,) int32, -1 = unlabelled.
    advance : called with the finished share of the points, and the (l,) means over these.

    Returns
    -------
    (l,) float64 : 0 for labelings with fewer than two clusters, or if all points are labelled.
    """
    queries, chosen = np.flatnonzero(y < 0), np.flatnonzero(labels.max(axis=1) > 0)
    result, n_blocks = np.zeros(len(labels)), -(-len(queries) // QUERIES_PER_BLOCK)
    sums, done = np.zeros((n_blocks, len(chosen))), np.zeros(n_blocks)
    if sums.size == 0:
        return result
    labels = labels[chosen]
    piece, first = refine(labels)
    order = np.argsort(piece, kind="stable")  # so that sums over pieces read memory in order
    distances = _Distances(points, order, points.work[order], points.squares[order])
    families = _families(labels[:, first], np.asarray(family_of)[chosen], workers)
    sizes = [np.bincount(row).astype(np.float64) for row in labels]

    def block(row: int) -> None:
        # Every block holds points from the whole range, so that early means are representative.
        some = queries[row::n_blocks]
        fine = distances.sums(some, piece[order], len(first))
        for family in families:
            middle = np.zeros((family.n_pieces, len(some)))
            kernels.add_rows(fine, family.piece, middle)
            for clusters, index in zip(family.clusters, family.indices, strict=True):
                coarse = np.zeros((len(sizes[index]), len(some)))
                kernels.add_rows(middle, clusters, coarse)
                sums[row, index] = kernels.silhouette_sum(coarse, sizes[index], labels[index, some])
        done[row] = len(some)

    def report() -> None:
        if advance is not None and done.any():
            result[chosen] = sums[done > 0].sum(axis=0) / done.sum()
            advance((done > 0).mean(), result)

    workers.run(block, range(n_blocks), report)
    result[chosen] = sums.sum(axis=0) / len(queries)
    return result


@dataclass(frozen=True)
class _Distances:
    """Distances from blocks of points to all points in a given order."""

    points: Points
    order: np.ndarray
    work: np.ndarray
    squares: np.ndarray

    def sums(self, mine: np.ndarray, piece: np.ndarray, n_pieces: int) -> np.ndarray:
        """Sums over pieces of the distances from the points ``mine``, (n_pieces, b) float64."""
        points = self.points
        total = np.zeros((n_pieces, len(mine)))
        queries = np.ascontiguousarray(points.work[mine].T)
        buffers = np.empty((2, COLUMNS_PER_TILE, len(mine)), dtype=np.float32)
        for start in range(0, len(self.order), COLUMNS_PER_TILE):
            tile = slice(start, start + COLUMNS_PER_TILE)
            width = len(self.order[tile])
            products, values = buffers[0, :width], buffers[1, :width]
            np.matmul(self.work[tile], queries, out=products)
            squares = self.squares[tile], points.squares[mine]
            doubt = DOUBT
            doubtful = kernels.tile_distances(products, *squares, points.scale, doubt, values)
            if doubtful > TOO_DOUBTFUL * values.size:
                exact, columns = points.centred(self.order[tile])
                exact_mine, own = points.centred(mine)
                products, squares, doubt = exact @ exact_mine.T, (columns, own), PRECISE_DOUBT
                doubtful = kernels.tile_distances(products, *squares, points.scale, doubt, values)
            if doubtful:
                kernels.mend_distances(
                    products, *squares, doubt, self.order[tile], mine, points.rows, values
                )
            kernels.add_rows(values, piece[tile], total)
        return total
