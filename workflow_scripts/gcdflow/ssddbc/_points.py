"""Points in two precisions: exact rows, and centred single-precision rows for fast products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gcdflow.ssddbc._cells import Cells
    from gcdflow.ssddbc._gpu import Gpu
from gcdflow.ssddbc._workers import Workers

ROWS_PER_TASK = 512
UNIT = 2.0**-24  # half a unit in the last place of float32, relative
PRECISE_UNIT = 2.0**-53  # the same for float64


@dataclass(frozen=True)
class Points:
    """Rows for exact distances, and their working copy for scalar products.

    Attributes
    ----------
    rows : (n, d) float64, C-contiguous. All decisions use distances between these.
    work : (n, d) float32, ``(rows - centre) * scale``. Centring keeps the digits of products of
        points far from the origin; scaling keeps squares from overflow and underflow.
    squares : (n,) float32, squared norms of ``work``.
    norms : (n,) float64, norms of ``work``.
    centre : (d,) float64. scale : a power of two.
    rounding : absolute error of centring in float64, in units of ``work``.
    cells : Cells, if neighbours are approximate; None if they are exact.
    gpu : Gpu that holds the working copy and forms the products; None: the CPU does.
    """

    rows: np.ndarray
    work: np.ndarray
    squares: np.ndarray
    norms: np.ndarray
    centre: np.ndarray
    scale: float
    rounding: float
    cells: Cells | None = None
    gpu: Gpu | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def embed(self, rows: np.ndarray, workers: Workers) -> Points:
        """Other rows with the same centre and scale, to estimate distances to these points."""
        return _in_frame(rows, self.centre, self.scale, workers)

    def centred(self, rows: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """``work`` and ``squares`` of some rows, in float64."""
        exact = (self.rows[rows] - self.centre) * self.scale
        return exact, np.einsum("ij,ij->i", exact, exact)

    def take(self, rows: np.ndarray) -> Points:
        """Some of the points, with the same centre and scale, as queries."""
        return replace(
            self,
            rows=self.rows[rows],
            work=self.work[rows],
            squares=self.squares[rows],
            norms=self.norms[rows],
            cells=None,
            gpu=None,
        )


@dataclass(frozen=True)
class Columns:
    """Some of the points, which are read part by part.

    Attributes
    ----------
    points : Points.
    ids : (c,) int64, rows of ``points``.
    work, squares : of these rows, in the same order, so that memory is read in order; or None:
        parts are gathered when they are read, which needs no memory.
    gpu : Gpu that holds them, and is searched instead; or None.
    """

    points: Points
    ids: np.ndarray
    work: np.ndarray | None = None
    squares: np.ndarray | None = None
    gpu: Gpu | None = None

    @classmethod
    def copied(cls, points: Points, ids: np.ndarray) -> Columns:
        """Some of the points, with copies in their order."""
        return cls(points, ids, points.work[ids], points.squares[ids])

    def tile(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """``work`` and ``squares`` of a part."""
        if self.work is None:
            return self.points.work[self.ids[part]], self.points.squares[self.ids[part]]
        return self.work[part], self.squares[part]

    def centred(self, part: slice) -> tuple[np.ndarray, np.ndarray]:
        """The same in float64."""
        return self.points.centred(self.ids[part])


def make_points(rows: np.ndarray, workers: Workers) -> Points:
    """Points from (n, d) float64 rows."""
    centre = rows.mean(axis=0)
    spread = max(float((rows.max(axis=0) - centre).max()), float((centre - rows.min(axis=0)).max()))
    exponent = 0.0 if spread == 0 else np.round(np.log2(spread * np.sqrt(rows.shape[1])))
    return _in_frame(rows, centre, float(2.0 ** -np.clip(exponent, -1000, 1000)), workers)


def _in_frame(rows: np.ndarray, centre: np.ndarray, scale: float, workers: Workers) -> Points:
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    n, d = rows.shape
    work = np.empty((n, d), dtype=np.float32)
    norms = np.empty(n)

    def piece(start: int) -> float:
        part = slice(start, start + ROWS_PER_TASK)
        work[part] = (rows[part] - centre) * scale
        exact = work[part].astype(np.float64)
        norms[part] = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        return float(np.abs(rows[part]).max())

    largest = max(workers.run(piece, range(0, n, ROWS_PER_TASK)), default=0.0)
    rounding = 2.0**-51 * (largest + float(np.abs(centre).max())) * scale * np.sqrt(d)
    squares = (norms**2).astype(np.float32)
    return Points(rows, work, squares, norms, centre, scale, float(rounding))


def prepare(X: np.ndarray, normalize: bool, workers: Workers) -> np.ndarray:
    """Float64 rows, C-contiguous, normalised on request; rows of zeros stay zero.

    Norms and quotients are float64 as well.
    """
    rows = np.empty(X.shape)

    def piece(start: int) -> None:
        part = rows[start : start + ROWS_PER_TASK]
        part[:] = X[start : start + ROWS_PER_TASK]
        if normalize:
            norms = np.linalg.norm(part, axis=1, keepdims=True)
            part /= np.where(norms == 0, 1.0, norms)

    workers.run(piece, range(0, len(rows), ROWS_PER_TASK))
    return rows


def squared_error(
    queries: Points, points: Points, columns_norm: float, unit: float = UNIT
) -> np.ndarray:
    """Bound on the error of squared distances from products of rows rounded to ``unit``, (q,).

    The bound is the worst case of a scalar product of d terms in any order of summation
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), plus the rounding of the
    rows and of the squared norms, in the scale of ``work``.
    """
    d = queries.rows.shape[1]
    gamma = d * unit / max(1.0 - d * unit, 0.5)
    reach = queries.norms + columns_norm
    rows_moved = 1.01 * unit * reach + queries.rounding + points.rounding
    products = 2.02 * gamma * queries.norms * columns_norm
    return products + rows_moved * (2.1 * reach + rows_moved) + 4 * unit * reach**2
