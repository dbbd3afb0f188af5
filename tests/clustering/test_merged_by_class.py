"""Clusters of one old class that become one, against the rule written out cluster by cluster."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from gcdflow.clustering import search
from gcdflow.clustering.matching import merged_by_class
from gcdflow.clustering.search import cluster_features, n_clusters_over_label_draws
from gcdflow.config.settings import ClusteringSettings
from gcdflow.files.formats import UNLABELLED, Features, PseudoLabels

GRID = ClusteringSettings(k="15", percentile="20", w_mod=0.0, merge_by_class=False)
MERGING = GRID.model_copy(update={"merge_by_class": True})


def naive(clusters: np.ndarray, labels: np.ndarray) -> list[int]:
    """The rule, one cluster after the other."""
    overall = np.mean(labels != UNLABELLED)
    home: dict[int, int] = {}  # class -> its first cluster
    target = {}
    for cluster in sorted(set(clusters.tolist())):
        mine = labels[clusters == cluster]
        known = mine[mine != UNLABELLED].tolist()
        top = max(sorted(set(known)), key=known.count, default=None)
        belongs = top is not None and 2 * known.count(top) > len(known)
        belongs = belongs and len(known) / len(mine) > overall
        target[cluster] = home.setdefault(top, cluster) if belongs else cluster
    order = sorted(set(target.values()))
    return [order.index(target[cluster]) for cluster in clusters.tolist()]


@pytest.mark.parametrize("seed", range(200))
def test_the_rule_written_out(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    clusters = rng.integers(0, rng.integers(1, 12), n) * 3 - 5
    labels = np.where(rng.random(n) < rng.random(), rng.integers(0, 4, n), UNLABELLED)
    found = merged_by_class(clusters, labels)
    assert found.dtype == np.int64
    assert found.tolist() == naive(clusters, labels)


def test_a_merged_cluster_has_the_place_of_its_first_part():
    clusters = np.array([0, 1, 1, 2, 3, 3, 4])
    labels = np.array([-1, 7, -1, -1, 7, -1, -1])
    assert merged_by_class(clusters, labels).tolist() == [0, 1, 1, 2, 1, 1, 3]


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ([7, -1, 8, -1, -1, -1], "other classes"),
        ([7, 8, 7, 8, -1, -1], "no class has more than half of the labelled members"),
        ([7, -1, 7, -1, 7, -1], "as many labelled members as elsewhere"),
        ([-1] * 6, "nothing is labelled"),
        ([7] * 6, "everything is labelled"),
    ],
)
def test_what_stays_apart(labels, why):
    clusters = np.array([0, 0, 1, 1, 2, 2])
    assert merged_by_class(clusters, np.array(labels)).tolist() == clusters.tolist(), why


# -- in the stage ----------------------------------------------------------------------------------


def two_styles() -> Features:
    """Three blobs: two are of the class 0, which has labels, and one of a class that has none."""
    rng = np.random.default_rng(0)
    blob = np.arange(90) // 30
    labels = np.where((blob < 2) & (np.arange(90) % 2 == 0), 0, UNLABELLED)
    return Features(
        indices=np.arange(90),
        features=(5 * np.eye(3)[blob] + rng.normal(0, 0.2, (90, 3))).astype(np.float32),
        labels=labels,
        train_mask=np.arange(90) % 30 != 29,
        metadata={"epoch": 50},
    )


@pytest.fixture(scope="module")
def plain() -> PseudoLabels:
    return cluster_features(two_styles(), GRID, threads=1)[0]


def test_two_styles_of_a_class_are_one_cluster(plain, caplog):
    with caplog.at_level(logging.INFO):
        merged, results = cluster_features(two_styles(), MERGING, threads=1)
    assert plain.n_clusters == 3
    assert merged.labels.tolist() == [0] * 58 + [1] * 29
    assert (merged.metadata["n_clusters"], merged.metadata["n_unmerged"]) == (2, 3)
    assert results["n_clusters"].tolist() == [3]  # the table is of the search
    assert "3 clusters, 2 after those of one old class are merged" in caplog.text


def test_nothing_else_changes(plain):
    merged, _ = cluster_features(two_styles(), MERGING, threads=1)
    assert "n_unmerged" not in plain.metadata
    for name in ("indices", "core_mask", "densities"):
        assert np.array_equal(getattr(merged, name), getattr(plain, name))
    assert merged.best_params == plain.best_params
    assert merged.metadata["score"] == plain.metadata["score"]


def test_neighbours_are_those_of_merged_clusters():
    """Of a part of 9 samples, most of the 10 nearest core points lie beyond it."""
    features = two_styles()
    left = (np.arange(90) < 9) | (np.arange(90) >= 30)
    fewer = replace(features, train_mask=features.train_mask & left)
    parted = cluster_features(fewer, GRID, threads=1)[0]
    merged = cluster_features(fewer, MERGING, threads=1)[0]
    assert (parted.n_clusters, merged.n_clusters) == (3, 2)
    in_part, in_both = ((pseudo.neighbours[:9] >= 0).sum(axis=1) for pseudo in (parted, merged))
    assert (in_part < 9).all()
    assert (in_both > in_part).any()
    assert np.array_equal(merged.neighbours[9:], parted.neighbours[9:])


def test_it_is_saved(plain, tmp_path):
    merged, _ = cluster_features(two_styles(), MERGING, threads=1)
    merged.save(tmp_path / "p.npz")
    assert PseudoLabels.load(tmp_path / "p.npz").metadata["n_unmerged"] == 3


def test_draws_of_labels_count_merged_clusters():
    assert n_clusters_over_label_draws(two_styles(), GRID, 2, threads=1) == [3, 3]
    assert n_clusters_over_label_draws(two_styles(), MERGING, 2, threads=1) == [2, 2]


def test_draws_of_no_labels_take_one_search(monkeypatch):
    searches, fit = [], search.SSDDBCGridSearch.fit

    def counted(self, X, y):
        searches.append(y)
        return fit(self, X, y)

    monkeypatch.setattr(search.SSDDBCGridSearch, "fit", counted)
    unlabelled = replace(two_styles(), labels=np.full(90, UNLABELLED))
    assert n_clusters_over_label_draws(unlabelled, MERGING, 4, threads=1) == [3, 3, 3, 3]
    assert len(searches) == 1


def test_a_search_without_labels_merges_nothing():
    unlabelled = replace(two_styles(), labels=np.full(90, UNLABELLED))
    pseudo, _ = search.cluster_features(unlabelled, MERGING, threads=1)
    assert pseudo.n_clusters == 3
