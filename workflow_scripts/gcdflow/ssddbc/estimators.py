"""The clustering and the search over its grid, as scikit-learn estimators."""

from __future__ import annotations

import time

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from gcdflow.errors import InputError
from gcdflow.ssddbc import _validate as validate
from gcdflow.ssddbc.resources import choose_neighbours

# Tuples, because scikit-learn's checks refuse a range as a default.
DEFAULT_K, DEFAULT_PERCENTILES = tuple(range(3, 21)), tuple(range(40, 100, 5))
CLUSTERING_SHARE = 0.6  # of the work; the rest is scoring


class _Clusterer(ClusterMixin, BaseEstimator):
    """Methods of both estimators besides ``fit``; ``predict`` is step 6 for new samples."""

    def _keep(self, given, X: np.ndarray, found, index: int) -> None:
        """Set what both estimators have, of one of the clusterings that were found.

        A fit that is refused does not come here, and leaves an earlier one as it was.

        Parameters
        ----------
        given : the argument of ``fit``, which may name the features. X : (n, d), the same, checked.
        """
        validate_data(self, given, skip_check_array=True)  # keeps number and names of the features
        cell = found.cells[index]
        self.labels_ = found.labels[index].astype(np.int64)
        self.core_sample_mask_ = cell.core
        self.densities_ = cell.density.rho
        self.n_clusters_ = int(found.n_clusters[index])
        self.recall_ = found.recall
        self.neighbours_ = "exact" if found.recall is None else "approximate"
        self._core_X = X[self.core_sample_mask_]
        self._core_labels = self.labels_[self.core_sample_mask_]
        self._core_normalized = bool(self.normalize)  # the parameter may change later

    def fit_predict(self, X, y=None):
        """Cluster as ``fit`` does, and return ``labels_``. (scikit-learn's method drops ``y``.)"""
        return self.fit(X, y).labels_

    def predict(self, X):
        """Cluster of each sample: smallest mean distance to its 3 nearest core members.

        Parameters
        ----------
        X : array-like of shape (m, d)
            Features, normalised if ``normalize`` was true in ``fit``.

        Returns
        -------
        ndarray of shape (m,), int64
            Labels in the numbering of ``labels_``; ties go to the lower one.
        """
        check_is_fitted(self)
        X = validate.new_samples(X, self)
        return _assign(X, self._core_X, self._core_labels, self._core_normalized, self.n_jobs)[0]


