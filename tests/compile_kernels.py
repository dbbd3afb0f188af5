"""Compile all kernels of the clustering, which Numba keeps for all processes of the tests."""

from __future__ import annotations

import numpy as np
from gcdflow.clustering.search import cluster_features
from gcdflow.config.settings import ClusteringSettings
from gcdflow.files.formats import Features
from gcdflow.ssddbc import assign_to_clusters

N = 300


def main() -> None:
    """Cluster three blobs and assign samples, as the stages do."""
    rng, classes = np.random.default_rng(0), np.arange(N) % 3
    features = Features(
        features=(np.eye(3)[classes] + rng.normal(0, 0.1, (N, 3))).astype(np.float32),
        indices=np.arange(N),
        labels=np.where(np.arange(N) % 2, classes, -1),
        train_mask=np.ones(N, dtype=bool),
        metadata={},
    )
    pseudo, _ = cluster_features(features, ClusteringSettings(k="5", percentile="50"), threads=1)
    assign_to_clusters(features.features, features.features, pseudo.labels)


if __name__ == "__main__":
    main()
