"""Use a clustering together with its features: read both, and assign test samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gcdflow.errors import InputError
from gcdflow.files.formats import Features, PseudoLabels, align


def load_clustered(
    features_path: str | Path, pseudo_path: str | Path
) -> tuple[Features, PseudoLabels, np.ndarray]:
    """Read a feature cache and its pseudo labels.

    Returns
    -------
    features, pseudo
    at : int64 (m,), positions of the clustered samples in the feature cache

    Raises
    ------
    InputError
        If a file is not valid, or the pseudo labels are not of these features.
    """
    features, pseudo = Features.load(features_path), PseudoLabels.load(pseudo_path)
    features.check_origin_of(pseudo_path, pseudo.metadata, features_path)
    at = align(features_path, features.indices, pseudo.indices)
    align(pseudo_path, pseudo.indices, features.indices[features.train_mask])
    if not features.train_mask[at].all():
        raise InputError(
            f"{pseudo_path}: {(~features.train_mask[at]).sum()} of its {len(at)} samples are test "
            f"samples in {features_path}; expected the training samples alone"
        )
    return features, pseudo, at


def rows_at(features: Features, pseudo: PseudoLabels, positions: np.ndarray) -> np.ndarray:
    """Features at these positions, normalised if the clustering did so; float (k, d)."""
    from sklearn.preprocessing import normalize  # seconds, which a reader of results need not wait

    rows = features.features[positions]
    return normalize(rows.astype(np.float64)) if pseudo.metadata.get("normalize", True) else rows


def cluster_test_samples(
    features: Features, pseudo: PseudoLabels, at: np.ndarray, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Assign the test samples to clusters by their nearest core points (step 6 of SSDDBC).

    Parameters
    ----------
    features, pseudo, at
        Results of :func:`load_clustered`.

    Returns
    -------
    test : int64 (t,), positions of the test samples in the feature cache
    clusters : int64 (t,)
    """
    from gcdflow.ssddbc import assign_to_clusters

    test, core = np.flatnonzero(~features.train_mask), pseudo.core_mask
    if len(test) == 0:
        return test, np.empty(0, dtype=np.int64)
    clusters, _ = assign_to_clusters(
        rows_at(features, pseudo, test),
        rows_at(features, pseudo, at[core]),
        pseudo.labels[core],
        n_jobs=threads,
    )
    return test, clusters