class SSDDBC(_Clusterer):
    """Semi-supervised density-based clustering.

    Core points are dense relative to their neighbours. They are linked to their nearest core
    points, unless labels forbid it, and grow into backbone clusters. Tiny clusters join larger
    ones, and all other points join the cluster of their nearest core points.

    Parameters
    ----------
    k : int, default=10
        Number of neighbours for the densities, reduced to n - 1.
    density_percentile : float, default=70
        Points whose relative density reaches this percentile are core points.
    normalize : bool, default=True
        L2-normalise rows first, in float64; rows of zeros stay zero.
    neighbours : {"exact", "approximate"} or None
        Whether neighbours are exact, or searched for in cells by faiss (which has to be installed).
        The work then grows little faster than n, not with n², and most of the exact neighbours are
        found (``recall_``). None: exact, unless that would take hours (`choose_neighbours`).
    device : str, default="cpu"
        Where points are compared with all others: "cpu", or a GPU by PyTorch's name for it, such as
        "cuda" (PyTorch has to be installed). Neighbours are the same; silhouettes differ by the
        rounding of float32. Approximate neighbours are searched for by the CPU in any case.
    n_jobs : int or None
        Number of threads (None = 1, -1 = all that the process may use), for BLAS and compiled code.
        With exact neighbours the result does not depend on it.

    Attributes
    ----------
    labels_ : (n,) int64, cluster of every sample, consecutive from 0.
    core_sample_mask_ : (n,) bool.
    densities_, relative_densities_ : (n,) float64.
    n_clusters_ : int.
    neighbours_ : str, "exact" or "approximate".
    recall_ : float, share of the exact k nearest neighbours that approximate ones hold, on a random
        sample; None for exact ones.
    cutoff_ : float, longest edge of the backbone graph (mean distance to the k nearest).
    core_threshold_ : float, smallest relative density of a core point.
    n_features_in_ : int.

    Examples
    --------
    >>> import numpy as np
    >>> from gcdflow.ssddbc import SSDDBC
    >>> rng = np.random.default_rng(0)
    >>> X = np.concatenate([rng.normal(m, 0.1, size=(30, 2)) for m in (0, 3)])
    >>> SSDDBC(k=5, density_percentile=50, normalize=False).fit(X).n_clusters_
    2
    """

    def __init__(
        self,
        k=10,
        density_percentile=70.0,
        *,
        normalize=True,
        neighbours=None,
        device="cpu",
        n_jobs=None,
    ):
        self.k = k
        self.density_percentile = density_percentile
        self.normalize = normalize
        self.neighbours = neighbours
        self.device = device
        self.n_jobs = n_jobs

    def fit(self, X, y=None):
        """Cluster the samples.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Features, float16 to float64; n is at least 2.
        y : array-like of shape (n,) of whole numbers, or None
            Classes from 0, -1 = unlabelled (scikit-learn's convention); None = no labels.

        Raises
        ------
        gcdflow.errors.InputError
            A ``ValueError`` whose message says what was found and what was expected.
        """
        k = validate.neighbours(self.k)
        percentile = validate.percentile(self.density_percentile)
        options = validate.search_options(self.normalize, self.neighbours, self.device)
        given = X
        X, y = validate.training_samples(X, y)
        from gcdflow.ssddbc import _search as search  # compiled code: slow to import

        with search.Workers(self.n_jobs) as workers:
            options["neighbours"] = choose_neighbours(self.neighbours, *X.shape, 1)
            samples = search.searchable(X, [k], workers, **options)
            found = search.cluster_grid(samples, y, [k], [percentile], workers)
        self._keep(given, X, found, 0)
        cell = found.cells[0]
        self.relative_densities_ = cell.density.relative
        self.cutoff_ = cell.density.cutoff
        self.core_threshold_ = cell.threshold
        return self


