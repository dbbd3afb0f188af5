"""Clusterings to compare with: k-means and GCD's semi-supervised k-means, both told the number.

They see what the clustering of a run sees, rows of length 1 and the labels, and the true number of
clusters besides, which SSDDBC is never told.
"""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

N_STARTS = 10
MAX_ITERATIONS = 100


def kmeans(X: np.ndarray, n_clusters: int, *, seed: int = 0) -> np.ndarray:
    """Clusters (n,) of rows (n, d) by k-means; the best of ten starts, blind to all labels."""
    return KMeans(n_clusters, n_init=N_STARTS, random_state=seed).fit_predict(X)


def semi_supervised_kmeans(
    X: np.ndarray, labels: np.ndarray, n_clusters: int, *, seed: int = 0, n_starts: int = N_STARTS
) -> np.ndarray:
    """K-means in which labelled points stay in the cluster of their class.

    The centres of labelled classes begin at the means of their labelled points. The others are
    drawn from the unlabelled points by k-means++ (each with a probability in proportion to its
    squared distance to the nearest centre so far). Of several starts, the one with the smallest
    sum of squared distances counts.

    Parameters
    ----------
    X : float (n, d)
    labels : int (n,), class of each point, -1 where it is not labelled
    n_clusters : int, at least the number of labelled classes

    Returns
    -------
    int64 (n,)
        Clusters; those of the labelled classes come first, in the order of the classes.

    Raises
    ------
    ValueError
        If there are fewer clusters than labelled classes, or nothing is unlabelled.

    References
    ----------
    Vaze et al., *Generalized Category Discovery*, arXiv 2201.02609, section 3.2; Arthur and
    Vassilvitskii, *k-means++: The Advantages of Careful Seeding*, SODA 2007.
    """
    known, fixed = np.unique(labels[labels >= 0], return_inverse=True)
    if len(known) > n_clusters:
        raise ValueError(f"{len(known)} labelled classes do not fit into {n_clusters} clusters")
    labelled = labels >= 0
    if labelled.all():
        raise ValueError("all points are labelled, so there is nothing to cluster")
    X = np.asarray(X, dtype=np.float64)
    free, held = X[~labelled], X[labelled]
    sums = _sums(held, fixed, n_clusters)
    counts = np.bincount(fixed, minlength=n_clusters)
    first = sums[: len(known)] / counts[: len(known), None]
    rng = np.random.default_rng(seed)
    best, lowest = None, np.inf
    for _ in range(n_starts):
        centres = _plus_plus(free, first, n_clusters, rng)
        found = None
        for _ in range(MAX_ITERATIONS):
            distances = _squared_distances(free, centres)
            nearest = distances.argmin(axis=1)
            if found is not None and (nearest == found).all():
                break
            found = nearest
            sizes = counts + np.bincount(found, minlength=n_clusters)
            moved = (sums + _sums(free, found, n_clusters)) / np.maximum(sizes, 1)[:, None]
            centres = np.where(sizes[:, None] > 0, moved, centres)
        inertia = distances[np.arange(len(free)), found].sum()
        inertia += np.square(held - centres[fixed]).sum()
        if inertia < lowest:
            best, lowest = found, inertia
    clusters = np.empty(len(X), dtype=np.int64)
    clusters[labelled], clusters[~labelled] = fixed, best
    return clusters


def _plus_plus(
    X: np.ndarray, first: np.ndarray, n_clusters: int, rng: np.random.Generator
) -> np.ndarray:
    """``first`` and further centres (n_clusters, d) drawn from the rows by k-means++."""
    centres = list(first)
    nearest = _squared_distances(X, first).min(axis=1, initial=np.inf)
    while len(centres) < n_clusters:
        total = nearest.sum()
        uniform = not 0 < total < np.inf  # no centre yet, or every row is one
        row = rng.choice(len(X), p=None if uniform else nearest / total)
        centres.append(X[row])
        nearest = np.minimum(nearest, _squared_distances(X, X[row : row + 1])[:, 0])
    return np.array(centres)


def _squared_distances(X: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances (n, k); rounding makes none negative."""
    squares = np.square(X).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)
    return np.maximum(squares - 2 * X @ centres.T, 0)


def _sums(X: np.ndarray, clusters: np.ndarray, n_clusters: int) -> np.ndarray:
    """Sum (n_clusters, d) of the rows of each cluster."""
    members = np.zeros((n_clusters, len(X)))
    members[clusters, np.arange(len(X))] = 1
    return members @ X
