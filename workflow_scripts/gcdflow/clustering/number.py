"""Estimates of the number of clusters, for methods that need it. None of them sees the truth."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.optimize import minimize_scalar

from gcdflow.clustering.baselines import kmeans
from gcdflow.clustering.matching import labelled_accuracy
from gcdflow.files.formats import UNLABELLED

MOST_CLUSTERS = 1000  # the default of GCD's code


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
