"""How well clusters agree with the graph of nearest neighbours: modularity."""

from __future__ import annotations

import numpy as np

from gcdflow.ssddbc import _kernels_samples as kernels

N_LINKS = 10  # nearest neighbours that each sample is linked to
RESOLUTION = 2.0


def modularity(labels: np.ndarray, links: np.ndarray) -> float:
    """Share of the links within clusters, minus `RESOLUTION` times that of random links.

    Random ones have the same number of ends at each sample.

    Newman and Girvan, Physical Review E 69, 026113 (2004), with the resolution parameter of
    Reichardt and Bornholdt, Physical Review E 74, 016110 (2006). Two samples that are each other's
    neighbours have two links.

    Parameters
    ----------
    labels : (n,) int32, clusters from 0. links : (n, k) int32, the nearest other
        samples of each.

    Returns
    -------
    float : below 1; 1 - `RESOLUTION` for a single cluster.
    """
    ends = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    within = kernels.count_links(labels, links, ends)
    return within / links.size - RESOLUTION * float(np.square(ends / (2 * links.size)).sum())
