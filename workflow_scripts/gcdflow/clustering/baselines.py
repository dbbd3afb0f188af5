"""Other clusterings of the same features, to compare SSDDBC with. None of them sees the truth.

Some need the number of clusters: they are told the true one by the evaluation, or get an estimate
(:mod:`gcdflow.clustering.number`). Others find it themselves (:data:`NUMBER_FOUND`), and have a
parameter instead, which the labels choose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from numba.core import inline_closurecall
from scipy.sparse import csr_array
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.preprocessing import normalize

from gcdflow.clustering.matching import labelled_accuracy
from gcdflow.errors import InputError
from gcdflow.files.formats import UNLABELLED, Features
from gcdflow.ssddbc import assign_to_clusters

N_STARTS = 10
MAX_ITERATIONS = 100
_MOST_IN_PAIRS = 10_000  # samples; all pairs of so many take 1.6 GB
SMALLEST_CLUSTERS = (5, 10, 15, 20, 30, 50, 75, 100)  # samples; what HDBSCAN is tried with
NOISE = -1


def training_rows(
    features: Features, path: Path, *, normalized: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """What a method sees of a feature cache: its training samples, and which class is told.

    Parameters
    ----------
    path : names the features in the error
    normalized : rows have length 1, as SSDDBC sees them by default

    Returns
    -------
    X : float64 (n, d)
    labels : int64 (n,), -1 = unlabelled

    Raises
    ------
    InputError
        If fewer than two samples are for training, or none or all of them are labelled.
    """
    train = features.train_mask
    X, labels = features.features[train].astype(np.float64), features.labels[train]
    unlabelled = labels == UNLABELLED
    if len(X) < 2 or unlabelled.all() or not unlabelled.any():
        raise InputError(
            f"{path}: {(~unlabelled).sum()} of {len(X)} training samples are labelled, "
            "expected some, and some that are not: labels choose what a baseline is not told"
        )
    return normalize(X) if normalized else X, labels


# -- methods that need the number of clusters ------------------------------------------------------


def kmeans(X: np.ndarray, n_clusters: int, *, seed: int = 0) -> np.ndarray:
    """Clusters (n,) of rows (n, d) by k-means; the best of ten starts, blind to all labels."""
    return KMeans(n_clusters, n_init=N_STARTS, random_state=seed).fit_predict(X)


def ward(X: np.ndarray, n_clusters: int) -> np.ndarray:
    """Clusters (n,) of rows (n, d) by Ward's linkage, blind to all labels."""
    return AgglomerativeClustering(n_clusters, linkage="ward").fit_predict(X)


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
    labels : int (n,), class of each point, -1 = unlabelled; some are unlabelled
    n_clusters : int, at least the number of labelled classes

    Returns
    -------
    int64 (n,)
        Clusters; those of the labelled classes come first, in the order of the classes.

    References
    ----------
    Vaze et al., *Generalized Category Discovery*, arXiv 2201.02609, section 3.2; Arthur and
    Vassilvitskii, *k-means++: The Advantages of Careful Seeding*, SODA 2007.
    """
    known, fixed = np.unique(labels[labels >= 0], return_inverse=True)
    labelled = labels >= 0
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
    rows = np.arange(len(X))
    members = csr_array((np.ones(len(X)), (clusters, rows)), shape=(n_clusters, len(X)))
    return members @ X


NUMBER_NEEDED: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "kmeans": lambda X, labels, n_clusters: kmeans(X, n_clusters),
    "semi_supervised_kmeans": semi_supervised_kmeans,
    "ward": lambda X, labels, n_clusters: ward(X, n_clusters),
}


# -- methods that find it --------------------------------------------------------------------------


@dataclass(frozen=True)
class DensityClusters:
    """A clustering by density.

    Attributes
    ----------
    clusters : int (n,); every sample is in one
    min_cluster_size : samples of the smallest cluster that was allowed
    noise : share of the samples that were in no cluster, and joined one
    """

    clusters: np.ndarray
    min_cluster_size: int
    noise: float


def hdbscan(X: np.ndarray, labels: np.ndarray, *, threads: int | None = None) -> DensityClusters:
    """HDBSCAN, whose clusters do not depend on labels; these choose ``min_cluster_size``.

    Of :data:`SMALLEST_CLUSTERS`, the one with the highest :func:`labelled_accuracy` is taken, of
    equal ones the largest. Noise joins clusters before that, as SSDDBC's sparse points do: the
    cluster with the smallest mean distance to its 3 nearest members.

    Parameters
    ----------
    X : float (n, d)
    labels : int (n,), -1 = unlabelled; some are labelled

    References
    ----------
    Campello, Moulavi, Sander: *Density-Based Clustering Based on Hierarchical Density Estimates*,
    PAKDD 2013.
    """

    # In hundreds of dimensions, a tree of the samples takes some thirty times as long as all pairs.
    algorithm = "brute" if len(X) <= _MOST_IN_PAIRS else "auto"

    def cluster(size: int) -> np.ndarray:
        model = HDBSCAN(min_cluster_size=size, algorithm=algorithm, n_jobs=threads, copy=True)
        return model.fit_predict(X)

    return _best_of_sizes(cluster, X, labels, threads)


def hdbscan_bcubed(
    X: np.ndarray, labels: np.ndarray, *, threads: int | None = None
) -> DensityClusters:
    """HDBSCAN whose clusters are selected from the hierarchy by the labels (B-cubed).

    Everything else is as in :func:`hdbscan`. The first use after installation compiles for up to a
    minute.

    Raises
    ------
    InputError
        If the package fast_hdbscan is missing.

    References
    ----------
    Castro Gertrudes, Zimek, Sander, Campello: *A unified view of density-based methods for
    semi-supervised clustering and classification*, Data Mining and Knowledge Discovery 2019.
    """
    try:
        import fast_hdbscan
    except ImportError as error:
        raise InputError(
            f"baseline hdbscan_bcubed needs the package fast_hdbscan ({error}), the extra "
            "'baselines' of gcdflow: `pip install --constraint constraints.txt fast_hdbscan`"
        ) from None
    if threads is not None:
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    options = {"semi_supervised": True, "reproducible": True}
    # With weights, rows of more than 30 numbers have exact neighbours too, not pynndescent's.
    weights = np.ones(len(X), dtype=np.float32)

    def cluster(size: int) -> np.ndarray:
        model = fast_hdbscan.HDBSCAN(min_cluster_size=size, **options)
        with _plain_comprehensions():
            return model.fit(X, labels.copy(), sample_weight=weights).labels_

    return _best_of_sizes(cluster, X, labels, threads)


@contextmanager
def _plain_comprehensions() -> Iterator[None]:
    """Let Numba compile B-cubed selection: its shortcut for arrays of comprehensions cannot.

    With it, the code of fast_hdbscan 0.3.4 fails in Numba 0.61 to 0.68 (the package's issue 39).
    """
    before = inline_closurecall.enable_inline_arraycall
    inline_closurecall.enable_inline_arraycall = False
    try:
        yield
    finally:
        inline_closurecall.enable_inline_arraycall = before


def _best_of_sizes(
    cluster: Callable[[int], np.ndarray], X: np.ndarray, labels: np.ndarray, threads: int | None
) -> DensityClusters:
    """The clustering of the smallest size that fits the labels best; -1 of ``cluster`` is noise."""
    best, highest = None, -1.0
    # Of a larger size there would be no two clusters.
    for size in [size for size in SMALLEST_CLUSTERS if size <= len(X) // 2] or [2]:
        found = np.asarray(cluster(size), dtype=np.int64)
        joined = noise_joined(X, found, threads)
        if (accuracy := labelled_accuracy(joined, labels)) >= highest:
            best, highest = DensityClusters(joined, size, float((found == NOISE).mean())), accuracy
    return best


def noise_joined(X: np.ndarray, clusters: np.ndarray, threads: int | None = None) -> np.ndarray:
    """Clusters (n,) with no noise (-1): it joins the nearest one; all are one if there was none."""
    noise = clusters == NOISE
    if noise.all():
        return np.zeros_like(clusters)
    joined = clusters.copy()
    if noise.any():
        joined[noise], _ = assign_to_clusters(X[noise], X[~noise], clusters[~noise], n_jobs=threads)
    return joined


NUMBER_FOUND: dict[str, Callable[..., DensityClusters]] = {
    "hdbscan": hdbscan,
    "hdbscan_bcubed": hdbscan_bcubed,
}
