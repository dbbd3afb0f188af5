"""Estimates of the number of clusters, against naive ones and where the right number is clear."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gcdflow.clustering import number
from gcdflow.clustering.baselines import kmeans, ward
from gcdflow.clustering.matching import labelled_accuracy
from gcdflow.clustering.number import (
    ESTIMATES,
    estimated_number,
    joint_reference_scores,
    number_by_silhouette,
)


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
    accuracies = {k: labelled_accuracy(kmeans(X, k), labels) for k in range(n_old, 15)}
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


# -- the joint reference score ---------------------------------------------------------------------


def naive_silhouette(X: np.ndarray, clusters: np.ndarray) -> float:
    """One sample and one cluster at a time, by cosine distances."""
    unit = [x / np.sqrt(x @ x) for x in X]
    if len(set(clusters.tolist())) < 2:
        return 0.0
    values = []
    for i, own in enumerate(clusters):
        means = {}
        for c in set(clusters.tolist()):
            others = [j for j in range(len(X)) if clusters[j] == c and j != i]
            means[c] = np.mean([1 - unit[i] @ unit[j] for j in others]) if others else None
        a, b = means.pop(own), min(means.values())
        values.append(0.0 if a is None else (b - a) / max(a, b))
    return float(np.mean(values))


def naive_scores(X, clusterings, labels, withheld: list[int]) -> np.ndarray:
    silhouettes, accuracies = [], []
    for clusters in clusterings:
        counted = [i for i in range(len(X)) if labels[i] == -1 or labels[i] in withheld]
        silhouettes.append(naive_silhouette(X[counted], clusters[counted]))
        known = [i for i in range(len(X)) if labels[i] in withheld]
        ids = [*set(clusters.tolist()), *([None] * len(withheld))]  # a class may have no cluster
        right = [
            sum(clusters[i] == pairs[withheld.index(labels[i])] for i in known)
            for pairs in itertools.permutations(ids, len(withheld))
        ]
        accuracies.append(max(right) / len(known))
    score = np.ones(len(clusterings))
    for values in (silhouettes, accuracies):
        low, high = min(values), max(values)
        score *= [(v - low) / (high - low) if high > low else v for v in values]
    return score


@pytest.mark.parametrize(
    ("n_old", "withheld"), [(1, [0]), (2, [0, 3]), (5, [9, 12]), (10, [24, 27]), (11, [24, 27, 30])]
)
def test_the_score_is_the_naive_one(n_old, withheld):
    """A fifth of the labelled classes is withheld, but at least two; two of five as in CIFAR-10."""
    rng = np.random.default_rng(n_old)
    truth = np.arange(70) % 14
    labels = np.where((truth < n_old) & (rng.random(70) < 0.7), 3 * truth, -1)
    assert len(np.unique(labels)) == n_old + 1
    X = rng.normal(size=(14, 4))[truth] + rng.normal(size=(70, 4))
    clusterings = np.array([rng.integers(0, k, 70) for k in (2, 3, 5, 6)] + [truth, truth // 7])
    scores = joint_reference_scores(X, clusterings, labels)
    np.testing.assert_allclose(scores, naive_scores(X, clusterings, labels, withheld), atol=1e-12)
    assert scores.max() > 0.1


def test_a_part_that_is_equal_everywhere_stays_as_it_is():
    X = np.repeat(np.eye(4), 3, axis=0) + 0.1
    labels = np.array([0, 0, -1, 1, 1, -1, *[-1] * 6])
    right, split = np.repeat(np.arange(4), 3), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 4])
    both = np.array([right, split])
    np.testing.assert_array_equal(joint_reference_scores(X, both, labels), [1, 0])  # accuracy 1
    # One cluster, and one of each sample, have silhouette 0.
    trivial = np.array([np.zeros(12, int), np.arange(12)])
    np.testing.assert_array_equal(joint_reference_scores(X, trivial, labels), [0, 0])
    assert joint_reference_scores(X, right[None], labels) == pytest.approx([1])
    np.testing.assert_array_equal(joint_reference_scores(np.ones((12, 2)), both, labels), [0, 0])


def test_the_seed_draws_the_samples_of_silhouettes(monkeypatch: pytest.MonkeyPatch):
    X, truth, labels = clear_blobs(3, 3)
    clusterings = np.array([truth, truth // 2, truth // 3, (truth + 1) // 2])
    scores = [joint_reference_scores(X, clusterings, labels, seed=s) for s in (0, 1)]
    np.testing.assert_allclose(scores[0], scores[1])  # all samples, in another order
    monkeypatch.setattr(number, "SILHOUETTE_SAMPLES", 40)
    scores = [joint_reference_scores(X, clusterings, labels, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.allclose(scores[0], scores[2])


def apart(n_old: int, n_new: int, seed: int, n_each: int = 20):
    """Classes in directions of their own; half of the samples of old ones are labelled."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(n_old + n_new), n_each)
    X = np.eye(n_old + n_new)[truth] + 0.05 * rng.normal(size=(len(truth), n_old + n_new))
    labels = np.where((truth < n_old) & (rng.random(len(truth)) < 0.5), 10 * truth, -1)
    return X, labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("n_old", "n_new"), [(1, 3), (2, 4), (3, 0), (5, 5), (5, 20), (12, 8)])
