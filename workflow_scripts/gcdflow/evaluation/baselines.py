"""Measure other clusterings of an epoch's features against the truth, as SSDDBC is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from gcdflow.clustering.baselines import NUMBER_FOUND, NUMBER_NEEDED
from gcdflow.clustering.number import ESTIMATES
from gcdflow.errors import InputError
from gcdflow.evaluation.metrics import KnownTruth
from gcdflow.files.formats import UNLABELLED, Features


def evaluate_baseline(
    method: str,
    features_path: Path,
    truth_path: Path,
    *,
    normalized: bool = True,
    threads: int | None = None,
) -> dict[str, Any]:
    """Cluster the training samples by another method, and compare unlabelled ones with the truth.

    Parameters
    ----------
    method : str
        One of :data:`gcdflow.config.settings.BASELINES`.
    normalized : bool
        Rows have length 1, as SSDDBC sees them by default.

    Returns
    -------
    dict
        As :class:`gcdflow.files.keys.Baseline` describes it. A method that needs the number of
        clusters has a result with the true number (unless the class of some sample is unknown), and
        one with each of :data:`~gcdflow.clustering.number.ESTIMATES`, which do not see the truth.

    Raises
    ------
    InputError
        If the files are not of the same run, fewer than two samples are for training, or none or
        all of them are labelled.
    """
    features = Features.load(features_path)
    truth = KnownTruth(truth_path, features, features_path)
    train = features.train_mask
    X, labels = features.features[train].astype(np.float64), features.labels[train]
    unlabelled = labels == UNLABELLED
    if len(X) < 2 or unlabelled.all() or not unlabelled.any():
        raise InputError(
            f"{features_path}: {(~unlabelled).sum()} of {len(X)} training samples are labelled, "
            "expected some, and some that are not: labels choose what a baseline is not told"
        )
    X, ids = normalize(X) if normalized else X, features.indices[train][unlabelled]
    results = []
    for number, clusters, seconds, chosen in _clusterings(
        method, X, labels, truth.n_classes, threads
    ):
        found = np.asarray(clusters, dtype=np.int64)
        results.append(
            {
                "number": number,
                **truth.measured(ids, found[unlabelled]),
                "n_clusters": len(np.unique(found)),
                "seconds": seconds,
                **chosen,
            }
        )
    return {
        "method": method,
        "epoch": features.metadata.get("epoch"),
        "n_classes": truth.n_classes,
        "results": results,
    }


def _clusterings(
    method: str, X: np.ndarray, labels: np.ndarray, n_classes: int | None, threads: int | None
) -> Iterator[tuple[str, np.ndarray, float, dict[str, float]]]:
    """How the number of clusters came about, clusters, seconds, and what the labels chose."""
    began = time.perf_counter()
    if method in NUMBER_FOUND:
        found = NUMBER_FOUND[method](X, labels, threads=threads)
        chosen = {"min_cluster_size": found.min_cluster_size, "noise": found.noise}
        yield "found", found.clusters, time.perf_counter() - began, chosen
        return
    if n_classes is not None:
        clusters = NUMBER_NEEDED[method](X, labels, n_classes)
        yield "told", clusters, time.perf_counter() - began, {}
    for number, estimate in ESTIMATES.items():
        began = time.perf_counter()
        clusters = NUMBER_NEEDED[method](X, labels, estimate(X, labels))
        yield number, clusters, time.perf_counter() - began, {}
