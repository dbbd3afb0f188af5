"""How well clusters agree with the graph of nearest neighbours: modularity."""

from __future__ import annotations

import numpy as np

from gcdflow.ssddbc import _kernels_samples as kernels
from gcdflow.ssddbc._lists import Lists
from gcdflow.ssddbc._samples import Samples

N_LINKS = 10  # nearest neighbours that each sample is linked to
RESOLUTION = 2.0


def link_neighbours(samples: Samples, lists: Lists, k: int) -> np.ndarray:
    """The k nearest other samples of each sample, (n, k) int32, in no particular order.

    Parameters
    ----------
    lists : of all rows; they hold at least k samples each.
    """
    near = np.empty((len(samples.points), k), dtype=np.int64)
    kernels.neighbours_of_rows(
        lists.ids,
        lists.dist,
        lists.valid,
        samples.start,
        samples.members,
        samples.row_of,
        near,
        np.empty(near.shape),
    )
    links = samples.spread(near.astype(np.int32))
    if samples.has_copies:
        # The lists are those of the first sample of a row. Another one is in its own list, or would
        # be if the list were longer; the first one takes its place there.
        first = samples.first[samples.row_of]
        others = np.flatnonzero(first != np.arange(len(samples)))
        own = links[others] == others[:, None]
        place = np.where(own.any(axis=1), own.argmax(axis=1), k - 1)
        links[others, place] = first[others]
    return links


def modularity(labels: np.ndarray, links: np.ndarray) -> float:
    """Share of the links within clusters, minus that of random links with the same ends.

    Newman and Girvan, Physical Review E 69, 026113 (2004), with the resolution parameter of
    Reichardt and Bornholdt, Physical Review E 74, 016110 (2006). Two samples that are each other's
    neighbours have two links.

    Parameters
    ----------
    labels : (n,) int, clusters from 0. links : (n, k) int, of :func:`link_neighbours`.

    Returns
    -------
    float : below 1; 1 - `RESOLUTION` for a single cluster.
    """
    linked = labels[links]
    within = np.count_nonzero(linked == labels[:, None]) / links.size
    starts = links.shape[1] * np.bincount(labels)
    ends = starts + np.bincount(linked.ravel(), minlength=len(starts))
    return within - RESOLUTION * float(np.square(ends / (2 * links.size)).sum())
