"""The exact search on a GPU, which compares every point with every other.

The GPU forms products, whose rounding errors have the same bound as on a CPU, to find the nearest
points and to average distances. Exact distances stay on the CPU, so neighbours and their order are
the same. Only this module imports PyTorch, and only if a GPU is requested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.ssddbc._scores import _Distances, _Family

QUERIES_PER_BLOCK = 1024  # of lists,
SCORED_PER_BLOCK = 512  # and of silhouettes, which need sums for each piece
COLUMNS_PER_TILE = 2**16
LONGEST_RUN = 256  # rows that one thread of the GPU adds up

# Held by the thread whose block is on the GPU, while others use the CPU. The precision of products
# belongs to the process.
_ALONE = Lock()


@dataclass(frozen=True)
class Gpu:
    """Points in the memory of a GPU.

    Attributes
    ----------
    work, squares : tensors (n, d) and (n,) float32, as of ``Points``.
    """

    work: Any
    squares: Any

    @classmethod
    def holding(cls, work: np.ndarray, squares: np.ndarray, device: str) -> Gpu:
        """Copies of the points on a device (see :func:`check_torch`).

        Raises
        ------
        InputError
            If its memory is too small.
        """
        import torch

        with _enough_memory():
            return cls(*(torch.from_numpy(array).to(device) for array in (work, squares)))

    def take(self, ids: np.ndarray) -> Gpu:
        """Some of the points, (c,) int64."""
        with self.alone():
            rows = self.here(ids)
            return Gpu(self.work[rows], self.squares[rows])

    def nearest(
        self, queries: np.ndarray, own: np.ndarray, m: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The m nearest of the points to each query, m at most n, as far as float32 can tell.

        Parameters
        ----------
        queries : (q, d) float32, in the frame of the points.
        own : (q,) int64, the point that is the query itself, or -1.

        Returns
        -------
        found : (q, m) int64, points. counts : (q,) int64, how many of them count.
        bounds : (q,) float32, no other point has a smaller key (squared norm - 2 · product);
            infinite if there is no other.
        """
        import torch

        with self.alone():
            queries = self.here(queries)
            best = torch.empty((len(own), 0), dtype=torch.float32, device=queries.device)
            points = torch.empty((len(own), 0), dtype=torch.int64, device=queries.device)
            for first in range(0, len(self.work), COLUMNS_PER_TILE):
                tile = slice(first, first + COLUMNS_PER_TILE)
                keys = torch.addmm(self.squares[tile], queries, self.work[tile].T, alpha=-2)
                here = np.flatnonzero((own >= first) & (own < first + keys.shape[1]))
                if len(here):
                    keys[self.here(here), self.here(own[here] - first)] = torch.inf
                keys, ids = keys.topk(min(m, keys.shape[1]), largest=False, sorted=False)
                keys, ids = torch.cat([best, keys], 1), torch.cat([points, ids + first], 1)
                best, order = keys.topk(min(m, keys.shape[1]), largest=False)
                points = ids.gather(1, order)
            found, bounds = points.cpu().numpy(), best[:, -1].cpu().numpy()
        others = len(self.work) - (own >= 0)  # the query itself is the last
        return found, np.minimum(others, m), np.where(others > m, bounds, np.float32(np.inf))

    def here(self, array: np.ndarray):
        """A copy of an array on this device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.work.device)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Use the device, with products in float32 and nothing less."""
        import torch

        whole = torch.autocast(self.work.device.type, enabled=False)
        matmul = torch.backends.cuda.matmul
        with _ALONE, _enough_memory(), torch.inference_mode(), whole:
            precision = matmul.fp32_precision
            matmul.fp32_precision = "ieee"
            try:
                yield
            finally:
                matmul.fp32_precision = precision


