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
        # The list is that of the row's first sample. A later sample must not be linked to itself:
        # its place goes to the first one. If it is not in the list, because there are many equal
        # rows, the first one takes the last place.
        first = samples.first[samples.row_of]
        others = np.flatnonzero(first != np.arange(len(samples)))
        own = links[others] == others[:, None]
        place = np.where(own.any(axis=1), own.argmax(axis=1), k - 1)
        links[others, place] = first[others]
    return links


def modularity(labels: np.ndarray, links: np.ndarray) -> float:
    """Share of the links within clusters, minus `RESOLUTION` times that of random links.

    Random ones have the same number of ends at each sample.

    Newman and Girvan, Physical Review E 69, 026113 (2004), with the resolution parameter of
    Reichardt and Bornholdt, Physical Review E 74, 016110 (2006). Two samples that are each other's
    neighbours have two links.

    Parameters
    ----------
    labels : (n,) int32, clusters from 0. links : (n, k) int32, of :func:`link_neighbours`.

    Returns
    -------
    float : below 1; 1 - `RESOLUTION` for a single cluster.
    """
    ends = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    within = kernels.count_links(labels, links, ends)
    return within / links.size - RESOLUTION * float(np.square(ends / (2 * links.size)).sum())
