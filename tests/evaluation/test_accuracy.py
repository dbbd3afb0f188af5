"""Accuracies and matchings against brute force over all assignments, and known results."""

import itertools

import numpy as np
import pytest
from gcdflow.clustering.matching import label_change_rate, optimal_matching
from gcdflow.evaluation.accuracy import clustering_accuracy
from hypothesis import given, settings
from hypothesis import strategies as st

KEYS = ["all", "old", "new", "all_v1", "old_v1", "new_v1"]


@st.composite
def labelled_samples(draw, max_size=12):
    """Clusters, classes (ids with gaps) and the old mask, which depends on the class."""
    n = draw(st.integers(0, max_size))
    cluster_ids = draw(st.lists(st.integers(-3, 50), min_size=4, max_size=4, unique=True))
    class_ids = draw(st.lists(st.integers(0, 90), min_size=4, max_size=4, unique=True))
    clusters = np.array([draw(st.sampled_from(cluster_ids)) for _ in range(n)], dtype=np.int64)
    truth = np.array([draw(st.sampled_from(class_ids)) for _ in range(n)], dtype=np.int64)
    return clusters, truth, np.isin(truth, class_ids[:2])


def all_matchings(a, b):
    """Every one-to-one assignment of the ids in ``a`` to ids in ``b`` or to none."""
    ids_a, ids_b = sorted(set(a.tolist())), sorted(set(b.tolist()))
    partners = ids_b + [None] * len(ids_a)
    for chosen in set(itertools.permutations(partners, len(ids_a))):
        yield dict(zip(ids_a, chosen, strict=True))


def hits_of(matching, a, b):
    return np.array([matching[x] == y for x, y in zip(a.tolist(), b.tolist(), strict=True)], bool)


def brute_force_accuracy(clusters, truth, old):
    def mean(hits):
        return float(hits.mean()) if hits.size else None

    best = max(
        (hits_of(m, clusters, truth) for m in all_matchings(clusters, truth)),
        key=lambda hits: (hits.sum(), hits[old].sum()),
    )
    result = {"all": mean(best), "old": mean(best[old]), "new": mean(best[~old])}
    sums = 0
    for name, mask in (("old_v1", old), ("new_v1", ~old)):
        a, b = clusters[mask], truth[mask]
        most = max(hits_of(m, a, b).sum() for m in all_matchings(a, b))
        result[name] = most / mask.sum() if mask.any() else None
        sums += most
    result["all_v1"] = sums / old.size if old.size else None
    return result


@settings(max_examples=40, deadline=None)
@given(labelled_samples())
def test_accuracy_equals_brute_force(samples):
    assert clustering_accuracy(*samples) == pytest.approx(brute_force_accuracy(*samples))


@settings(max_examples=100, deadline=None)
@given(labelled_samples(max_size=60), st.randoms(use_true_random=False))
def test_accuracy_ignores_the_numbering_and_the_order(samples, random):
    clusters, truth, old = samples
    ids = np.unique(clusters)
    renumbering = dict(zip(ids.tolist(), random.sample(range(100), ids.size), strict=True))
    renumbered = np.array([renumbering[c] for c in clusters.tolist()], dtype=np.int64)
    order = np.array(random.sample(range(old.size), old.size), dtype=np.int64)
    expected = clustering_accuracy(clusters, truth, old)
    assert clustering_accuracy(renumbered[order], truth[order], old[order]) == expected


@settings(max_examples=100, deadline=None)
@given(labelled_samples(max_size=60))
def test_accuracy_bounds(samples):
    result = clustering_accuracy(*samples)
    clusters, truth, old = samples
    assert list(result) == KEYS
    for key in KEYS:
        present = {"all": old.size, "old": old.sum(), "new": (~old).sum()}[key.split("_")[0]]
        assert (result[key] is not None) == (present > 0)
        assert result[key] is None or 0 <= result[key] <= 1
    for key in ("all", "old", "new"):
        if result[key] is not None:
            assert result[f"{key}_v1"] >= result[key]
    if old.size:
        # One cluster for the most frequent class is always a possible matching.
        assert result["all"] >= max(
            (clusters[truth == c] == k).sum() / old.size for c in truth for k in clusters
        )
    assert clustering_accuracy(truth, truth, old) == {
        key: None if result[key] is None else 1.0 for key in KEYS
    }


