"""Sketches of the points: their main dimensions, by which approximate neighbours are found.

The squared norms of whole rows and the products of sketches give the distances, except for the
product of the dimensions that the sketches leave out. That product is small if near points differ
by noise in many dimensions.
A search by sketches keeps some spare neighbours and sorts them by their exact distances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gcdflow.ssddbc._points import ROWS_PER_TASK, Points
from gcdflow.ssddbc._workers import Workers

SEEN = 10_000  # points that the main directions are computed from
STEP = 32  # lengths of sketches that are tried are multiples of this
SPARE = 1.5  # a search by sketches keeps so many times the neighbours that are wanted
WANTED = 0.98  # share of the nearest neighbours that are then among those it keeps
QUERIES = 128  # points that this share is seen on
RIVALS = 8  # it is seen among so many times the neighbours that are wanted


@dataclass(frozen=True)
class Sketches:
    """The points in their main dimensions.

    Attributes
    ----------
    axes : (d, r) float32, orthonormal columns; None if sketches are whole rows.
    rows : (n, r) float32, ``Points.work @ axes``.
    """

    axes: np.ndarray | None
    rows: np.ndarray

    @classmethod
    def build(
        cls, points: Points, queries: np.ndarray, near: np.ndarray, m: int, workers: Workers
    ) -> Sketches:
        """The shortest sketches that find most of the m nearest neighbours.

        Parameters
        ----------
        queries : (q,) int64, points.
        near : (q, RIVALS * m) int32, their nearest neighbours; fewer if there are not so many
            points, and then sketches are whole rows.
        """
        length = points.work.shape[1]
        if near.shape[1] == RIVALS * m:
            axes, step = _main_axes(points), max(1, len(queries) // QUERIES)
            length = _length(points, axes, queries[::step], near[::step], m)
        if length == points.work.shape[1]:
            return cls(None, points.work)
        axes = np.ascontiguousarray(axes[:, :length])
        rows = np.empty((len(points), length), dtype=np.float32)

        def piece(start: int) -> None:
            part = slice(start, start + ROWS_PER_TASK)
            np.matmul(points.work[part], axes, out=rows[part])

        workers.run(piece, range(0, len(points), ROWS_PER_TASK))
        return cls(axes, rows)

    def of(self, work: np.ndarray) -> np.ndarray:
        """Sketches (q, r) of other rows (q, d), which are float32 in the frame of the points."""
        return work if self.axes is None else work @ self.axes

    def kept(self, m: int) -> int:
        """How many neighbours a search keeps so that the m nearest are among them."""
        return m if self.axes is None else int(SPARE * m)


def _main_axes(points: Points) -> np.ndarray:
    """Directions in which the points vary, those of largest variance first, (d, d) float32."""
    seen = np.random.default_rng(0).choice(len(points), min(len(points), SEEN), replace=False)
    rows = points.work[np.sort(seen)].astype(np.float64)  # their centre is the origin
    return np.linalg.eigh(rows.T @ rows)[1][:, ::-1].astype(np.float32)


def _length(points: Points, axes: np.ndarray, queries: np.ndarray, near: np.ndarray, m: int) -> int:
    """The shortest length of sketches that find the neighbours; parameters as above."""
    lengths = range(STEP, axes.shape[1], STEP)
    kept, found = int(SPARE * m), np.zeros(len(lengths))
    for query, rivals in zip(queries, near, strict=True):
        products = (points.work[rivals] @ axes) * (points.work[query] @ axes)
        keys = points.squares[rivals] - 2 * np.cumsum(products, axis=1).T[STEP - 1 : -1 : STEP]
        bound = np.partition(keys, kept - 1, axis=1)[:, kept - 1 : kept]
        found += (keys[:, :m] <= bound).mean(axis=1)
    enough = np.flatnonzero(found >= WANTED * len(queries))
    return lengths[enough[0]] if len(enough) else axes.shape[1]
