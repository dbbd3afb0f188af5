"""Nearest clusters of many queries under many labelings (steps 5 and 6)."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from gcdflow.ssddbc import _kernels_assign as kernels
from gcdflow.ssddbc._lists import Lists, Search, deeper_lists
from gcdflow.ssddbc._samples import Membership

QUERIES_PER_TASK = 4096


@dataclass
class NearestQuery:
    """Queries for the nearest clusters under one labeling.

    Attributes
    ----------
    positions : (q,) int64, positions of the shared lists.
    among : Membership, the clusters' members.
    needed : (c,) int64, min(3, size) of each cluster.
    found, means : (q,) int32 and (q,) float64, the answer.
    seconds : float, time spent on the answer.
    """

    positions: np.ndarray
    among: Membership
    needed: np.ndarray
    found: np.ndarray
    means: np.ndarray
    seconds: float = 0.0

    @classmethod
    def of(cls, positions: np.ndarray, among: Membership, sizes: np.ndarray) -> NearestQuery:
        """A request; clusters are consecutive from 0, ``sizes`` (c,) counts their members."""
        q = len(positions)
        return cls(
            np.ascontiguousarray(positions, dtype=np.int64),
            among,
            np.minimum(sizes, kernels.NEAREST).astype(np.int64),
            np.empty(q, dtype=np.int32),
            np.empty(q),
        )


def answer(requests: list[NearestQuery], lists: Lists, search: Search) -> None:
    """Fill the answers from the lists, and from longer lists if these are too short.

    Approximate lists are taken as those of all points, as long as they hold the nearest members of
    a whole cluster. To know that no other cluster is nearer would take lists several times as long.
    """
    if search.points.cells is not None:
        lists = lists.closed()

    def walk(task: tuple[NearestQuery, slice]) -> float:
        request, part = task
        begin = time.perf_counter()
        positions = request.positions[part]
        _walk(request, part, lists, positions, search.own[positions])
        return time.perf_counter() - begin

    tasks = [
        (request, slice(start, start + QUERIES_PER_TASK))
        for request in requests
        for start in range(0, len(request.positions), QUERIES_PER_TASK)
    ]
    for (request, _), seconds in zip(tasks, search.workers.run(walk, tasks), strict=True):
        request.seconds += seconds
    pending = [np.flatnonzero(request.found < 0) for request in requests]
    short = [request.positions[rows] for request, rows in zip(requests, pending, strict=True)]

    def walk_deeper(number: int, places: np.ndarray, deeper: Lists, at: np.ndarray) -> np.ndarray:
        request, here = requests[number], pending[number][places]
        _walk(request, here, deeper, at, search.own[request.positions[here]])
        return request.found[here] >= 0

    if short:
        deeper_lists(short, lists.ids.shape[1], search, walk_deeper)


def _walk(
    request: NearestQuery, part, lists: Lists, positions: np.ndarray, own: np.ndarray
) -> None:
    """Answer the queries ``part`` of a request from the lists at ``positions``."""
    found, means = np.empty(len(positions), dtype=np.int32), np.empty(len(positions))
    kernels.nearest_cluster(
        lists.ids,
        lists.dist,
        lists.valid,
        lists.radius,
        positions,
        own,
        request.among.clusters,
        request.among.copies,
        request.among.following,
        request.needed,
        found,
        means,
    )
    request.found[part], request.means[part] = found, means
