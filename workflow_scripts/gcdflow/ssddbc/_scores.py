"""Scores of many labelings: cross-entropy, and silhouettes in one pass over the distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

import numpy as np

from gcdflow.ssddbc import _gpu
from gcdflow.ssddbc import _kernels_silhouette as kernels
from gcdflow.ssddbc._points import Columns
from gcdflow.ssddbc._samples import Samples
from gcdflow.ssddbc._workers import Workers
from gcdflow.ssddbc.resources import DRAWN

QUERIES_PER_BLOCK = 64
COLUMNS_PER_TILE = 1024
# A squared distance below this share of the squared norms has lost so many digits in float32
# (in float64) that the silhouettes of a tight cluster would be wrong.
DOUBT, PRECISE_DOUBT = 1e-3, 1e-9
DRAWN_SILHOUETTES = DRAWN  # the error of their mean does not depend on the number of points
DRAWN_PER_STRATUM = 4
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
    which = np.array([seen.setdefault(blake2b(row).digest(), len(seen)) for row in canonical])
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


@dataclass(frozen=True)
class _Atoms:
    """Classes of samples that have equal rows, and share a cluster in every labeling.

    Attributes
    ----------
    of : (n,) int64, atom of each sample.
    first : (a,) int64, one sample of each atom.
    sizes : (a,) float64, number of samples of each.
    """

    of: np.ndarray
    first: np.ndarray
    sizes: np.ndarray

    @classmethod
    def build(cls, samples: Samples, piece: np.ndarray) -> _Atoms:
        """The atoms; ``piece`` (n,) int64 is each sample's piece of the common refinement."""
        if not samples.has_copies:
            return cls(np.arange(len(samples)), np.arange(len(samples)), np.ones(len(samples)))
        pairs = samples.row_of * (int(piece.max()) + 1) + piece
        _, first, of, sizes = np.unique(
            pairs, return_index=True, return_inverse=True, return_counts=True
        )
        return cls(of.ravel(), first, sizes.astype(np.float64))


@dataclass(frozen=True)
class _Draw:
    """Atoms whose silhouettes are computed, and how much each counts.

    Attributes
    ----------
    atoms : (q,) int64. weights : (q,) float64, they add up to the number of unlabelled samples.
    """

    atoms: np.ndarray
    weights: np.ndarray

    @classmethod
    def everything(cls, atoms: _Atoms, unlabelled: np.ndarray) -> _Draw:
        """All unlabelled samples, (u,) int64."""
        counts = np.bincount(atoms.of[unlabelled], minlength=len(atoms.first))
        chosen = np.flatnonzero(counts)
        return cls(chosen, counts[chosen].astype(np.float64))

    @classmethod
    def stratified(cls, atoms: _Atoms, unlabelled: np.ndarray) -> _Draw:
        """A random part of the unlabelled samples, equally many from each stratum.

        Strata are equal parts of ``unlabelled``, whose order puts similar samples together.
        """
        n_strata = DRAWN_SILHOUETTES // DRAWN_PER_STRATUM
        rng = np.random.default_rng(0)
        parts = np.array_split(unlabelled, n_strata)
        drawn = [rng.choice(part, DRAWN_PER_STRATUM, replace=False) for part in parts]
        sizes = np.array([len(part) for part in parts])
        weights = np.repeat(sizes / DRAWN_PER_STRATUM, DRAWN_PER_STRATUM)
        return cls(atoms.of[np.concatenate(drawn)], weights)

    def errors(self, values: np.ndarray) -> np.ndarray:
        """Standard errors of the mean of a stratified sample, (l,), from its values (q, l).

        Cochran, Sampling Techniques, equation 5.12, with the finite population correction.
        """
        within = values.reshape(-1, DRAWN_PER_STRATUM, values.shape[1]).var(axis=1, ddof=1)
        sizes = self.weights[::DRAWN_PER_STRATUM] * DRAWN_PER_STRATUM
        shares = (sizes / sizes.sum()) ** 2 * (1 - DRAWN_PER_STRATUM / sizes) / DRAWN_PER_STRATUM
        return np.sqrt(shares @ within)


