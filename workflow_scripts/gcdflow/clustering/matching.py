"""Compare clusterings of the same samples with each other and with labels; merge by labels.

Cluster ids have no meaning. The Hungarian algorithm therefore matches clusters to classes (or to
the clusters of the previous refresh) with the largest total overlap.
"""

from __future__ import annotations

import numpy as np

from gcdflow.errors import InputError
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

    Raises
    ------
    InputError
        If the arrays are not one-dimensional integers of equal length.
    """
    a, b = aligned_ids(a=a, b=b)
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
        Pseudo labels of the same samples in the same order (see :func:`match_by_indices`).

    Returns
    -------
    float
        Share in [0, 1] of the samples whose previous cluster is not the partner of their cluster
        in :func:`optimal_matching`. Samples of unmatched clusters count as changed. A renumbering
        of clusters does not count. The share of no samples is 0.

    Raises
    ------
    InputError
        If the arrays are not one-dimensional integers of equal length.
    """
    labels, previous = aligned_ids(labels=labels, previous=previous)
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

    Raises
    ------
    InputError
        If the arrays are not one-dimensional integers of equal length.

    Examples
    --------
    >>> count_against_labels(np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 3, 3, -1, -1]))
    1
    """
    clusters, labels = aligned_ids(clusters=clusters, labels=labels)
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

    Raises
    ------
    InputError
        If the arrays are not one-dimensional integers of equal length.

    Examples
    --------
    >>> merged_by_class(np.array([0, 0, 1, 1, 2, 2, 2]), np.array([5, -1, 5, -1, -1, -1, -1]))
    array([0, 0, 0, 0, 1, 1, 1])
    """
    clusters, labels = aligned_ids(clusters=clusters, labels=labels)
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


def match_by_indices(indices_a: np.ndarray, indices_b: np.ndarray) -> np.ndarray:
    """Positions that put the samples of ``b`` into the order of ``a``.

    Parameters
    ----------
    indices_a, indices_b : ndarray of int, shape (n,)
        Sample ids, without repetition, of the same set of samples in any two orders.

    Returns
    -------
    ndarray of int64, shape (n,)
        ``positions`` with ``indices_b[positions] == indices_a``.

    Raises
    ------
    InputError
        If an id is repeated, or the two sets of ids differ.

    Examples
    --------
    >>> match_by_indices(np.array([7, 3, 5]), np.array([3, 5, 7]))
    array([2, 0, 1])
    """
    indices_a, indices_b = np.asarray(indices_a), np.asarray(indices_b)
    for name, indices in (("first", indices_a), ("second", indices_b)):
        _check_ids(f"the {name} array of sample ids", indices)
        ids, counts = np.unique(indices, return_counts=True)
        if (counts > 1).any():
            worst = counts.argmax()
            raise InputError(
                f"sample id {ids[worst]} occurs {counts[worst]} times in the {name} array, "
                "expected every sample once"
            )
    only_a, only_b = np.setdiff1d(indices_a, indices_b), np.setdiff1d(indices_b, indices_a)
    if only_a.size or only_b.size:
        example = only_a[0] if only_a.size else only_b[0]
        raise InputError(
            f"{only_a.size} sample ids are only in the first array and {only_b.size} only in the "
            f"second (for example {example}), expected the same samples in both: do the two files "
            "come from the same split?"
        )
    positions = np.empty(indices_a.size, dtype=np.int64)
    positions[np.argsort(indices_a)] = np.argsort(indices_b)
    return positions


def aligned_ids(**arrays: np.ndarray) -> list[np.ndarray]:
    """Check that the arrays are one-dimensional integers of equal length, and return them."""
    checked = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in checked.items():
        _check_ids(name, array)
    if len({array.size for array in checked.values()}) > 1:
        sizes = " and ".join(f"{name} has {array.size}" for name, array in checked.items())
        raise InputError(f"{sizes} samples, expected the same samples in the same order")
    return list(checked.values())


def _check_ids(name: str, array: np.ndarray) -> None:
    # NumPy converts an empty list to a float array, so its dtype does not matter.
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise InputError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected one integer id "
            "per sample"
        )


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
