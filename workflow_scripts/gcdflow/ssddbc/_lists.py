"""Sorted lists of the nearest columns of every query, with the radius they cover.

Distances and their order are exact. The lists are, too, unless the points have cells: then a query
is compared with the columns of its nearest cells alone, and "nearest" means "nearest of these".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gcdflow.ssddbc import _kernels_lists as kernels
from gcdflow.ssddbc._cells import Candidates
from gcdflow.ssddbc._gpu import QUERIES_PER_BLOCK as QUERIES_ON_GPU
from gcdflow.ssddbc._points import PRECISE_UNIT, UNIT, Columns, Points, squared_error
from gcdflow.ssddbc._workers import Workers

QUERIES_PER_BLOCK = 128
COLUMNS_PER_TILE = 1024
DEEPER_QUERIES = 4096  # queries whose longer lists are in memory at once,
DEEPER_ENTRIES = 2**24  # but not more than so many entries
GROWTH = 4  # factor by which lists get longer each time
WHOLE_QUERIES = 16  # queries compared with all columns by one task, if memory allows
EXACT_CELLS = 2**21  # distances in memory at once, per thread that computes whole rows


@dataclass(frozen=True)
class Lists:
    """Sorted neighbour lists of q queries.

    Attributes
    ----------
    ids : (q, m) int32, indices of points, nearest first, ties to the lower index.
    dist : (q, m) float64, their exact distances.
    valid : (q,) int64, number of leading entries that are certainly the nearest.
    radius : (q,) float64, no point outside the valid entries is nearer than this.
    """

    ids: np.ndarray
    dist: np.ndarray
    valid: np.ndarray
    radius: np.ndarray

    @classmethod
    def empty(cls, q: int, m: int) -> Lists:
        return cls(
            np.full((q, m), -1, dtype=np.int32),
            np.full((q, m), np.inf),
            np.zeros(q, dtype=np.int64),
            np.full(q, np.inf),
        )

    def put(self, rows: np.ndarray | slice, part: Lists) -> None:
        """Set the lists of some queries."""
        self.ids[rows], self.dist[rows] = part.ids, part.dist
        self.valid[rows], self.radius[rows] = part.valid, part.radius

    def closed(self) -> Lists:
        """Approximate lists, taken as those of all points: what is beyond is not asked for."""
        return replace(self, radius=np.full_like(self.radius, np.inf))

    def nearest(self, m: int, is_part: np.ndarray) -> Lists:
        """The first m entries; ``is_part`` (q,) tells which lists lack some of the columns."""
        valid, radius = np.minimum(self.valid, m), np.full_like(self.radius, np.inf)
        ends = np.flatnonzero((self.valid > m) | is_part & (self.valid > 0))
        radius[ends] = np.nextafter(self.dist[ends, valid[ends] - 1], np.inf)
        return Lists(self.ids[:, :m], self.dist[:, :m], valid, radius)

    def rows(self, start: int, stop: int) -> Lists:
        """Views of the lists of some queries."""
        part = slice(start, stop)
        return Lists(self.ids[part], self.dist[part], self.valid[part], self.radius[part])


@dataclass(frozen=True)
class Search:
    """Queries, and the columns among which their nearest are looked for.

    Attributes
    ----------
    queries : Points, in the frame of ``points``.
    own : (q,) int64, index of the query among the points (it is not its own neighbour), or -1.
    points, columns : all points, and the indices of those to search, (c,) int64 ascending.
    """

    queries: Points
    own: np.ndarray
    points: Points
    columns: np.ndarray
    workers: Workers

    @classmethod
    def of_all(cls, points: Points, columns: np.ndarray, workers: Workers) -> Search:
        """The search for the nearest columns of every point."""
        return cls(points, np.arange(len(points)), points, columns, workers)

    def some(self, rows: np.ndarray) -> Search:
        """The search for the nearest columns of some of the queries."""
        return replace(self, queries=self.queries.take(rows), own=self.own[rows])


def neighbour_lists(
    search: Search, m: int, advance: Callable[[float], None] | None = None
) -> Lists:
    """The m nearest columns of each query.

    Candidates come from float32 products, or from float64 products if the neighbours of a query
    are too close together for float32. Distances and their order are exact.

    Parameters
    ----------
    m : length of the lists; if even float64 products cannot separate neighbours, fewer entries are
        valid.
    advance : called repeatedly with the finished share of the work.
    """
    lists = _lists_by_products(search, m, False, advance)
    m = lists.ids.shape[1]
    weak = np.flatnonzero((lists.valid < m // 2) & np.isfinite(lists.radius))
    for start in range(0, len(weak), DEEPER_QUERIES):
        part = weak[start : start + DEEPER_QUERIES]
        lists.put(part, _lists_by_products(search.some(part), m, True))
    return lists


def _lists_by_products(
    search: Search, m: int, precise: bool, advance: Callable[[float], None] | None = None
) -> Lists:
    """Lists from products in one precision; parameters as in :func:`neighbour_lists`."""
    queries, own, points, columns = search.queries, search.own, search.points, search.columns
    m = min(m, len(columns))
    kept = m if points.cells is None else min(points.cells.sketches.kept(m), len(columns))
    lists = Lists.empty(len(queries), m)
    reach = float(points.norms[columns].max()) * (1 + UNIT)
    errors = squared_error(queries, points, reach, PRECISE_UNIT if precise else UNIT)
    blocks, of_block = _division(search, m, precise)

    def block(rows: np.ndarray | slice) -> None:
        mine, candidates = of_block(rows)
        mine_squares, own_place = queries.norms[rows] ** 2, _place(candidates.ids, own[rows])
        if precise:
            mine, mine_squares = queries.centred(rows)
        part = Lists.empty(len(mine), kept)
        if candidates.gpu is None:
            counts, bounds = _scan(mine, own_place, candidates, part.ids)
        else:
            places, counts, bounds = candidates.gpu.nearest(mine, own_place, kept)
            is_found = np.arange(kept) < counts[:, None]
            part.ids[is_found] = candidates.ids[places[is_found]]
        kernels.exact_distances(queries.rows[rows], points.rows, part.ids, counts, part.dist)
        if points.cells is None:
            # All other points are at least this far away, even with the largest rounding error.
            squared = np.maximum(bounds + mine_squares - errors[rows], 0.0)
            part.radius[:] = np.sqrt(squared) / points.scale * (1.0 - 1e-9)
        kernels.sort_lists(part.ids, part.dist, counts, part.radius, part.valid)
        if points.cells is not None:
            part = part.nearest(m, np.isfinite(bounds) | (len(candidates.ids) < len(columns)))
        lists.put(rows, part)

    def report() -> None:
        if advance is not None:
            advance(1.0 - np.isinf(lists.dist[:, 0]).mean())

    search.workers.run(block, blocks, report)
    return lists


def _scan(
    queries: np.ndarray, own: np.ndarray, candidates: Columns, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fill ``ids`` (q, m) with the m nearest candidates by products of the queries' precision.

    Parameters
    ----------
    queries : (q, d) float32 or float64. own : (q,) int64, place of the query itself, or -1.

    Returns
    -------
    counts : (q,) int64, ids of each query. bounds : (q,), no other candidate has a smaller key;
        infinite if there is no other.
    """
    (size, m), kind = ids.shape, queries.dtype
    keys = np.empty((size, 2 * m + 32), dtype=kind)
    found = np.empty(keys.shape, dtype=np.int32)
    counts, bounds = np.zeros(size, dtype=np.int64), np.full(size, np.inf, dtype=kind)
    buffer = np.empty(size * COLUMNS_PER_TILE, dtype=kind)  # reused: new pages are expensive
    for first in range(0, len(candidates.ids), COLUMNS_PER_TILE):
        tile = slice(first, first + COLUMNS_PER_TILE)
        precise = kind == np.float64
        others, squares = candidates.centred(tile) if precise else candidates.tile(tile)
        products = buffer[: size * len(others)].reshape(size, len(others))
        np.matmul(queries, others.T, out=products)
        kernels.scan_tile(products, squares, first, own, keys, found, counts, bounds, m)
    kernels.close_lists(candidates.ids, keys, found, counts, bounds, ids)
    return counts, bounds