def test_the_number_by_silhouette_is_right_for_classes_that_lie_apart(n_old, n_new, seed):
    X, labels = apart(n_old, n_new, seed)
    for most in (n_old + n_new, 1000):
        assert number_by_silhouette(X, labels, most=most) == n_old + n_new


@pytest.mark.parametrize("seed", range(3))
def test_every_number_near_the_best_level_is_compared(seed, monkeypatch: pytest.MonkeyPatch):
    """The clusters of each number are Ward's, and the second pass scales the score again."""
    monkeypatch.setattr(number, "TREE_LEVELS", 4)
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(9), 10)
    X = rng.normal(size=(9, 5))[truth] + 0.4 * rng.normal(size=(90, 5))
    labels = np.where((truth < 3) & (np.arange(90) % 2 == 0), truth, -1)

    def scores(numbers):
        return joint_reference_scores(X, np.array([ward(X, k) for k in numbers]), labels)

    levels = [3, 6, 12, 24]
    level = int(scores(levels).argmax())
    near = range(levels[max(level - 1, 0)], levels[min(level + 1, 3)] + 1)
    assert number_by_silhouette(X, labels, most=24) == near[int(scores(near).argmax())]


@pytest.mark.parametrize("n", [7, 60])
def test_clusterings_have_as_many_clusters_as_their_number(n, monkeypatch: pytest.MonkeyPatch):
    X = np.random.default_rng(0).normal(size=(n, 4))
    seen = []

    def watched(X, clusterings, labels, *, seed):
        seen.append([len(np.unique(row)) for row in clusterings])
        scores = np.zeros(len(clusterings))
        scores[-1] = 1  # the second pass compares the highest numbers
        return scores

    monkeypatch.setattr(number, "joint_reference_scores", watched)
    labels = np.where(np.arange(n) < 4, np.arange(n) % 2, -1)
    assert number_by_silhouette(X, labels) == n
    assert seen[0] == sorted(set(seen[0]))
    assert seen[0][0] == 2
    assert seen[1] == list(range(seen[0][-2], n + 1))


def test_labels_have_no_part_in_the_tree(monkeypatch: pytest.MonkeyPatch):
    """Other samples with the same labels, also of classes that are withheld, change no cluster."""
    X, labels = apart(5, 3, 0)
    seen = []

    def watched(X, clusterings, labels, *, seed):
        seen.append(clusterings)
        return joint_reference_scores(X, clusterings, labels, seed=seed)

    monkeypatch.setattr(number, "joint_reference_scores", watched)
    found = number_by_silhouette(X, labels)
    passes = len(seen)
    mixed = np.random.default_rng(0).permutation(labels)
    assert number_by_silhouette(X, mixed) != found
    np.testing.assert_array_equal(seen[0], seen[passes])
    assert passes == 2
    assert len(seen[0]) > 10


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_of_drawn_samples_has_labelled_ones(seed, monkeypatch: pytest.MonkeyPatch):
    X, labels = apart(3, 5, seed, n_each=40)
    one = np.where(np.arange(len(X)) == np.flatnonzero(labels >= 0)[0], labels, -1)
    seen = []

    def watched(X, clusterings, labels, *, seed):
        seen.append({(*row, label) for row, label in zip(X.tolist(), labels, strict=True)})
        return joint_reference_scores(X, clusterings, labels, seed=seed)

    monkeypatch.setattr(number, "joint_reference_scores", watched)
    monkeypatch.setattr(number, "TREE_SAMPLES", 100)
    for given in (labels, one):
        seen.clear()
        assert number_by_silhouette(X, given, seed=seed) == 8
        rows = {(*row, label) for row, label in zip(X.tolist(), given, strict=True)}
        assert len(seen[0]) == 101  # each part is rounded up
        assert seen[0] == seen[1] < rows
        n_labelled = sum(row[-1] >= 0 for row in seen[0])
        assert n_labelled == -(-100 * (given >= 0).sum() // len(X))


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_an_estimate_is_within_its_bounds_and_repeats_itself(estimate):
    X, _, labels = clear_blobs(3, 3)
    assert 3 <= estimate(X, labels, most=5) <= 5
    assert estimate(X, labels, most=2) == 3
    assert estimate(X, labels, most=9) == estimate(X, labels, most=9)
    few = np.array([0, 10, 20, -1])
    assert estimate(X[:4], few) in (3, 4)
    assert estimate(X[:3], few[:3]) == 3
    assert estimate(X[:1], few[:1]) == 1


def test_equal_rows_have_the_fewest_clusters():
    labels = np.where(np.arange(30) < 6, np.arange(30) % 3, -1)
    assert number_by_silhouette(np.ones((30, 4)), labels) == 3
    assert number_by_silhouette(np.zeros((30, 4)), labels) == 3
