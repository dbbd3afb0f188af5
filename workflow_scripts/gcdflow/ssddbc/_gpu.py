"""Distances of the exact search on a GPU, which compares every point with every other.

The GPU forms products, whose rounding errors have the same bound as on a CPU, to find candidates
and to sum distances. Exact distances stay on the CPU, so neighbours and their order are the same.
Only this module imports PyTorch, and only where a GPU is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from gcdflow.errors import InputError

QUERIES_PER_BLOCK = 1024  # for lists,
SUMMED_QUERIES = 256  # and for sums, of which each thread has some of many clusters
COLUMNS_PER_TILE = 2**16
LONGEST_RUN = 256  # rows that one thread of the GPU adds up


@dataclass(frozen=True)
class Gpu:
    """The points in the memory of a GPU.

    Attributes
    ----------
    work, squares : tensors (n, d) and (n,) float32, as of ``Points``.
    lock : held by the thread whose blocks are in the GPU's memory; others use the CPU meanwhile.
    """

    work: Any
    squares: Any
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def holding(cls, work: np.ndarray, squares: np.ndarray, device: str) -> Gpu:
        """Copies of the points on a device that PyTorch names so.

        Raises
        ------
        InputError
            If PyTorch is missing, finds no GPU, or the GPU's memory is too small.
        """
        torch = import_torch(device)
        with _enough_memory():
            return cls(*(torch.from_numpy(array).to(device) for array in (work, squares)))

    def take(self, ids: np.ndarray) -> Gpu:
        """Some of the points, (c,) int64."""
        with self._alone():
            rows = self._here(ids)
            return Gpu(self.work[rows], self.squares[rows], self.lock)

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

        with self._alone():
            queries = self._here(queries)
            nearest = torch.empty((len(own), 0), device=queries.device)
            points = torch.empty((len(own), 0), dtype=torch.int64, device=queries.device)
            for first in range(0, len(self.work), COLUMNS_PER_TILE):
                tile = slice(first, first + COLUMNS_PER_TILE)
                keys = torch.addmm(self.squares[tile], queries, self.work[tile].T, alpha=-2)
                here = np.flatnonzero((own >= first) & (own < first + keys.shape[1]))
                keys[self._here(here), self._here(own[here] - first)] = torch.inf
                keys, ids = keys.topk(min(m, keys.shape[1]), largest=False, sorted=False)
                keys, ids = torch.cat([nearest, keys], 1), torch.cat([points, ids + first], 1)
                nearest, order = keys.topk(min(m, keys.shape[1]), largest=False, sorted=True)
                points = ids.gather(1, order)
            found, bounds = points.cpu().numpy(), nearest[:, -1].cpu().numpy()
        others = len(self.work) - (own >= 0)  # the query itself is the last
        return found, np.minimum(others, m), np.where(others > m, bounds, np.float32(np.inf))

    def sums(
        self,
        columns: np.ndarray,
        queries: np.ndarray,
        runs: np.ndarray,
        weights: np.ndarray,
        scale: float,
        doubt: float,
        most: float,
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Sums of the distances from queries to runs of columns.

        Parameters
        ----------
        columns, queries : (t,) and (b,) int64, points.
        runs : (r,) int64, lengths of the runs, together t.
        weights : (t,) float64, factors of the columns' distances.
        scale : factor by which the rows were multiplied.
        doubt : squared distances below this share of the squared norms have lost too many digits.
        most : share of them up to which float32 is of use.

        Returns
        -------
        sums : (r, b) float64, without doubtful distances.
        doubtful : (p, 2) int64, their places among columns and queries.
        None, if more than ``most`` are doubtful.
        """
        import torch

        parts = -(-runs // LONGEST_RUN)
        lengths = np.full(parts.sum(), LONGEST_RUN)
        lengths[np.cumsum(parts) - 1] = runs - (parts - 1) * LONGEST_RUN
        with self._alone():
            columns, queries = self._here(columns), self._here(queries)
            norms = self.squares[columns][:, None] + self.squares[queries]
            squared = norms - 2 * (self.work[columns] @ self.work[queries].T)
            is_doubtful = squared < doubt * norms
            if int(is_doubtful.sum()) > most * is_doubtful.numel():
                return None
            values = squared.clamp(min=0).sqrt().masked_fill(is_doubtful, 0).double()
            values *= self._here(weights / scale)[:, None]
            for sizes in (lengths, parts):
                values = torch.segment_reduce(values, "sum", lengths=self._here(sizes), axis=0)
            return values.cpu().numpy(), is_doubtful.nonzero().cpu().numpy()

    def _here(self, array: np.ndarray):
        """A copy of an array on this device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.work.device)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Use the device, with products in float32 and nothing less."""
        import torch

        kind = self.work.device.type
        with (
            self.lock,
            _enough_memory(),
            torch.inference_mode(),
            torch.autocast(kind, enabled=False),
        ):
            precision = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            try:
                yield
            finally:
                torch.set_float32_matmul_precision(precision)


def import_torch(device: str):
    """The package torch, if it can use the device (InputError)."""
    try:
        import torch
    except ImportError:
        raise InputError(
            f"device {device} needs the package torch, which is not installed; install it, or "
            "choose device cpu"
        ) from None
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {device}: PyTorch finds no GPU; choose device cpu")
    return torch


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