def _place(columns: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Positions of points among columns (c,) ascending, (q,) int64; -1 for others."""
    at = np.minimum(np.searchsorted(columns, points), len(columns) - 1)
    return np.where(columns[at] == points, at, -1)


def _division(
    search: Search, m: int, precise: bool
) -> tuple[list, Callable[[np.ndarray | slice], tuple[np.ndarray, Columns]]]:
    """Blocks of queries, and a function that gives the rows of one and the columns it looks at."""
    queries, points, columns = search.queries, search.points, search.columns
    if points.cells is None:
        all_columns, size = _all_columns(points, columns, precise), QUERIES_PER_BLOCK
        if all_columns.gpu is not None:  # large blocks, as long as each thread has one
            share = -(-len(queries) // search.workers.n_threads)
            size = max(QUERIES_PER_BLOCK, min(QUERIES_ON_GPU, share))
        starts = range(0, len(queries), size)
        blocks = [slice(start, start + size) for start in starts]
        return blocks, lambda rows: (queries.work[rows], all_columns)
    cells, sketches = points.cells, points.cells.sketches
    of = cells.of_queries(queries, search.own, search.workers)
    candidates = Candidates.among(cells, columns)

    def of_block(rows: np.ndarray) -> tuple[np.ndarray, Columns]:
        mine = sketches.of(queries.work[rows])
        ids = candidates.of_block(mine, of[rows[0]], m)
        return mine, Columns(points, ids, sketches.rows[ids], points.squares[ids])

    return list(cells.blocks(of, QUERIES_PER_BLOCK)), of_block


def _all_columns(points: Points, columns: np.ndarray, precise: bool) -> Columns:
    """The columns of a search that compares all of them."""
    if precise:  # from their exact rows, which are not copied
        return Columns(points, columns)
    everything = len(columns) == len(points)
    if points.gpu is not None:
        return Columns(points, columns, gpu=points.gpu if everything else points.gpu.take(columns))
    if everything:
        return Columns(points, columns, points.work, points.squares)
    return Columns.copied(points, columns)


def whole_lists(queries: np.ndarray, own: np.ndarray, points: Points, columns: np.ndarray) -> Lists:
    """Lists of all columns for (q, d) float64 queries, for the few that need complete lists."""
    q, c = len(queries), len(columns)
    ids = np.repeat(columns.astype(np.int32)[None], q, axis=0)
    dist = np.empty((q, c))
    kernels.exact_distances(queries, points.rows, ids, np.full(q, c), dist)
    dist[ids == own[:, None]] = np.inf
    order = np.argsort(dist, axis=1, kind="stable")
    dist = np.take_along_axis(dist, order, axis=1)
    ids = np.take_along_axis(ids, order, axis=1)
    return Lists(ids, dist, np.isfinite(dist).sum(axis=1), np.full(q, np.inf))


def deeper_lists(
    short: Sequence[np.ndarray],
    m: int,
    search: Search,
    use: Callable[[int, np.ndarray, Lists, np.ndarray], np.ndarray],
) -> None:
    """Compute longer and longer lists for the queries whose lists of length m are too short.

    The last lists hold all columns.

    Parameters
    ----------
    short : int64 arrays, the queries that each of several users needs longer lists of.
    use : called with the number of a user, places in its array, lists, and which of the lists are
        those of the places, from several threads at once; returns whether these lists suffice.
    """
    rows = _in_search_order(np.unique(np.concatenate(short)), search)
    place_of = np.empty(len(search.queries), dtype=np.int64)
    place_of[rows] = np.arange(len(rows))
    # Of each user: its places, in the order of the search, and where they are in it.
    orders = [np.argsort(place_of[mine], kind="stable") for mine in short]
    sought = [place_of[mine[order]] for mine, order in zip(short, orders, strict=True)]
    waiting = [np.ones(len(mine), dtype=bool) for mine in short]

    def offer(places: np.ndarray, lists: Lists) -> np.ndarray:
        """The places, ascending, whose lists are still too short for a user."""
        too_short = np.zeros(len(places), dtype=bool)
        for user, order in enumerate(orders):
            first, last = np.searchsorted(sought[user], [places[0], places[-1] + 1])
            here = first + np.flatnonzero(waiting[user][first:last])
            if len(here):
                at = np.searchsorted(places, sought[user][here])
                suffice = use(user, order[here], lists, at)
                waiting[user][here] = ~suffice
                too_short[at[~suffice]] = True
        return places[too_short]

    places = np.arange(len(rows))
    while len(places) and GROWTH * m < len(search.columns) // 2:
        m *= GROWTH
        at_once = max(QUERIES_PER_BLOCK, min(DEEPER_QUERIES, DEEPER_ENTRIES // m))
        remaining = []
        for start in range(0, len(places), at_once):
            part = places[start : start + at_once]
            lists = neighbour_lists(search.some(rows[part]), m)
            lists = lists if search.points.cells is None else lists.closed()
            cuts = range(0, len(part), QUERIES_PER_BLOCK)
            remaining += search.workers.run(
                lambda cut, part=part, lists=lists: offer(
                    part[cut : cut + QUERIES_PER_BLOCK], lists.rows(cut, cut + QUERIES_PER_BLOCK)
                ),
                cuts,
            )
        places = np.concatenate(remaining)
    step = max(1, min(WHOLE_QUERIES, EXACT_CELLS // max(len(search.columns), 1)))

    def compare_all(part: np.ndarray) -> None:
        some = rows[part]
        queries, own = search.queries.rows[some], search.own[some]
        offer(part, whole_lists(queries, own, search.points, search.columns))

    search.workers.run(
        compare_all, [places[start : start + step] for start in range(0, len(places), step)]
    )


def _in_search_order(rows: np.ndarray, search: Search) -> np.ndarray:
    """Queries, (r,) int64, in an order that puts those of one cell together."""
    cells = search.points.cells
    if cells is None or len(rows) == 0:
        return rows
    some = search.some(rows)
    of = cells.of_queries(some.queries, some.own, search.workers)
    return rows[np.argsort(of, kind="stable")]


def complete_lists(lists: Lists, needed: int, search: Search) -> None:
    """Replace, in place, the lists with fewer than ``needed`` valid entries."""
    m = lists.ids.shape[1]

    def mend(_: int, places: np.ndarray, longer: Lists, at: np.ndarray) -> np.ndarray:
        good = (longer.valid[at] >= needed) | np.isinf(longer.radius[at])
        some, at = short[places[good]], at[good]
        lists.ids[some], lists.dist[some] = longer.ids[at, :m], longer.dist[at, :m]
        lists.valid[some] = np.minimum(longer.valid[at], m)
        beyond = longer.dist[at, m] if longer.dist.shape[1] > m else np.inf
        lists.radius[some] = np.where(longer.valid[at] > m, beyond, longer.radius[at])
        return good

    short = np.flatnonzero((lists.valid < needed) & np.isfinite(lists.radius))
    deeper_lists([short], m, search, mend)
