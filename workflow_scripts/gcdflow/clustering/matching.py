"""Compare clusterings of the same samples with each other and with labels; merge by labels.

Cluster ids have no meaning. The Hungarian algorithm therefore matches clusters to classes (or to
the clusters of the previous refresh) with the largest total overlap.
"""

from __future__ import annotations

import numpy as np

from gcdflow.files.formats import UNLABELLED


def optimal_matching(a: np.ndarray, b: np.ndarray) -> dict[int, int]:
    """Match the clusters of two clusterings of the same samples, one to one.

    Parameters
    ----------
    a, b : ndarray of int, shape (n,)
        The two labels of each sample.

    Returns
    -------
    dict
        Cluster id in ``a`` -> cluster id in ``b``, with the largest possible number of samples
        whose two clusters are matched. Clusters that share no sample with their partner, or have
        none, are absent.
    """
    ids_a, ids_b = np.unique(a), np.unique(b)
    counts = overlap(a, b)
    rows, columns = best_pairs(counts)
    return {
        int(ids_a[row]): int(ids_b[column])
        for row, column in zip(rows, columns, strict=True)
        if counts[row, column] > 0
    }


def label_change_rate(labels: np.ndarray, previous: np.ndarray) -> float:
    """Share of samples that changed cluster since the previous refresh.

    Parameters
    ----------
    labels, previous : ndarray of int, shape (n,)
        Pseudo labels of the same samples in the same order.

    Returns
    -------
    float
        Share in [0, 1] of the samples whose previous cluster is not the partner of their cluster
        in :func:`optimal_matching`. Samples of unmatched clusters count as changed. A renumbering
        of clusters does not count. The share of no samples is 0.
    """
    if labels.size == 0:
        return 0.0
    counts = overlap(labels, previous)
    return float(1 - counts[best_pairs(counts)].sum() / labels.size)


def count_against_labels(clusters: np.ndarray, labels: np.ndarray) -> int:
    """Number of labelled samples in a cluster where another class prevails.

    Parameters
    ----------
    clusters : ndarray of int, shape (n,)
        Cluster of each sample.
    labels : ndarray of int, shape (n,)
        Class of each sample, -1 = unlabelled.

    Returns
    -------
    int
        The class that prevails in a cluster is the most frequent one among its labelled samples, of
        equally frequent ones that with the lowest id. Clusters without labelled samples do not
        count. Divided by the number of labelled samples, this is 1 minus their purity.

    """
    labelled = labels != UNLABELLED
    if not labelled.any():
        return 0
    counts = overlap(clusters[labelled], labels[labelled])
    return int(counts.sum() - counts.max(axis=1).sum())


def merged_by_class(clusters: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Merge the clusters that belong to one old class.

    A cluster belongs to a class if more than half of its labelled members have that class, and the
    share of its members that are labelled is above that of all samples. Samples of new classes are
    never labelled, so such a cluster is more likely one of an old class than others are.

    Parameters
    ----------
    clusters : ndarray of int, shape (n,)
        Cluster of each sample.
    labels : ndarray of int, shape (n,)
        Class of each sample, -1 = unlabelled.

    Returns
    -------
    ndarray of int64, shape (n,)
        Clusters from 0 in the order of the ids that were given; a merged one has the place of the
        lowest.

    """
    labelled = labels != UNLABELLED
    ids, positions = np.unique(clusters, return_inverse=True)
    merged = np.arange(ids.size)
    if labelled.any():
        by_class = overlap(clusters[labelled], labels[labelled])
        with_labels = np.unique(positions[labelled])
        sizes = np.bincount(positions)[with_labels]
        n_labelled, most = by_class.sum(axis=1), by_class.max(axis=1)
        belongs = (2 * most > n_labelled) & (n_labelled * labels.size > labelled.sum() * sizes)
        old, classes = with_labels[belongs], by_class.argmax(axis=1)[belongs]
        _, first, same = np.unique(classes, return_index=True, return_inverse=True)
        merged[old] = old[first][same]
    return np.unique(merged, return_inverse=True)[1][positions]


def labelled_accuracy(clusters: np.ndarray, labels: np.ndarray) -> float:
    """Clustering accuracy of the labelled samples: each class has one cluster at most.

    Parameters
    ----------
    clusters : int (n,)
    labels : int (n,), -1 = unlabelled; some are labelled
    """
    labelled = labels != UNLABELLED
    counts = overlap(clusters[labelled], labels[labelled])
    return float(counts[best_pairs(counts)].sum() / counts.sum())


def overlap(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Number of samples (in ``mask``) for each pair of an id in ``a`` and an id in ``b``.

    Rows and columns follow the sorted ids of *all* samples, so overlaps of several masks can be
    added.
    """
    ids_a, rows = np.unique(a, return_inverse=True)
    ids_b, columns = np.unique(b, return_inverse=True)
    shape = (ids_a.size, ids_b.size)
    cells = rows * shape[1] + columns
    counts = np.bincount(cells if mask is None else cells[mask], minlength=shape[0] * shape[1])
    return counts.reshape(shape)


def best_pairs(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the one-to-one matching with the largest total weight."""
    from scipy.optimize import linear_sum_assignment  # takes a second to load; trainings need none

    return linear_sum_assignment(weights, maximize=True)
