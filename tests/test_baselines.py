"""The clusterings that results are compared with."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

BASELINES = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "baselines.py"))
kmeans, semi_supervised_kmeans = BASELINES["kmeans"], BASELINES["semi_supervised_kmeans"]


def blobs(seed: int, n_classes: int = 6, n_each: int = 12, spread: float = 0.35):
    """Rows around random centres, the classes, and labels of half of the first three classes."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_classes), n_each)
    X = rng.normal(size=(n_classes, 5))[truth] + spread * rng.normal(size=(len(truth), 5))
    labels = np.where((truth < 3) & (rng.random(len(truth)) < 0.5), 10 * truth, -1)
    return X, truth, labels


def naive(X, labels, n_clusters, seed, n_starts):
    """The same method, one point and one centre at a time."""
    rng = np.random.default_rng(seed)
    known = sorted(set(labels[labels >= 0].tolist()))
    free = [i for i in range(len(X)) if labels[i] < 0]
    results = []
    for _ in range(n_starts):
        centres = [np.mean([X[i] for i in range(len(X)) if labels[i] == c], axis=0) for c in known]
        while len(centres) < n_clusters:
            nearest = np.array([min(((X[i] - c) ** 2).sum() for c in centres) for i in free])
            centres.append(X[free[rng.choice(len(free), p=nearest / nearest.sum())]])
        clusters = None
        while True:
            found = [
                known.index(labels[i])
                if labels[i] >= 0
                else int(np.argmin([((X[i] - c) ** 2).sum() for c in centres]))
                for i in range(len(X))
            ]
            if found == clusters:
                break
            clusters = found
            for c in range(n_clusters):
                members = [X[i] for i in range(len(X)) if found[i] == c]
                centres[c] = np.mean(members, axis=0) if members else centres[c]
        inertia = sum(((X[i] - centres[c]) ** 2).sum() for i, c in enumerate(clusters))
        results.append((inertia, clusters))
    return min(results, key=lambda result: result[0])[1]


@pytest.mark.parametrize("seed", range(8))
def test_semi_supervised_kmeans_is_the_naive_one(seed):
    X, _, labels = blobs(seed, spread=0.8)
    found = semi_supervised_kmeans(X, labels, 6, seed=seed, n_starts=4)
    np.testing.assert_array_equal(found, naive(X, labels, 6, seed, 4))


def test_labelled_points_stay_with_their_class_however_far_they_lie():
    X, truth, labels = blobs(0, spread=0.05)
    stray = int(np.flatnonzero(labels == 0)[0])
    X[stray] = X[truth == 5][0]
    found = semi_supervised_kmeans(X, labels, 6)
    assert [set(found[labels == 10 * c].tolist()) for c in range(3)] == [{0}, {1}, {2}]
    unlabelled = labels < 0
    assert all(len(set(found[unlabelled & (truth == c)].tolist())) == 1 for c in range(6))
    assert len(set(found.tolist())) == 6


def test_no_labels_and_equal_rows_are_no_trouble():
    X = np.repeat(np.eye(3), 4, axis=0)
    found = semi_supervised_kmeans(X, np.full(12, -1), 5)
    assert len(found) == 12
    assert [len(set(found[4 * c : 4 * c + 4].tolist())) for c in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "n_clusters", "message"),
    [([0, 1, 2, -1], 2, "3 labelled classes"), ([0, 0, 1, 1], 3, "nothing to cluster")],
)
def test_what_cannot_be_clustered_is_refused(labels, n_clusters, message):
    with pytest.raises(ValueError, match=message):
        semi_supervised_kmeans(np.eye(4), np.array(labels), n_clusters)


def test_kmeans_finds_what_lies_apart():
    X, truth, _ = blobs(1, spread=0.02)
    found = kmeans(X, 6)
    assert len({(a, b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)}) == 6
