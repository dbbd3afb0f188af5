"""Estimates of the number of clusters, for methods that need it. None of them sees the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.optimize import minimize_scalar
from sklearn.metrics import silhouette_score
from sklearn.metrics.pairwise import cosine_distances

from gcdflow.clustering.baselines import kmeans, training_rows
from gcdflow.clustering.matching import labelled_accuracy
from gcdflow.files.formats import UNLABELLED, Features

MOST_CLUSTERS = 1000  # the default of GCD's code
SILHOUETTE_SAMPLES = 2048  # as in CiPR's code
FEWEST_WITHHELD = 2  # classes; CiPR's code withholds two of the five of CIFAR-10
TREE_LEVELS = 25  # numbers that are tried first; each is 1.25 times the one before, from 5 to 1,000
TREE_SAMPLES = 20_000  # the tree of so many takes 3.2 GB


def estimated_number(
    X: np.ndarray, labels: np.ndarray, *, most: int = MOST_CLUSTERS, seed: int = 0
) -> int:
    """The number of classes as the field estimates it, without the truth.

    Brent's method looks for the number whose k-means clusters of all samples have the highest
    accuracy on the labelled ones, between the number of labelled classes and ``most`` (or the
    number of samples).

    Parameters
    ----------
    X : float (n, d)
    labels : int (n,), -1 = unlabelled; some are labelled

    References
    ----------
    Vaze et al., *Generalized Category Discovery*, arXiv 2201.02609, section 3.3. As in its code,
    k-means has the whole part of each number that is tried.
    """
    least, most = len(np.unique(labels[labels != UNLABELLED])), min(most, len(X))
    if least >= most:
        return least

    @cache
    def accuracy(n_clusters: int) -> float:
        return labelled_accuracy(kmeans(X, n_clusters, seed=seed), labels)

    found = minimize_scalar(lambda x: -accuracy(int(x)), bounds=(least, most), method="bounded")
    return int(found.x)


def number_by_silhouette(
    X: np.ndarray, labels: np.ndarray, *, most: int = MOST_CLUSTERS, seed: int = 0
) -> int:
    """The number of classes whose clusters have the highest joint reference score.

    :func:`joint_reference_scores` compares clusterings of one tree: up to :data:`TREE_LEVELS`
    numbers, in geometric progression from the number of labelled classes to ``most`` (or the
    number of samples), then every number between the neighbours of the best one. Of equal scores,
    that of the smallest number counts.

    docs/contract.md, section 6, says where this is CiPR's method and where not. Of more than
    :data:`TREE_SAMPLES` samples, the tree has so many, labelled and unlabelled in proportion.

    Parameters
    ----------
    X : float (n, d)
    labels : int (n,), -1 = unlabelled; some are labelled

    References
    ----------
    Hao, Han, Wong, *CiPR: An Efficient Framework with Cross-instance Positive Relations for
    Generalized Category Discovery*, TMLR 2024, arXiv 2304.06928, on class number estimation.
    """
    least = len(np.unique(labels[labels != UNLABELLED]))
    if len(X) > TREE_SAMPLES:
        rows = _drawn(labels, TREE_SAMPLES, seed)
        X, labels = X[rows], labels[rows]
    most = min(most, len(X))
    if least >= most:
        return least
    tree = linkage(X, "ward")

    def best(numbers: np.ndarray) -> int:
        # Descending: SciPy 1.17 writes the clusters of single samples to the first column always.
        clusterings = cut_tree(tree, numbers[::-1]).T[::-1]
        return int(joint_reference_scores(X, clusterings, labels, seed=seed).argmax())

    levels = np.unique(np.geomspace(least, most, TREE_LEVELS).round().astype(int))
    level = best(levels)
    first, last = levels[max(level - 1, 0)], levels[min(level + 1, len(levels) - 1)]
    numbers = np.arange(first, last + 1)
    return int(numbers[best(numbers)])


def joint_reference_scores(
    X: np.ndarray, clusterings: np.ndarray, labels: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """How tight and how right the clusters of several clusterings are, beside each other.

    docs/contract.md, section 6 ("by silhouette"), defines the score. The samples of withheld
    classes count as unlabelled. The silhouette of one cluster, or of single samples, is 0.

    Parameters
    ----------
    X : float (n, d)
    clusterings : int (c, n)
    labels : int (n,), -1 = unlabelled; some are labelled
    seed : of the sample

    Returns
    -------
    float64 (c,)

    References
    ----------
    As of :func:`number_by_silhouette`. CiPR's code withholds as many classes of the field's
    datasets. It has no number for one labelled class, one cluster or single samples.
    """
    classes = np.unique(labels[labels != UNLABELLED])
    n_withheld = max(math.ceil(len(classes) / 5), FEWEST_WITHHELD)
    withheld = np.isin(labels, classes[-n_withheld:])
    counted = np.flatnonzero(withheld | (labels == UNLABELLED))
    some = np.random.default_rng(seed).permutation(counted)[:SILHOUETTE_SAMPLES]
    distances = cosine_distances(X[some])
    silhouettes = [_silhouette(distances, clusters[some]) for clusters in clusterings]
    known = np.where(withheld, labels, UNLABELLED)
    accuracies = [labelled_accuracy(clusters, known) for clusters in clusterings]
    return _scaled(np.array(silhouettes)) * _scaled(np.array(accuracies))


def _drawn(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """About ``n`` rows in rising order, one labelled one at least."""
    rng, labelled = np.random.default_rng(seed), labels != UNLABELLED
    parts = [np.flatnonzero(labelled), np.flatnonzero(~labelled)]
    drawn = [rng.permutation(part)[: math.ceil(n * len(part) / len(labels))] for part in parts]
    return np.sort(np.concatenate(drawn))


def _silhouette(distances: np.ndarray, clusters: np.ndarray) -> float:
    """Mean silhouette, also where scikit-learn has none."""
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return 0.0
    return float(silhouette_score(distances, clusters, metric="precomputed"))


def _scaled(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1; equal ones as they are."""
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else values


# How the number comes about, and the estimate that gives it.
ESTIMATES: dict[str, Callable[[np.ndarray, np.ndarray], int]] = {
    "estimated": estimated_number,
    "silhouette": number_by_silhouette,
}


def estimates(features_path: Path, *, normalized: bool = True) -> dict[str, Any]:
    """All estimates from a feature cache, with the seconds that each took.

    Parameters
    ----------
    normalized : bool
        As of :func:`~gcdflow.clustering.baselines.training_rows`.

    Returns
    -------
    dict
        As :class:`gcdflow.files.keys.Estimates` describes it.

    Raises
    ------
    InputError
        As by :func:`~gcdflow.clustering.baselines.training_rows`.
    """
    features = Features.load(features_path)
    X, labels = training_rows(features, features_path, normalized=normalized)
    found: dict[str, Any] = {**features.metadata, "normalize": normalized}
    for name, estimate in ESTIMATES.items():
        began = time.perf_counter()
        n_clusters = estimate(X, labels)
        found[name] = {"n_clusters": n_clusters, "seconds": time.perf_counter() - began}
    return found