class Runs:
    """Runs of consecutive rows that are summed, always in the same order."""

    def __init__(self, lengths: np.ndarray, gpu: Gpu):
        """``lengths`` (r,) int64, at least 1."""
        parts = -(-lengths // LONGEST_RUN)
        of_parts = np.full(parts.sum(), LONGEST_RUN)
        of_parts[np.cumsum(parts) - 1] = lengths - (parts - 1) * LONGEST_RUN
        self._steps = gpu.here(of_parts), gpu.here(parts)

    def sums(self, values):
        """Sums (r, …) of a tensor's rows (n, …)."""
        import torch

        for lengths in self._steps:
            values = torch.segment_reduce(values, "sum", lengths=lengths, axis=0, unsafe=True)
        return values


class Groups:
    """Rows in any order that are summed by groups, numbered from 0, none of them empty."""

    def __init__(self, group: np.ndarray, gpu: Gpu):
        """``group`` (n,) int64, of each row."""
        self._order = gpu.here(np.argsort(group, kind="stable"))
        self._runs = Runs(np.bincount(group), gpu)

    def sums(self, values):
        """Sums (g, …) of a tensor's rows (n, …)."""
        return self._runs.sums(values.index_select(0, self._order))


class Silhouettes:
    """Silhouettes of blocks of points, under many labelings whose clusters are unions of pieces.

    Parameters
    ----------
    distances : _Distances, from points to columns, which are in the order of their pieces.
    families : list of _Family. (Both are of :mod:`gcdflow.ssddbc._scores`.)
    sizes : (c,) float64 for each labeling, samples of its clusters, of which there are several.
    doubt, most : squared distances below the share ``doubt`` of the squared norms have lost too
        many digits; if more than the share ``most`` of a tile have, none of it is of use.
    """

    def __init__(
        self,
        distances: _Distances,
        families: Sequence[_Family],
        sizes: Sequence[np.ndarray],
        doubt: float,
        most: float,
    ):
        points, columns, piece = distances.columns.points, distances.columns.ids, distances.piece
        gpu = points.gpu
        self._points, self._columns = gpu, gpu.take(columns)
        self._doubt, self._most = doubt, most
        self._weights, self._n_pieces = gpu.here(distances.weights)[:, None], int(piece[-1]) + 1
        self._tiles = []
        for first in range(0, len(columns), COLUMNS_PER_TILE):
            tile = slice(first, min(first + COLUMNS_PER_TILE, len(columns)))
            pieces = slice(int(piece[tile.start]), int(piece[tile.stop - 1]) + 1)
            runs = np.bincount(piece[tile] - pieces.start)
            self._tiles.append((tile, pieces, Runs(runs, gpu)))
        self._families = [
            (
                Groups(family.piece, gpu),
                [
                    (number, Groups(clusters, gpu))
                    for number, clusters in zip(family.indices, family.clusters, strict=True)
                ],
            )
            for family in families
        ]
        self._sizes = [gpu.here(of_labeling) for of_labeling in sizes]

    def of(
        self,
        mine: np.ndarray,
        own: np.ndarray,
        exact: Callable[[slice, np.ndarray | None], np.ndarray],
    ) -> np.ndarray:
        """Silhouettes of some points under each labeling, (l, b) float64.

        Parameters
        ----------
        mine : (b,) int64, points. own : (l, b) int32, their clusters.
        exact : gives better distances of a tile of columns: those of the places (p, 2) int64, or
            (None) all of them, (t, b) float32.
        """
        import torch

        with self._points.alone():
            points, own = self._points.here(mine), self._points.here(own.astype(np.int64))
            fine = self._sums_over_pieces(points, exact)
            found = torch.empty(own.shape, dtype=torch.float64, device=own.device)
            at = torch.arange(len(mine), device=own.device)
            for family, labelings in self._families:
                middle = family.sums(fine)
                for number, clusters in labelings:
                    mean, cluster, sizes = clusters.sums(middle), own[number], self._sizes[number]
                    inside = mean[cluster, at] / (sizes[cluster] - 1)
                    mean /= sizes[:, None]
                    mean[cluster, at] = torch.inf
                    others = mean.min(0).values
                    value = (others - inside) / torch.maximum(others, inside)
                    # 0 of a point alone in its cluster, and where all distances are 0
                    found[number] = value.masked_fill((sizes[cluster] == 1) | value.isnan(), 0)
            return found.cpu().numpy()

    def _sums_over_pieces(self, points, exact: Callable[[slice, np.ndarray | None], np.ndarray]):
        """Sums over pieces of the distances from some points, (pieces, b) float64."""
        import torch

        queries, squares = self._points.work[points].T, self._points.squares[points]
        shape = self._n_pieces, len(points)
        fine = torch.zeros(shape, dtype=torch.float64, device=points.device)
        for tile, pieces, runs in self._tiles:
            norms = self._columns.squares[tile, None] + squares
            values = torch.addmm(norms, self._columns.work[tile], queries, alpha=-2)
            doubtful = (values < self._doubt * norms).nonzero()
            if len(doubtful) > self._most * values.numel():
                values = self._points.here(exact(tile, None))
            else:
                values = values.clamp_(min=0).sqrt_()
                better = exact(tile, doubtful.contiguous().cpu().numpy())
                values[doubtful[:, 0], doubtful[:, 1]] = self._points.here(better)
            fine[pieces] += runs.sums(self._weights[tile] * values)
        return fine


def check_torch(device: str) -> None:
    """Refuse a device that PyTorch, if it is installed, cannot use (InputError)."""
    try:
        import torch
    except ImportError:
        raise InputError(
            f"device {device} needs the package torch, which is not installed; install it, or "
            "choose device cpu"
        ) from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device}: PyTorch finds no GPU; choose device cpu")
    try:
        torch.empty(1, device=device)
    except RuntimeError as error:  # no GPU of this number, or one in use by others
        reason = str(error).splitlines()[0]
        raise InputError(f"device {device} cannot be used: {reason}; choose device cpu") from None


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Say it in one sentence if a GPU's memory is too small (InputError)."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            "the GPU's memory is too small for these features: "
            f"{str(error).splitlines()[0]} Choose device cpu, perhaps with approximate neighbours"
        ) from None
