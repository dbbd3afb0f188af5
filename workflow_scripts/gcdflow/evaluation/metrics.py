"""Metrics of one refresh: how well the clusters match the true classes.

Only the evaluation stage reads the true classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gcdflow.clustering.predict import cluster_test_samples, load_clustered
from gcdflow.errors import InputError
from gcdflow.evaluation.accuracy import clustering_accuracy
from gcdflow.files.formats import UNLABELLED, Classes, Features, Truth, align, other_origin

_OF_PSEUDO_LABELS = ("label_change_rate", "agreement", "against_labels")


def evaluate(
    features_path: Path,
    pseudo_path: Path,
    truth_path: Path,
    classes_path: Path | None = None,
    *,
    threads: int | None = None,
) -> dict[str, Any]:
    """Accuracy of pseudo labels on the unlabelled training samples and on the test split.

    Step 6 of SSDDBC assigns test samples to clusters by their nearest core points. Samples of
    unknown class do not count.

    Parameters
    ----------
    classes_path : path of the categories that a classifier gives, or None if there is none

    Returns
    -------
    dict
        ``transductive`` and ``inductive`` (each a result of
        :func:`~gcdflow.evaluation.accuracy.clustering_accuracy`), ``n_clusters``, ``n_classes``
        (None if the class of some sample is unknown), ``core_ratio``, ``epoch``, and
        from the pseudo labels ``label_change_rate``, ``agreement`` and ``against_labels`` (None
        if they have none), and ``mean_cosine`` of the features. With a classifier also
        ``classifier``: ``transductive`` and ``inductive`` of its categories, and ``n_categories``,
        how many of them have a training sample; all accuracies then have ``ari``, the adjusted
        Rand index, beside them.

    Raises
    ------
    InputError
        If the files are not of the same run and refresh.
    """
    features, pseudo, at = load_clustered(features_path, pseudo_path)
    truth = Truth.load(truth_path)
    _check_truth_of(features, features_path, truth, truth_path)
    unlabelled = features.labels[at] == UNLABELLED
    test, clusters = cluster_test_samples(features, pseudo, at, threads)

    def accuracy(ids: np.ndarray, found: np.ndarray) -> dict[str, float | None]:
        in_truth = align(truth_path, truth.indices, ids)
        known = truth.labels[in_truth] >= 0
        found, in_truth = found[known], in_truth[known]
        true = truth.labels[in_truth]
        accuracies = clustering_accuracy(found, true, truth.old_mask[in_truth])
        # Only where two partitions are compared: metrics of other runs stay as they are.
        return accuracies if classes_path is None else accuracies | {"ari": _ari(true, found)}

    metrics = {
        "epoch": features.metadata.get("epoch"),
        "transductive": accuracy(pseudo.indices[unlabelled], pseudo.labels[unlabelled]),
        "inductive": accuracy(features.indices[test], clusters),
        "n_clusters": pseudo.n_clusters,
        "n_classes": len(truth.class_names) if (truth.labels >= 0).all() else None,
        "core_ratio": float(pseudo.core_mask.mean()),
        **{key: pseudo.metadata.get(key) for key in _OF_PSEUDO_LABELS},
        "mean_cosine": features.mean_cosine,
    }
    if classes_path is not None:
        classes = _classes_of(features, features_path, classes_path)
        hidden = pseudo.indices[unlabelled], classes[at[unlabelled]]
        metrics["classifier"] = {
            "transductive": accuracy(*hidden),
            "inductive": accuracy(features.indices[test], classes[test]),
            "n_categories": len(np.unique(classes[at])),
        }
    return metrics


def _classes_of(features: Features, features_path: Path, path: Path) -> np.ndarray:
    """The categories of a classifier in the order of the feature cache that it saw, int64 (n,)."""
    classes = Classes.load(path)
    if key := other_origin(features.metadata, classes.metadata):
        raise InputError(
            f"{path}: was made from other features than {features_path} ({key} differs)"
        )
    return classes.labels[align(path, classes.indices, features.indices)]


def _ari(true: np.ndarray, found: np.ndarray) -> float | None:
    """Adjusted Rand index of two partitions; None of no samples."""
    from sklearn.metrics import adjusted_rand_score  # takes a second to import

    return float(adjusted_rand_score(true, found)) if len(true) else None


def _check_truth_of(
    features: Features, features_path: Path, truth: Truth, truth_path: Path
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
