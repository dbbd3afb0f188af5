#!/usr/bin/env python
"""Compare SSDDBC with other clusterings, on the raw pixels of scikit-learn's digits.

Classes 0-4 are known, and half of their images are labelled. The score is the adjusted Rand index
(ARI) of the unlabelled images. K-means and semi-supervised k-means get the true number of clusters,
10; SSDDBC and HDBSCAN find their own. HDBSCAN's noise joins the nearest cluster, as SSDDBC's sparse
points do. Its parameter is chosen by the labelled images, and in another row by the truth, which no
method can know.

    python benchmarks/ssddbc_quality.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import HDBSCAN
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.clustering.baselines import hdbscan, kmeans, noise_joined, semi_supervised_kmeans
from gcdflow.ssddbc import SSDDBCGridSearch

N_CLUSTERS = 10
SEEDS = range(5)


def ari(labels: np.ndarray, classes: np.ndarray, y: np.ndarray) -> float:
    """Adjusted Rand index of the unlabelled samples."""
    return adjusted_rand_score(classes[y < 0], labels[y < 0])


def cluster_by_all(
    X: np.ndarray, y: np.ndarray, classes: np.ndarray, hdbscans: list[np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Labels from each method; the classes only choose one of the HDBSCANs."""
    return {
        "k-means (k = 10 given)": kmeans(X, N_CLUSTERS, seed=seed),
        "semi-supervised k-means (k = 10 given)": semi_supervised_kmeans(
            X, y, N_CLUSTERS, seed=seed
        ),
        "HDBSCAN (min_cluster_size by labels)": hdbscan(X, y).clusters,
        "HDBSCAN (min_cluster_size by the truth)": max(
            hdbscans, key=lambda labels: ari(labels, classes, y)
        ),
        "SSDDBC grid search": SSDDBCGridSearch(n_jobs=-1).fit(X, y).labels_,
        "SSDDBC grid search with w_mod=3": SSDDBCGridSearch(w_mod=3, n_jobs=-1).fit(X, y).labels_,
    }


def main() -> None:
    """Cluster with each method and print the table."""
    digits = load_digits()
    X, classes = normalize(digits.data), digits.target
    sizes = range(5, 51, 5)
    found = [HDBSCAN(min_cluster_size=size, copy=True).fit_predict(X) for size in sizes]
    hdbscans = [noise_joined(X, labels) for labels in found]
    rows = []
    for seed in SEEDS:
        known = np.flatnonzero(classes < 5)
        labelled = np.random.default_rng(seed).permutation(known)[: len(known) // 2]
        y = np.full(len(X), -1)
        y[labelled] = classes[labelled]
        found = cluster_by_all(X, y, classes, hdbscans, seed)
        rows.append(
            {name: (ari(labels, classes, y), len(set(labels))) for name, labels in found.items()}
        )
    print(
        f"ARI of the unlabelled digits: mean of {len(rows)} draws of labels (min to max); clusters"
    )
    for name in rows[0]:
        aris, counts = zip(*(row[name] for row in rows), strict=True)
        print(
            f"{name:<46} {np.mean(aris):.3f} ({min(aris):.3f} to {max(aris):.3f})"
            f"  {min(counts)} to {max(counts)}"
        )


if __name__ == "__main__":
    main()
