"""Measure other clusterings of an epoch's features against the truth, as SSDDBC is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gcdflow.clustering.baselines import NUMBER_FOUND, NUMBER_NEEDED, training_rows
from gcdflow.clustering.number import ESTIMATES
from gcdflow.errors import InputError
from gcdflow.evaluation.metrics import KnownTruth
from gcdflow.evaluation.report import read_measured
from gcdflow.files import declared
from gcdflow.files.formats import UNLABELLED, Features
from gcdflow.wording import counted


def evaluate_baseline(
    method: str,
    features_path: Path,
    truth_path: Path,
    estimates_path: Path | None = None,
    *,
    normalized: bool = True,
    threads: int | None = None,
) -> dict[str, Any]:
    """Cluster the training samples by another method, and compare unlabelled ones with the truth.

    Parameters
    ----------
    method : str
        One of :data:`gcdflow.config.settings.BASELINES`.
    estimates_path : Path or None
        Estimates from the same features; only methods that need the number of clusters read it.
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
        If the files are not of the same run, a method lacks its estimates, fewer than two samples
        are for training, or fewer than there are classes, or none or all of them are labelled.
    """
    features = Features.load(features_path)
    truth = KnownTruth(truth_path, features, features_path)
    X, labels = training_rows(features, features_path, normalized=normalized)
    estimates = {}
    if method in NUMBER_NEEDED:
        if truth.n_classes is not None and truth.n_classes > len(X):
            raise InputError(
                f"{truth_path}: has {truth.n_classes} classes, but {features_path} has only "
                f"{counted(len(X), 'training sample')}, which {method} cannot divide into as many"
            )
        estimates = _read_estimates(estimates_path, features, features_path, normalized)
    unlabelled = labels == UNLABELLED
    ids = features.indices[features.train_mask][unlabelled]
    results = []
    for number, clusters, seconds, chosen in _clusterings(
        method, X, labels, truth.n_classes, estimates, threads
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


def _read_estimates(
    path: Path | None, features: Features, features_path: Path, normalized: bool
) -> dict[str, Any]:
    """The estimates by name; InputError if they are not of these features as a method sees them."""
    if path is None:
        raise InputError("--estimates: missing, but this method needs a number of clusters")
    found = read_measured(path, declared.ESTIMATES)
    features.check_origin_of(path, found, features_path)
    if found["normalize"] != normalized:
        raise InputError(f"{path}: 'normalize' is {found['normalize']}, expected {normalized}")
    labels = features.labels[features.train_mask]
    least, most = len(np.unique(labels[labels != UNLABELLED])), len(labels)
    for name in ESTIMATES:
        if not least <= (n_clusters := found[name]["n_clusters"]) <= most:
            raise InputError(
                f"{path}: '{name}' has n_clusters {n_clusters}, expected {least} (the labelled "
                f"classes) to {most} (the training samples of {features_path})"
            )
    return {name: found[name] for name in ESTIMATES}


def _clusterings(
    method: str,
    X: np.ndarray,
    labels: np.ndarray,
    n_classes: int | None,
    estimates: Mapping[str, Any],
    threads: int | None,
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
    for number, estimate in estimates.items():
        began = time.perf_counter()
        clusters = NUMBER_NEEDED[method](X, labels, estimate["n_clusters"])
        yield number, clusters, estimate["seconds"] + time.perf_counter() - began, {}
