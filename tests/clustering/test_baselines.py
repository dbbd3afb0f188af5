"""The clusterings that SSDDBC is compared with, against naive ones or by what must hold of them."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import tracemalloc

import numpy as np
import pytest
from gcdflow.clustering import baselines
from gcdflow.clustering.baselines import (
    NUMBER_FOUND,
    NUMBER_NEEDED,
    hdbscan,
    hdbscan_bcubed,
    kmeans,
    semi_supervised_kmeans,
    ward,
)
from gcdflow.config.settings import BASELINES
from gcdflow.errors import InputError

needs_fast_hdbscan = pytest.mark.skipif(
    importlib.util.find_spec("fast_hdbscan") is None, reason="fast_hdbscan is not installed"
)


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


def test_sums_over_clusters_need_no_number_for_each_pair():
    rng = np.random.default_rng(0)
    X, clusters = rng.normal(size=(2000, 3)), rng.integers(1, 900, size=2000)
    expected = np.zeros((1000, 3))  # some clusters have no rows
    np.add.at(expected, clusters, X)
    tracemalloc.start()
    found = baselines._sums(X, clusters, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert peak < 1000 * 2000 * 8 / 10


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


def test_kmeans_finds_what_lies_apart():
    X, truth, _ = blobs(1, spread=0.02)
    found = kmeans(X, 6)
    assert len({(a, b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)}) == 6


def test_every_method_of_the_settings_is_there_once():
    assert sorted([*NUMBER_NEEDED, *NUMBER_FOUND]) == sorted(BASELINES)


@pytest.mark.parametrize("method", NUMBER_NEEDED)
def test_methods_make_as_many_clusters_as_they_are_told(method):
    X, _, labels = blobs(3, spread=0.3)
    for n_clusters in (6, 9):
        found = NUMBER_NEEDED[method](X, labels, n_clusters)
        assert len(np.unique(found)) == n_clusters


def naive_ward(X: np.ndarray, n_clusters: int) -> list[set[int]]:
    """Merge the two clusters whose union adds least to the sum of squared distances."""
    clusters = [{i} for i in range(len(X))]

    def spread(members: set[int]) -> float:
        rows = X[sorted(members)]
        return float(((rows - rows.mean(axis=0)) ** 2).sum())

    while len(clusters) > n_clusters:
        a, b = min(
            itertools.combinations(clusters, 2),
            key=lambda pair: spread(pair[0] | pair[1]) - spread(pair[0]) - spread(pair[1]),
        )
        clusters = [c for c in clusters if c not in (a, b)] + [a | b]
    return clusters


def partition(clusters: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(clusters == c).tolist()) for c in np.unique(clusters)}


def test_ward_is_the_naive_one():
    X, _, _ = blobs(5, n_each=5, spread=0.6)
    assert partition(ward(X, 4)) == set(map(frozenset, naive_ward(X, 4)))


# -- density ---------------------------------------------------------------------------------------


DENSITY = [hdbscan, pytest.param(hdbscan_bcubed, marks=needs_fast_hdbscan)]


@pytest.mark.parametrize("method", DENSITY)
def test_density_finds_what_lies_apart_and_leaves_nothing_out(method):
    X, truth, labels = blobs(1, n_each=24, spread=0.02)
    X = np.concatenate([X, 0.001 * np.random.default_rng(0).normal(size=(len(X), 60))], axis=1)
    found = method(X, labels, threads=1)
    assert partition(found.clusters) == partition(truth)
    assert found.noise < 0.2
    assert found.min_cluster_size in baselines.SMALLEST_CLUSTERS


@pytest.mark.parametrize("method", DENSITY)
def test_few_or_equal_samples_are_one_cluster(method):
    for X in (np.eye(3), np.zeros((30, 2))):
        labels = np.full(len(X), -1)
        labels[0] = 0
        found = method(X, labels, threads=1)
        assert set(found.clusters.tolist()) == {0}


def test_labels_choose_the_size_and_of_equal_ones_the_largest(monkeypatch):
    X, truth, labels = blobs(2, n_each=40)
    halves = np.arange(len(X)) % 2
    by_size = {5: truth * 2 + halves, 10: truth, 15: truth, 20: truth // 2, 30: np.full(240, -1)}

    class Fixed:
        def __init__(self, min_cluster_size, **options):
            self.size = min_cluster_size

        def fit_predict(self, X):
            return by_size.get(self.size, by_size[30])

    monkeypatch.setattr(baselines, "HDBSCAN", Fixed)
    found = hdbscan(X, labels)
    assert found.min_cluster_size == 15
    np.testing.assert_array_equal(found.clusters, truth)
    assert found.noise == 0


def test_noise_joins_the_cluster_of_its_nearest_members(monkeypatch):
    X = np.array([[0.0], [1], [2], [3], [10], [11], [12], [6.4], [6.6]])
    clusters = np.array([0, 0, 0, 0, 1, 1, 1, -1, -1])

    class Fixed:
        def __init__(self, **options):
            pass

        def fit_predict(self, X):
            return clusters

    monkeypatch.setattr(baselines, "HDBSCAN", Fixed)
    found = hdbscan(X, np.array([0, -1, -1, -1, 1, -1, -1, -1, -1]))
    # Mean distances of 6.4 to the 3 nearest members: 4.4 to (1, 2, 3), 4.6 to (10, 11, 12).
    np.testing.assert_array_equal(found.clusters, [0, 0, 0, 0, 1, 1, 1, 0, 1])
    assert found.noise == pytest.approx(2 / 9)


def test_hdbscan_by_pairs_and_by_a_tree_agree(monkeypatch):
    X, _, labels = blobs(0)
    by_pairs = hdbscan(X, labels)
    monkeypatch.setattr(baselines, "_MOST_IN_PAIRS", 0)
    by_tree = hdbscan(X, labels)
    assert by_pairs.min_cluster_size == by_tree.min_cluster_size
    np.testing.assert_array_equal(by_pairs.clusters, by_tree.clusters)


@needs_fast_hdbscan
def test_bcubed_joins_what_labels_join():
    """Two dense halves of one class, between which labels are the only tie."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [3, 0], [30, 0], [30, 30]])
    truth = np.repeat([0, 0, 1, 2], 40)
    X = centres[np.repeat(np.arange(4), 40)] + 0.2 * rng.normal(size=(160, 2))
    labels = np.where((truth < 2) & (rng.random(160) < 0.5), truth, -1)
    assert len(np.unique(hdbscan_bcubed(X, labels, threads=1).clusters)) == 3


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_hdbscan", None)
    X, _, labels = blobs(0)
    with pytest.raises(InputError, match=r"needs the package fast_hdbscan .*pip install"):
        hdbscan_bcubed(X, labels)