def test_accuracies_v1_and_v2_differ_as_defined():
    # Cluster 7 holds all of old class 0 and most of new class 9. A single matching must choose.
    clusters = np.array([7, 7, 7, 7, 7, 7, 7, 2])
    truth = np.array([0, 0, 0, 0, 9, 9, 9, 9])
    result = clustering_accuracy(clusters, truth, truth == 0)
    assert result == {
        "all": 5 / 8,
        "old": 1.0,
        "new": 1 / 4,
        "all_v1": 7 / 8,
        "old_v1": 1.0,
        "new_v1": 3 / 4,
    }


def test_one_cluster_for_all_and_one_cluster_for_each():
    truth = np.repeat([3, 5, 8], 4)
    old = truth < 8
    single = clustering_accuracy(np.zeros(12, int), truth, old)
    assert (single["all"], single["old"], single["new"]) == (4 / 12, 4 / 8, 0.0)
    shattered = clustering_accuracy(np.arange(12), truth, old)
    assert (shattered["all"], shattered["old"], shattered["new"]) == (3 / 12, 2 / 8, 1 / 4)


def test_ties_go_to_the_matching_with_most_old_hits():
    clusters, truth = np.array([0, 0]), np.array([1, 2])
    for old_class in truth:
        result = clustering_accuracy(clusters, truth, truth == old_class)
        assert (result["all"], result["old"], result["new"]) == (0.5, 1.0, 0.0)


def test_accuracy_without_samples_is_none():
    empty = np.empty(0, int)
    assert clustering_accuracy(empty, empty, empty.astype(bool)) == dict.fromkeys(KEYS)


def test_accuracies_are_plain_floats():
    result = clustering_accuracy(np.array([0, 1]), np.array([0, 1]), np.array([True, False]))
    assert {type(value) for value in result.values()} == {float}


@settings(max_examples=40, deadline=None)
@given(labelled_samples())
def test_matching_and_change_rate_equal_brute_force(samples):
    a, b, _ = samples
    matching = optimal_matching(a, b)
    assert len(set(matching.values())) == len(matching)
    assert all(((a == x) & (b == y)).any() for x, y in matching.items())
    hits = hits_of({**dict.fromkeys(a.tolist()), **matching}, a, b)
    most = max(hits_of(m, a, b).sum() for m in all_matchings(a, b))
    assert hits.sum() == most
    assert label_change_rate(a, b) == pytest.approx(1 - most / a.size if a.size else 0)
    assert label_change_rate(b, a) == pytest.approx(label_change_rate(a, b))


def test_matching_omits_ids_without_a_partner():
    a, b = np.array([4, 4, 4, 6, 9]), np.array([1, 1, 0, 0, 0])
    assert optimal_matching(a, b) in ({4: 1, 6: 0}, {4: 1, 9: 0})
    assert optimal_matching(np.empty(0, int), np.empty(0, int)) == {}


def test_matching_prefers_the_largest_total_over_the_largest_pair():
    a = np.repeat([0, 0, 1], [5, 4, 4])
    b = np.repeat([0, 1, 0], [5, 4, 4])
    assert optimal_matching(a, b) == {0: 1, 1: 0}


def test_renumbered_labels_did_not_change():
    labels = np.array([0, 0, 1, 2, 2])
    assert label_change_rate(np.array([5, 3, 8])[labels], labels) == 0


def test_samples_of_a_split_cluster_changed():
    assert label_change_rate(np.array([0, 0, 0, 1]), np.array([2, 2, 2, 2])) == 1 / 4
