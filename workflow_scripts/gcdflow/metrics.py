"""Metrics of one refresh: how well the clusters match the classes, which only this stage sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from gcdflow.errors import InputError
from gcdflow.evaluation import clustering_accuracy
from gcdflow.formats import UNLABELLED, Features, PseudoLabels, Truth, align
from gcdflow.ssddbc import assign_to_clusters


def evaluate(
    features_path: Path, pseudo_path: Path, truth_path: Path, *, threads: int | None = None
) -> dict[str, Any]:
    """Accuracy of pseudo labels on the unlabelled training samples and on the test split.

    Test samples go to the clusters by step 6 of SSDDBC, against the core points.

    Returns
    -------
    dict
        ``transductive`` and ``inductive`` (each as :func:`~gcdflow.evaluation.clustering_accuracy`
        gives it), ``n_clusters``, ``n_classes``, ``core_ratio``, ``label_change_rate``, ``epoch``.

    Raises
    ------
    InputError
        If the files do not belong together.
    """
    features, pseudo = Features.load(features_path), PseudoLabels.load(pseudo_path)
    truth = Truth.load(truth_path)
    for key in ("checkpoint_sha256", "fingerprint"):
        if features.metadata.get(key) != pseudo.metadata.get(key):
            raise InputError(
                f"{pseudo_path}: was made from other features than {features_path} ({key} differs)"
            )
    at = align(features_path, features.indices, pseudo.indices)
    unlabelled = features.labels[at] == UNLABELLED
    in_truth = align(truth_path, truth.indices, pseudo.indices[unlabelled])
    transductive = clustering_accuracy(
        pseudo.labels[unlabelled], truth.labels[in_truth], truth.old_mask[in_truth]
    )
    rows = features.features
    if pseudo.metadata.get("normalize", True):
        rows = normalize(rows.astype(np.float64))
    test = np.flatnonzero(~features.train_mask)
    clusters = np.empty(0, dtype=np.int64)
    if len(test):
        core = pseudo.core_mask
        clusters, _ = assign_to_clusters(
            rows[test], rows[at[core]], pseudo.labels[core], n_jobs=threads
        )
    in_truth = align(truth_path, truth.indices, features.indices[test])
    inductive = clustering_accuracy(clusters, truth.labels[in_truth], truth.old_mask[in_truth])
    return {
        "epoch": features.metadata.get("epoch"),
        "transductive": transductive,
        "inductive": inductive,
        "n_clusters": pseudo.n_clusters,
        "n_classes": len(truth.class_names),
        "core_ratio": float(pseudo.core_mask.mean()),
        "label_change_rate": pseudo.metadata.get("label_change_rate"),
    }


def accuracy_scalars(metrics: dict[str, Any]) -> dict[str, float | None]:
    """What TensorBoard shows: ``val_acc_*`` is transductive, ``test_acc_*`` inductive."""
    return {
        f"{prefix}_acc_{part}": metrics[kind][part]
        for prefix, kind in (("val", "transductive"), ("test", "inductive"))
        for part in ("old", "new", "all")
    }