def mean_silhouettes(
    samples: Samples,
    labels: np.ndarray,
    family_of: np.ndarray,
    unlabelled: np.ndarray,
    workers: Workers,
    advance: Callable[[float], None] = lambda share: None,
    draw: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean silhouettes of the unlabelled samples, under each labeling.

    All labelings share one pass over blocks of distances, which are not stored. Distances are
    summed in three steps: over the pieces of the common refinement of all labelings, then over the
    pieces of each family, then over clusters.

    Parameters
    ----------
    labels : (l, n) int32, distinct labelings, consecutive from 0.
    family_of : (l,) int, labelings of the same family are similar.
    unlabelled : (u,) int64, these samples.
    advance : called with the finished share of the points.
    draw : estimate the means from a stratified sample of ``unlabelled``, which is in an order that
        puts similar samples together.

    Returns
    -------
    means, errors : (l,) float64
        Means (0 for labelings with fewer than two clusters, or if nothing is unlabelled), and their
        standard errors (0 if nothing was left out).
    """
    chosen = np.flatnonzero(labels.max(axis=1) > 0)
    means, errors = np.zeros(len(labels)), np.zeros(len(labels))
    if len(chosen) == 0 or len(unlabelled) == 0:
        return means, errors
    labels = labels[chosen]
    piece, first = refine(labels)
    atoms = _Atoms.build(samples, piece)
    draw = draw and len(unlabelled) > 2 * DRAWN_SILHOUETTES
    queries = (_Draw.stratified if draw else _Draw.everything)(atoms, unlabelled)
    distances = _Distances.build(samples, atoms, piece, in_order=not draw)
    families = _families(labels[:, first], np.asarray(family_of)[chosen], workers)
    sizes = [np.bincount(row).astype(np.float64) for row in labels]
    gpu = samples.points.gpu
    on_gpu = gpu and _gpu.Silhouettes(distances, families, sizes, DOUBT, TOO_DOUBTFUL)
    n_blocks = -(-len(queries.atoms) // (_gpu.SCORED_PER_BLOCK if on_gpu else QUERIES_PER_BLOCK))
    sums, done = np.zeros((n_blocks, len(chosen))), np.zeros(n_blocks, bool)
    values = np.empty((len(chosen), len(queries.atoms))) if draw else None
    once = np.ones(len(first))

    def by_cpu(some: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, totals = np.empty((len(chosen), len(some))), np.empty(len(chosen))
        fine = distances.sums(samples.row_of[some], len(first))
        for family in families:
            middle = np.zeros((family.n_pieces, len(some)))
            kernels.add_rows(fine, once, family.piece, middle)
            for clusters, index in zip(family.clusters, family.indices, strict=True):
                coarse = np.zeros((len(sizes[index]), len(some)))
                kernels.add_rows(middle, once, clusters, coarse)
                totals[index] = kernels.silhouettes(
                    coarse, sizes[index], labels[index, some], weights, found[index]
                )
        return found, totals

    def by_gpu(some: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mine = samples.row_of[some]
        found = on_gpu.of(mine, labels[:, some], partial(distances.exact, mine))
        return found, found @ weights

    def block(row: int) -> None:
        # Blocks of neighbouring points would add up in another order, to other last digits.
        part = slice(row, None, n_blocks)
        some, weights = atoms.first[queries.atoms[part]], queries.weights[part]
        found, sums[row] = (by_gpu if on_gpu else by_cpu)(some, weights)
        if draw:
            values[:, part] = found
        done[row] = True

    workers.run(block, range(n_blocks), lambda: advance(done.mean()))
    means[chosen] = sums.sum(axis=0) / len(unlabelled)
    if draw:
        errors[chosen] = queries.errors(values.T)
    return means, errors


@dataclass(frozen=True)
class _Distances:
    """Distances from blocks of points to all rows, in the order of their pieces.

    Their unit is that of ``Points.work``.

    Attributes
    ----------
    columns : Columns, the row of each atom.
    weights : (a,) float64, its number of samples. piece : (a,) int64, its piece.
    """

    columns: Columns
    weights: np.ndarray
    piece: np.ndarray

    @classmethod
    def build(
        cls, samples: Samples, atoms: _Atoms, piece: np.ndarray, in_order: bool
    ) -> _Distances:
        """Distances to atoms; ``piece`` (n,) is the piece of each sample.

        For few blocks, an ordered copy of all rows is not worth its memory (``in_order``); a GPU
        has its own.
        """
        points, piece = samples.points, piece[atoms.first]
        order = np.argsort(piece, kind="stable")  # so that sums over pieces read memory in order
        rows = samples.row_of[atoms.first[order]]
        in_order &= points.gpu is None
        columns = Columns.copied(points, rows) if in_order else Columns(points, rows)
        return cls(columns, atoms.sizes[order], piece[order])

    def sums(self, mine: np.ndarray, n_pieces: int) -> np.ndarray:
        """Sums over pieces of the distances from the rows ``mine``, (n_pieces, b) float64."""
        total = np.zeros((n_pieces, len(mine)))
        for tile, values in self._tiles(mine, slice(0, len(self.piece))):
            kernels.add_rows(values, self.weights[tile], self.piece[tile], total)
        return total

    def exact(self, mine: np.ndarray, tile: slice, pairs: np.ndarray | None) -> np.ndarray:
        """Distances of a tile of columns from the rows ``mine``, where a GPU's are doubtful.

        Parameters
        ----------
        pairs : (p, 2) int64, places in the tile and in ``mine``; or None for all.

        Returns
        -------
        (p,) or (t, b) float32
        """
        if pairs is None:
            return np.concatenate([values.copy() for _, values in self._tiles(mine, tile)])
        found = np.empty(len(pairs), dtype=np.float32)
        points = self.columns.points
        kernels.pair_distances(
            pairs, self.columns.ids[tile], mine, points.rows, points.scale, found
        )
        return found

    def _tiles(self, mine: np.ndarray, part: slice) -> Iterator[tuple[slice, np.ndarray]]:
        """Distances (t, b) float32 of tiles of a part of the columns; the next overwrite them."""
        points, rows = self.columns.points, self.columns.ids
        queries = np.ascontiguousarray(points.work[mine].T)
        buffers = np.empty((2, COLUMNS_PER_TILE, len(mine)), dtype=np.float32)
        for start in range(part.start, part.stop, COLUMNS_PER_TILE):
            tile = slice(start, min(start + COLUMNS_PER_TILE, part.stop))
            work, squares = self.columns.tile(tile)
            products, values = buffers[0, : len(work)], buffers[1, : len(work)]
            np.matmul(work, queries, out=products)
            squares = squares, points.squares[mine]
            doubt = DOUBT
            doubtful = kernels.tile_distances(products, *squares, doubt, values)
            if doubtful > TOO_DOUBTFUL * values.size:
                exact, columns = self.columns.centred(tile)
                exact_mine, own = points.centred(mine)
                products, squares, doubt = exact @ exact_mine.T, (columns, own), PRECISE_DOUBT
                doubtful = kernels.tile_distances(products, *squares, doubt, values)
            if doubtful:
                kernels.mend_distances(
                    products, *squares, doubt, rows[tile], mine, points.rows, points.scale, values
                )
            yield tile, values