class SSDDBCGridSearch(_Clusterer):
    """SSDDBC with every combination of k and percentile; the best score wins.

    The score is ``-w_ce · CE + w_sil · Sil + w_mod · Mod``. CE is the cross-entropy of the labelled
    samples' classes within their clusters. Sil is the mean silhouette of the unlabelled samples
    (over all samples' clusters). Mod is the modularity of the clusters in the graph of the 10
    nearest neighbours. Ties go to the smaller k, then to the smaller percentile. The configurations
    share work; the results are the same as without sharing.

    Parameters
    ----------
    k : sequence of int, default=3, 4, …, 20
    density_percentile : sequence of float, default=40, 45, …, 95
    w_ce, w_sil, w_mod : float, default=1, 3 and 0
        Weights of the parts of the score.
    normalize, neighbours, device, n_jobs : as of `SSDDBC`.
    progress : callable or None
        ``progress(done, total)``, called repeatedly from the fitting thread: finished
        configurations and their total. All configurations advance together, so ``done`` is the
        finished share of the work.

    Attributes
    ----------
    labels_, core_sample_mask_, densities_, n_clusters_ : of the best configuration, see `SSDDBC`.
    neighbours_, recall_ : see `SSDDBC`. With approximate neighbours, silhouettes are estimated from
        a sample, too.
    best_params_ : dict with ``k`` and ``density_percentile``.
    best_score_ : float. best_index_ : int, its index in ``results_``.
    results_ : dict of arrays
        One entry per configuration, k first, then percentile: k, density_percentile, score,
        cross_entropy, silhouette, silhouette_error (its standard error, 0 if all samples were
        counted), modularity, n_clusters, n_core, core_ratio, cutoff, core_threshold, and seconds
        (shared work is divided evenly, so the seconds add up to the wall time).
    n_features_in_ : int.
    """

    def __init__(
        self,
        k=DEFAULT_K,
        density_percentile=DEFAULT_PERCENTILES,
        *,
        w_ce=1.0,
        w_sil=3.0,
        w_mod=0.0,
        normalize=True,
        neighbours=None,
        device="cpu",
        n_jobs=None,
        progress=None,
    ):
        self.k = k
        self.density_percentile = density_percentile
        self.w_ce = w_ce
        self.w_sil = w_sil
        self.w_mod = w_mod
        self.normalize = normalize
        self.neighbours = neighbours
        self.device = device
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(self, X, y=None):
        """Cluster and score with every configuration; parameters as in :meth:`SSDDBC.fit`."""
        begin = time.perf_counter()
        ks, percentiles, weights = self._checked_parameters()
        options = validate.search_options(self.normalize, self.neighbours, self.device)
        given = X
        X, y = validate.training_samples(X, y)
        from gcdflow.ssddbc import _search as search  # compiled code: slow to import

        n_configurations = len(ks) * len(percentiles)

        def report(share: float) -> None:
            if self.progress is not None:
                self.progress(int(share * n_configurations), n_configurations)

        def clustered(share: float) -> None:
            report(CLUSTERING_SHARE * share)

        def scored(share: float) -> None:
            report(CLUSTERING_SHARE + (1 - CLUSTERING_SHARE) * share)

        report(0)
        with search.Workers(self.n_jobs) as workers:
            options["neighbours"] = choose_neighbours(self.neighbours, *X.shape, n_configurations)
            samples = search.searchable(X, ks, workers, **options)
            found = search.cluster_grid(samples, y, ks, percentiles, workers, clustered)
            scores = search.score_grid(samples, found, y, workers, scored)
        results = _results(ks, percentiles, weights, found, scores)
        best = int(np.argmax(results["score"]))  # the first of equal scores
        self._keep(given, X, found, best)
        self.results_, self.best_index_ = results, best
        self.best_score_ = float(results["score"][best])
        row, column = divmod(best, len(percentiles))
        self.best_params_ = {"k": ks[row], "density_percentile": percentiles[column]}
        own = found.seconds / workers.n_threads
        shared = max(0.0, time.perf_counter() - begin - own.sum())
        self.results_["seconds"] = own + shared / len(own)
        report(1)
        return self

    def _checked_parameters(self) -> tuple[list, list, tuple[float, float, float]]:
        """Both axes of the grid, ascending, and the weights of the score."""
        ks = validate.grid(self.k, validate.neighbours, "k")
        percentiles = validate.grid(
            self.density_percentile, validate.percentile, "density_percentile"
        )
        names = ("w_ce", "w_sil", "w_mod")
        weights = tuple(validate.weight(getattr(self, name), name) for name in names)
        validate.function(self.progress, "progress")
        return ks, percentiles, weights


def _results(ks: list, percentiles: list, weights: tuple, found, scores) -> dict[str, np.ndarray]:
    """The table of all configurations except the seconds, from their clusterings and scores."""
    return {
        "k": np.repeat(ks, len(percentiles)),
        "density_percentile": np.tile(percentiles, len(ks)),
        "score": scores.total(*weights),
        "cross_entropy": scores.cross_entropy,
        "silhouette": scores.silhouette,
        "silhouette_error": scores.silhouette_error,
        "modularity": scores.modularity,
        "n_clusters": found.n_clusters,
        "n_core": np.array([int(cell.core.sum()) for cell in found.cells]),
        "core_ratio": np.array([float(cell.core.mean()) for cell in found.cells]),
        "cutoff": np.array([cell.density.cutoff for cell in found.cells]),
        "core_threshold": np.array([cell.threshold for cell in found.cells]),
    }


