"""Cells of the points, by which approximate neighbours are found: an inverted file.

k-means divides the points into cells. A query is compared with the points of its nearest cells
alone. The comparisons are those of the exact search (:mod:`gcdflow.ssddbc._lists`): products of
blocks of queries, here of the sketches of those of one cell, and exact distances of what they find.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gcdflow.errors import InputError
from gcdflow.ssddbc._points import ROWS_PER_TASK, Points
from gcdflow.ssddbc._sketches import Sketches
from gcdflow.ssddbc._workers import Workers, openmp_threads

CELLS_PER_ROOT = 4  # cells, in units of the square root of the number of points
TRAINED_PER_CELL = 40  # points per cell that k-means sees; faiss warns below 39
ITERATIONS = 5
SHORTLIST = 16  # cells that a block looks at hold so many times the candidates of one query


@dataclass(frozen=True)
class Cells:
    """Which cell each point is in, and which cells are near each other.

    Attributes
    ----------
    sketches : Sketches of the points.
    centroids : (c, r) float32, in the frame of the sketches.
    of : (n,) int32, the cell of each point.
    around : (c, c) int32, all cells in the order of their distance from each cell.
    reach : a query is compared with the points of its nearest cells, until these hold ``reach``
        points more than its list has entries.
    """

    sketches: Sketches
    centroids: np.ndarray
    of: np.ndarray
    around: np.ndarray
    reach: float

    @classmethod
    def build(
        cls, sketches: Sketches, columns: np.ndarray, reach: float, workers: Workers
    ) -> Cells:
        """Divide the points into cells that hold about equally many of some columns, (c,) int64."""
        n = len(columns)
        n_cells = max(1, min(round(CELLS_PER_ROOT * np.sqrt(n)), n // TRAINED_PER_CELL))
        rng = np.random.default_rng(0)
        seen = rng.choice(columns, min(n, n_cells * TRAINED_PER_CELL), replace=False)
        centroids = _k_means(sketches.rows[np.sort(seen)], n_cells, workers)
        around = np.argsort(distances(centroids, centroids), axis=1, kind="stable")
        of = _nearest(sketches.rows, centroids, workers)
        return cls(sketches, centroids, of, around.astype(np.int32), reach)

    def of_queries(self, queries: Points, own: np.ndarray, workers: Workers) -> np.ndarray:
        """The cell of each query; ``own`` (q,) is its index among the points, or -1."""
        found = self.of[np.maximum(own, 0)]
        strangers = np.flatnonzero(own < 0)
        sketches = self.sketches.of(queries.work[strangers])
        found[strangers] = _nearest(sketches, self.centroids, workers)
        return found

    def blocks(self, of: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Queries of one cell each, at most ``size``; ``of`` (q,) is the cell of each query."""
        order = np.argsort(of, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(of[order])) + 1):
            yield from (part[start : start + size] for start in range(0, len(part), size))


@dataclass(frozen=True)
class Candidates:
    """The columns of a search, by cell.

    Attributes
    ----------
    cells : Cells.
    columns : (c,) int64, by cell. start : (cells + 1,) int64, where each cell's begin.
    """

    cells: Cells
    columns: np.ndarray
    start: np.ndarray

    @classmethod
    def among(cls, cells: Cells, columns: np.ndarray) -> Candidates:
        """All of some columns, (c,) int64 ascending."""
        of = cells.of[columns]
        counts = np.bincount(of, minlength=len(cells.centroids))
        order = np.argsort(of, kind="stable")
        return cls(cells, columns[order], np.concatenate([[0], np.cumsum(counts)]))

    def of_block(self, sketches: np.ndarray, cell: int, m: int) -> np.ndarray:
        """Columns that may be among the m nearest of queries in one cell, ascending.

        Each query looks at its nearest cells; the block is compared with all that any looks at.

        Parameters
        ----------
        sketches : (b, r) float32, of the queries.
        """
        wanted, sizes = m + self.cells.reach, np.diff(self.start)
        near = self.cells.around[cell]
        held = np.cumsum(sizes[near])
        near = near[: int(np.searchsorted(held, SHORTLIST * wanted)) + 1]
        order = np.argsort(distances(sketches, self.cells.centroids[near]), axis=1)
        before = np.cumsum(sizes[near][order], axis=1) - sizes[near][order]
        looked_at = near[np.unique(order[before < wanted])]
        parts = [self.columns[self.start[c] : self.start[c + 1]] for c in looked_at]
        return np.sort(np.concatenate(parts))


def distances(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Squared distances of rows from centroids, less the squares of the rows, (n, c) float32."""
    return np.einsum("ij,ij->i", centroids, centroids) - 2 * (rows @ centroids.T)


def _nearest(rows: np.ndarray, centroids: np.ndarray, workers: Workers) -> np.ndarray:
    """The nearest centroid of each row, (n,) int32."""
    found = np.empty(len(rows), dtype=np.int32)

    def piece(start: int) -> None:
        part = slice(start, start + ROWS_PER_TASK)
        found[part] = np.argmin(distances(rows[part], centroids), axis=1)

    workers.run(piece, range(0, len(rows), ROWS_PER_TASK))
    return found


def _k_means(rows: np.ndarray, n_cells: int, workers: Workers) -> np.ndarray:
    """Centroids of (n, d) float32 rows, (n_cells, d) float32."""
    faiss = import_faiss()
    with openmp_threads(workers.n_threads):
        model = faiss.Kmeans(
            rows.shape[1],
            n_cells,
            niter=ITERATIONS,
            seed=1,
            max_points_per_centroid=TRAINED_PER_CELL,
            min_points_per_centroid=1,
        )
        model.train(rows)
    return model.centroids


def import_faiss():
    """The package faiss, which is an optional part of an installation (InputError)."""
    try:
        import faiss
    except ImportError:
        raise InputError(
            "approximate neighbours need the package faiss-cpu, which is not installed; run "
            "pip install --constraint constraints.txt '.[approximate]', or choose exact neighbours"
        ) from None
    return faiss
