"""Densities, core points and cutoffs of every configuration (steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gcdflow.ssddbc._samples import Samples
from gcdflow.ssddbc._workers import Workers


@dataclass(frozen=True)
class Density:
    """Densities of the points from their k nearest neighbours, for one k.

    Attributes
    ----------
    k : int, at most n - 1.
    rho, relative : (n,) float64, densities and relative densities.
    cutoff : float, mean distance to the k nearest neighbours.
    """

    k: int
    rho: np.ndarray
    relative: np.ndarray
    cutoff: float


def density(near: np.ndarray, far: np.ndarray, k: int) -> Density:
    """Steps 1 and 2 from the nearest samples of each, and their distances, (n, k or more).

    The expressions are those of a direct NumPy transcription. They round in the same way, so that a
    threshold falls on the same side of a tie.
    """
    near, far = near[:, :k], np.ascontiguousarray(far[:, :k])
    median = (far[:, (k - 1) // 2] + far[:, k // 2]) / 2
    rho = 1.0 / (median + 1e-8)
    relative = rho * (k + rho.mean()) / (k + rho[near].mean(axis=1))
    return Density(k, rho, relative, float(far.mean()))


@dataclass(frozen=True)
class Configuration:
    """One cell of the grid.

    Attributes
    ----------
    index : int, position in the grid (k first, then percentile).
    density : Density, shared by all configurations of the same k.
    percentile, threshold : float, the percentile and the relative density at it.
    core : (n,) bool.
    """

    index: int
    density: Density
    percentile: float
    threshold: float
    core: np.ndarray


def configurations(
    near: np.ndarray,
    far: np.ndarray,
    ks: Sequence[int],
    percentiles: Sequence[float],
    workers: Workers,
) -> list[Configuration]:
    """Steps 1 and 2 for all configurations, in grid order.

    Parameters
    ----------
    near, far : (n, m) int32 and float64, the nearest samples of each, and their distances; m is the
        largest k, or n - 1.
    """

    def of_k(row: int) -> list[Configuration]:
        one = density(near, far, min(int(ks[row]), near.shape[1]))
        thresholds = np.percentile(one.relative, percentiles).tolist()
        cells = enumerate(zip(percentiles, thresholds, strict=True), row * len(percentiles))
        return [Configuration(i, one, float(p), t, one.relative >= t) for i, (p, t) in cells]

    return [cell for cells in workers.run(of_k, range(len(ks))) for cell in cells]


@dataclass(frozen=True)
class Group:
    """Configurations that share neighbour lists within the union of their cores.

    Attributes
    ----------
    members : list of Configuration.
    columns : (c,) int64, ascending: every row that is core in at least one of them.
    smallest : int, number of rows in the smallest core.
    """

    members: list[Configuration]
    columns: np.ndarray
    smallest: int

    def parts(self, most: int) -> Iterator[Group]:
        """The same configurations in groups whose backbone graphs take about ``most`` bytes."""
        total = sum(4 * cell.density.k * int(cell.core.sum()) for cell in self.members)
        size = max(1, int(len(self.members) * most / max(total, 1)))
        for start in range(0, len(self.members), size):
            yield replace(self, members=self.members[start : start + size])


def groups(cells: list[Configuration], samples: Samples, wide: float, ratio: float) -> list[Group]:
    """Group the grid by percentile, so that each core is a large part of its group's columns.

    At a high percentile, lists among all points would have to be long to hold enough core points.
    The cores of one k are nested, so the core of the group's lowest percentile contains the others.

    Parameters
    ----------
    wide : percentiles up to this one form the first group.
    ratio : in the other groups, no core is smaller than the columns by more than this factor.
    """
    levels = sorted({cell.percentile for cell in cells})
    first = [level for level in levels if level <= wide]
    cuts: list[list[float]] = [first] if first else []
    union, start = 0, True
    for level in levels[len(first) :]:
        cores = [samples.of_rows(cell.core) for cell in cells if cell.percentile == level]
        if start or union > ratio * min(int(core.sum()) for core in cores):
            union, start = int(np.logical_or.reduce(cores).sum()), False
            cuts.append([])
        cuts[-1].append(level)
    return [_group([c for c in cells if c.percentile in levels], samples) for levels in cuts]


def _group(members: list[Configuration], samples: Samples) -> Group:
    union = np.logical_or.reduce([cell.core for cell in members])
    smallest = min(int(samples.of_rows(cell.core).sum()) for cell in members)
    return Group(members, np.flatnonzero(samples.of_rows(union)), smallest)