def assign_to_clusters(X, core_X, core_labels, *, n_jobs=None):
    """Cluster with the smallest mean distance to its 3 nearest core members (all, if fewer).

    This function does not normalise the samples.

    Parameters
    ----------
    X : array-like of shape (m, d)
        Samples to assign.
    core_X : array-like of shape (c, d)
        Core members, at least one.
    core_labels : array-like of shape (c,) of int
        Their clusters, from 0, not necessarily consecutive.
    n_jobs : int or None
        Threads, as in :class:`SSDDBC`.

    Returns
    -------
    labels : ndarray of shape (m,), int64
        Ties go to the lower cluster.
    mean_distance : ndarray of shape (m,), float64
        The smallest mean distance.
    """
    X, core_X = validate.features(X), validate.features(core_X, name="core_X")
    core_labels = validate.array(core_labels, "core_labels")
    if len(core_X) == 0:
        raise InputError("core_X has no rows, expected at least one core member")
    if core_labels.shape != (len(core_X),) or core_labels.dtype.kind not in "iu":
        raise InputError(
            f"core_labels has shape {core_labels.shape} and dtype {core_labels.dtype}, expected"
            f" ({len(core_X)},) integers: one cluster per row of core_X"
        )
    if core_labels.min() < 0:
        raise InputError(
            f"core_labels contains {int(core_labels.min())}, expected clusters from 0; leave out"
            " the samples that are not core members"
        )
    return _assign(X, core_X, core_labels, False, n_jobs)


def core_neighbours(
    X,
    core_sample_mask,
    labels,
    y=None,
    *,
    n_neighbors=10,
    normalize=True,
    neighbours=None,
    device="cpu",
    n_jobs=None,
):
    """The nearest core points of each sample, as far as they are in its cluster.

    They nearly always belong together, even where a cluster as a whole does not. Of the nearest
    ``n_neighbors`` core points, those of other clusters or with another label are left out.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Features, as in :class:`SSDDBC`.
    core_sample_mask : array-like of shape (n,) of bool
    labels : array-like of shape (n,) of int
        ``core_sample_mask_`` and ``labels_`` of a clustering of ``X``.
    y : array-like of shape (n,) of whole numbers, or None
        As in :class:`SSDDBC`.
    n_neighbors : int
    normalize, neighbours, device, n_jobs
        As in :class:`SSDDBC`.

    Returns
    -------
    ndarray of shape (n, n_neighbors), int64
        Rows of ``X``, nearest first; -1 after the last.

    Raises
    ------
    gcdflow.errors.InputError
        If an argument is not of its kind, the lengths differ, or there is no core point.
    """
    X, core = validate.features(X), validate.array(core_sample_mask, "core_sample_mask")
    labels = validate.array(labels, "labels")
    y = validate.labels(y, len(X))
    if {core.shape, labels.shape} != {(len(X),)} or core.dtype != bool:
        raise InputError(
            f"core_sample_mask has shape {core.shape} and dtype {core.dtype}, labels have shape "
            f"{labels.shape}, expected ({len(X)},), and bool for the mask"
        )
    if not core.any():
        raise InputError("core_sample_mask marks no core point, expected some")
    n_neighbors = validate.neighbours(n_neighbors)
    options = validate.search_options(normalize, neighbours, device)
    options["neighbours"] = choose_neighbours(neighbours, *X.shape)
    from gcdflow.ssddbc import _search as search  # compiled code: slow to import

    with search.Workers(n_jobs) as workers:
        samples = search.searchable(X, [n_neighbors], workers, marks=core, **options)
        return search.core_neighbours(samples, core, labels, y, n_neighbors, workers)


def _assign(X, core_X, core_labels, normalize, n_jobs):
    """:func:`assign_to_clusters` with checked input and optional normalisation."""
    if X.shape[1] != core_X.shape[1]:
        raise InputError(
            f"X has {X.shape[1]} features and core_X has {core_X.shape[1]}, expected equal numbers"
        )
    from gcdflow.ssddbc import _search as search  # compiled code: slow to import

    clusters, numbers = np.unique(core_labels, return_inverse=True)
    with search.Workers(n_jobs) as workers:
        found, means = search.nearest_clusters(X, core_X, numbers, normalize, workers)
    return clusters[found].astype(np.int64), means
