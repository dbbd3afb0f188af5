"""Rough prediction of the cost of a search, calibrated by a few runs."""

from __future__ import annotations

from dataclasses import dataclass

from gcdflow.errors import InputError

DEFAULT_CONFIGURATIONS, DEFAULT_LARGEST_K = 216, 20  # of the default grid
# Entries in the neighbour lists of a point, over all passes of the default grid; half of them are
# in memory at once.
LISTED = 300
# Lists grow to this length, so that they hold k core points; and beyond it with k, of which they
# have some more, so that float32 can guarantee the k nearest.
LONGEST_LIST, SPARE_NEIGHBOURS = 256, 12
# With approximate neighbours: work of the lists, in passes over all points; entries in the lists of
# a point that are in memory at once; other bytes of a point, as measured at a million; samples
# whose silhouettes are computed; memory of graphs.
APPROXIMATE_PASSES, APPROXIMATE_LISTED, APPROXIMATE_REST = 7, 104, 2000
DRAWN, GRAPH_BYTES = 4096, 2**30
LONGEST_EXACT_SEARCH = 4 * 3600  # processor seconds; about 470,000 points of 768 features


@dataclass(frozen=True)
class Resources:
    """Predicted cost of a search.

    Attributes
    ----------
    memory_bytes : int, peak memory of the fit without the interpreter, with float32 features.
    seconds : float, wall time.
    neighbours : "exact" or "approximate".
    """

    memory_bytes: int
    seconds: float
    neighbours: str


def estimate_resources(
    n: int,
    d: int,
    n_configurations: int = DEFAULT_CONFIGURATIONS,
    *,
    largest_k: int = DEFAULT_LARGEST_K,
    n_jobs: int = 1,
    neighbours: str | None = "exact",
) -> Resources:
    """Predict memory and time of :class:`SSDDBCGridSearch` on n × d float32 features.

    Memory is the sum of all arrays, a safe estimate for the default grid. Time is a cost model
    (products of all pairs, work per pair and configuration, work per point and configuration). Its
    constants were fitted to runs of 2,500 to 50,000 points on processors of about 80 GFLOP/s each
    in float32. Elsewhere, expect an error of a factor of two in either direction, and more if most
    points are duplicates.

    Parameters
    ----------
    n, d : number of points and features.
    n_configurations : combinations of k and percentile in the grid.
    largest_k : the largest k of the grid; it counts for the memory.
    n_jobs : number of threads.
    neighbours : "exact", "approximate", or None for what :func:`choose_neighbours` chooses.
    """
    named = {"n": n, "d": d, "n_configurations": n_configurations, "largest_k": largest_k}
    for name, value in {**named, "n_jobs": n_jobs}.items():
        if value < 1:
            raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
    neighbours = choose_neighbours(neighbours, n, d, n_configurations)
    cells, more = n_configurations, _bytes_of_larger_k(min(largest_k, n - 1))
    if neighbours == "approximate":
        return _approximate_resources(n, d, cells, more, n_jobs)
    features = 4 * d
    exact_and_working_copies = 8 * d + 4 * d + 4 * d
    per_cell = 30  # labels in three copies, core mask, edges, requests
    per_point = features + exact_and_working_copies + per_cell * cells
    per_point += 12 * LISTED // 2 + 240 + more
    per_thread = 32 * 2**20 + 64 * 8 * n
    pairs = n * n * (7e-11 * d + 4.6e-11 * cells)
    points = n * (2.2e-6 * cells + 4e-10 * LISTED * d)
    fixed = 0.2 + 1e-3 * cells
    return Resources(
        memory_bytes=int(n * per_point + n_jobs * per_thread),
        seconds=fixed + (pairs + points) / n_jobs,
        neighbours=neighbours,
    )


def _bytes_of_larger_k(k: int) -> int:
    """Bytes of a point that a larger k than the default grid's adds: lists, distances, edges."""
    if k <= DEFAULT_LARGEST_K:
        return 0
    longer = max(LONGEST_LIST, k + SPARE_NEIGHBOURS) - LISTED // 2
    return 12 * longer + 30 * (k - DEFAULT_LARGEST_K)


def _approximate_resources(n: int, d: int, cells: int, more: int, n_jobs: int) -> Resources:
    """The same with approximate neighbours; ``more`` of :func:`_bytes_of_larger_k`."""
    features, exact_and_working_copies = 4 * d, 8 * d + 4 * d
    sketches = 2 * d  # half as long as the rows; mostly they are shorter
    per_cell = 5  # labels, core mask
    per_point = features + exact_and_working_copies + sketches + per_cell * cells
    per_point += 12 * APPROXIMATE_LISTED + 40 + more
    graphs = min(GRAPH_BYTES, 30 * cells * n)
    per_thread = 64 * 2**20 + 64 * 8 * n // 4
    lists = APPROXIMATE_PASSES * n * (3e-5 + 1e-7 * d)
    k_means = 1e-9 * d * n**1.5
    silhouettes = min(n, DRAWN) * n * (7e-11 * d + 4.6e-11 * cells)
    growing = 2.2e-6 * cells * n
    return Resources(
        memory_bytes=int(n * (per_point + APPROXIMATE_REST) + graphs + n_jobs * per_thread),
        seconds=0.2 + 1e-3 * cells + (lists + k_means + silhouettes + growing) / n_jobs,
        neighbours="approximate",
    )


def choose_neighbours(
    neighbours: str | None, n: int, d: int, n_configurations: int = DEFAULT_CONFIGURATIONS
) -> str:
    """Whether a search uses exact or approximate neighbours.

    The choice depends on the work alone, and not on the machine, so that the same features give the
    same clusters everywhere.

    Parameters
    ----------
    neighbours : "exact", "approximate", or None to choose by the predicted processor time.
    n, d, n_configurations : as in :func:`estimate_resources`.
    """
    if neighbours is not None:
        return neighbours
    seconds = estimate_resources(n, d, n_configurations).seconds
    return "exact" if seconds <= LONGEST_EXACT_SEARCH else "approximate"
