"""Metrics of one refresh: how well the clusters match the true classes.

Only the stages `evaluate` and `baseline` read the true classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcdflow.clustering.predict import cluster_test_samples, load_clustered
from gcdflow.errors import InputError
from gcdflow.evaluation.accuracy import clustering_accuracy
from gcdflow.files.formats import UNLABELLED, Classes, Features, Truth, align

if TYPE_CHECKING:
    from gcdflow.config.settings import ClusteringSettings

_OF_PSEUDO_LABELS = ("label_change_rate", "agreement", "against_labels")


def evaluate(
    features_path: Path,
    pseudo_path: Path,
    truth_path: Path,
    classes_path: Path | None = None,
    *,
    threads: int | None = None,
    label_draws: int = 0,
    grid: ClusteringSettings | None = None,
) -> dict[str, Any]:
    """Accuracy of pseudo labels on the unlabelled training samples and on the test split.

    Step 6 of SSDDBC assigns test samples to clusters by their nearest core points. Samples of
    unknown class do not count.

    Parameters
    ----------
    classes_path : Path or None
        Categories that a classifier gives; None if there is none.
    label_draws : int
        How often the search is repeated with other labels, which says how sure the number of
        clusters is; 0: never.
    grid : ClusteringSettings or None
        What is searched then; nothing but that needs it.

    Returns
    -------
    dict, as :class:`gcdflow.files.keys.Metrics` describes it

    Raises
    ------
    InputError
        If the files are not of the same run and refresh.
    """
    features, pseudo, at = load_clustered(features_path, pseudo_path)
    truth = KnownTruth(truth_path, features, features_path)
    unlabelled = features.labels[at] == UNLABELLED
    test, clusters = cluster_test_samples(features, pseudo, at, threads)
    metrics = {
        "epoch": features.metadata.get("epoch"),
        **truth.measured(pseudo.indices[unlabelled], pseudo.labels[unlabelled]),
        "inductive": truth.accuracy(features.indices[test], clusters),
        "n_clusters": pseudo.n_clusters,
        "n_classes": truth.n_classes,
        "core_ratio": float(pseudo.core_mask.mean()),
        **{key: pseudo.metadata.get(key) for key in _OF_PSEUDO_LABELS},
        "mean_cosine": features.mean_cosine,
    }
    if classes_path is not None:
        classes = _classes_of(features, features_path, classes_path)
        metrics["classifier"] = {
            **truth.measured(pseudo.indices[unlabelled], classes[at[unlabelled]]),
            "inductive": truth.accuracy(features.indices[test], classes[test]),
            "n_categories": len(np.unique(classes[at])),
        }
    if label_draws:
        from gcdflow.clustering.search import n_clusters_over_label_draws

        found = n_clusters_over_label_draws(features, grid, label_draws, threads=threads)
        metrics |= {"label_draws": label_draws, "k_range": [min(found), max(found)]}
    return metrics


class KnownTruth:
    """The truth about samples of a feature cache; those of unknown class do not count.

    Attributes
    ----------
    n_classes : int or None, number of true classes; None if the class of some sample is unknown

    Raises
    ------
    InputError
        If it is not the truth about these samples.
    """

    def __init__(self, path: Path, features: Features, features_path: Path | str = "the features"):
        self._path, self._truth = path, Truth.load(path)
        _check_truth_of(features, features_path, self._truth, path)
        everyone_known = (self._truth.labels >= 0).all()
        self.n_classes = len(self._truth.class_names) if everyone_known else None

    def _compared(
        self, ids: np.ndarray, clusters: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cluster, class, and whether it is an old one, of the samples whose class is known."""
        at = align(self._path, self._truth.indices, ids)
        known = self._truth.labels[at] >= 0
        at = at[known]
        return clusters[known], self._truth.labels[at], self._truth.old_mask[at]

    def accuracy(self, ids: np.ndarray, clusters: np.ndarray) -> dict[str, float | None]:
        """The six accuracies of the clusters (n,) of samples (n,)."""
        return clustering_accuracy(*self._compared(ids, clusters))

    def measured(self, ids: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
        """``transductive`` and ``ari`` of the clusters (n,) of unlabelled training samples (n,).

        The ARI is None if no class is known.
        """
        from sklearn.metrics import adjusted_rand_score  # takes a second to load

        found, classes, old = self._compared(ids, clusters)
        ari = adjusted_rand_score(classes, found) if len(found) else None
        return {"transductive": clustering_accuracy(found, classes, old), "ari": ari}


def _classes_of(features: Features, features_path: Path, path: Path) -> np.ndarray:
    """The categories of a classifier in the order of the feature cache that it saw, int64 (n,)."""
    classes = Classes.load(path)
    features.check_origin_of(path, classes.metadata, features_path)
    return classes.labels[align(path, classes.indices, features.indices)]


def _check_truth_of(
    features: Features, features_path: Path | str, truth: Truth, truth_path: Path
) -> None:
    """Check that the files belong together: labels and truth of labelled samples must agree.

    Sample ids alone prove nothing, because they are numbers from 0 in many datasets.
    """
    at = align(truth_path, truth.indices, features.indices)
    true = truth.labels[at]
    differ = (features.labels != UNLABELLED) & (true != UNLABELLED) & (features.labels != true)
    if differ.any():
        first = np.argmax(differ)
        raise InputError(
            f"{truth_path}: {differ.sum()} labelled samples have another class than in "
            f"{features_path} (first: sample {features.indices[first]}, class {true[first]} for "
            f"label {features.labels[first]}); does the file belong to this run?"
        )


def accuracy_scalars(metrics: dict[str, Any]) -> dict[str, float | None]:
    """Scalars for TensorBoard: ``val_acc_*`` is transductive, ``test_acc_*`` inductive.

    Those of a classifier are ``classifier/val_acc_*`` and ``classifier/test_acc_*``.
    """
    by = {"": metrics} | ({"classifier/": metrics["classifier"]} if "classifier" in metrics else {})
    return {
        f"{group}{prefix}_acc_{part}": accuracies[kind][part]
        for group, accuracies in by.items()
        for prefix, kind in (("val", "transductive"), ("test", "inductive"))
        for part in ("old", "new", "all")
    }
