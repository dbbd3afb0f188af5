"""Estimates of the number of clusters, against naive ones and where the right number is clear."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gcdflow.clustering import number
from gcdflow.clustering.baselines import kmeans
from gcdflow.clustering.matching import labelled_accuracy
from gcdflow.clustering.number import estimated_number


def test_accuracy_of_labelled_samples_is_that_of_the_best_assignment():
    rng = np.random.default_rng(0)
    for _ in range(20):
        clusters = rng.integers(0, 4, 30)
        labels = np.where(rng.random(30) < 0.6, rng.integers(0, 3, 30), -1)
        at = labels >= 0
        best = max(
            np.mean(np.array(names)[clusters[at]] == labels[at])
            for names in itertools.permutations([0, 1, 2, -2])
        )
        assert labelled_accuracy(clusters, labels) == pytest.approx(best)


def clear_blobs(n_old: int, n_new: int, seed: int = 0):
    """Old classes in a row, then, far from them, new ones; half of the old samples are labelled."""
    rng = np.random.default_rng(seed)
    centres = np.array([[4.0 * c, 0, 0] for c in range(n_old)])
    centres = np.concatenate([centres, [[0, 60.0 * (c + 1), 60 * (c % 2)] for c in range(n_new)]])
    truth = np.repeat(np.arange(n_old + n_new), 30)
    # New classes are tight: one cluster too many divides an old class, one too few joins two.
    spread = np.where(truth < n_old, 0.3, 0.01)[:, None]
    X = centres[truth] + spread * rng.normal(size=(len(truth), 3))
    labels = np.where((truth < n_old) & (rng.random(len(truth)) < 0.5), truth, -1)
    return X, truth, labels


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("n_old", "n_new"), [(3, 3), (2, 5), (4, 2), (5, 3)])
def test_the_estimate_on_clear_blobs_is_right(n_old, n_new, seed):
    X, _, labels = clear_blobs(n_old, n_new, seed)
    right = n_old + n_new
    accuracies = {k: labelled_accuracy(kmeans(X, k), labels) for k in range(n_old, 26)}
    assert max(accuracies, key=accuracies.get) == right
    # Whole parts make steps, on which Brent's method may end one beside the highest.
    found = estimated_number(X, labels, most=25)
    assert found == right if n_old < 4 else abs(found - right) <= 1


def test_the_estimate_is_within_its_bounds(monkeypatch):
    X, _, labels = clear_blobs(3, 3)
    tried = []

    def watched(X, n_clusters, *, seed):
        tried.append(n_clusters)
        return kmeans(X, n_clusters, seed=seed)

    monkeypatch.setattr(number, "kmeans", watched)
    assert 3 <= estimated_number(X, labels, most=20) <= 20
    assert min(tried) >= 3
    assert max(tried) <= 20
    assert len(set(tried)) == len(tried), "no number is tried twice"
    assert estimated_number(X, labels, most=2) == 3
    assert estimated_number(X[:4], np.array([0, 10, 20, -1])) in (3, 4)
