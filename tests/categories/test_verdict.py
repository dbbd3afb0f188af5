"""One line says whether categories go with the labels, and what to do if not."""

from __future__ import annotations

import numpy as np
from gcdflow.categories.assignments import Assignments
from gcdflow.categories.verdict import is_poor, verdict


def run(*groups: tuple[int, str, int, str]) -> Assignments:
    """Assignments of groups of samples: (number, label, cluster, category of the cluster)."""
    rows = [group[1:] for group in groups for _ in range(group[0])]
    labels, clusters, found = zip(*rows, strict=True)
    n = len(rows)
    own = [label or name for label, name in zip(labels, found, strict=True)]
    return Assignments(
        paths=[f"{i}.jpg" for i in range(n)],
        categories=own,
        confidences=np.ones(n),
        core_mask=np.ones(n, dtype=bool),
        labels=list(labels),
        suggested=["" if a == b else b for a, b in zip(own, found, strict=True)],
        train_mask=np.ones(n, dtype=bool),
        clusters=np.array(clusters),
    )


GOOD = [
    (40, "robin", 0, "robin"),
    (60, "", 0, "robin"),
    (30, "wren", 1, "wren"),
    (80, "", 1, "wren"),
    (90, "", 2, "new-1"),
]


def test_a_good_run_alarms_nobody():
    assert verdict(run(*GOOD)) == "the clusters agree with 70 of your 70 labels"
    strays = run(*GOOD, (3, "wren", 0, "robin"), (4, "robin", 2, "new-1"))
    assert verdict(strays) == "the clusters agree with 70 of your 77 labels"
    assert not is_poor(strays)
    one = run((1, "robin", 0, "robin"), (5, "", 0, "robin"))
    assert verdict(one) == "the clusters agree with 1 of your 1 label"


def test_several_clusters_of_one_class_and_many_new_ones_are_no_problem():
    parts = run(*GOOD, (9, "robin", 3, "robin"), (20, "", 4, "new-2"), (1, "", 5, "new-3"))
    assert not is_poor(parts)


def test_nothing_is_said_without_labels():
    assert verdict(run((9, "", 0, "new-1"))) == ""
    assert not is_poor(run((9, "", 0, "new-1")))


def test_a_collapse_is_said_first_and_without_labels():
    alike = run((9, "", 0, "new-1"))
    assert verdict(alike, 0.98) == ""
    assert verdict(alike, 0.99999).startswith("the representation has collapsed: ")
    assert is_poor(alike, 0.99999)
    both = verdict(run((50, "a", 0, "a"), (50, "b", 0, "a")), 0.99999)
    assert both.startswith("the representation has collapsed: ")
    assert "; 50 of your 100 labels are contradicted: " in both
    assert verdict(run(*GOOD), 0.98) == verdict(run(*GOOD))


def test_contradicted_labels_are_counted_by_class():
    found = run(
        *GOOD, (12, "wren", 0, "robin"), (9, "gull", 1, "wren"), (9, "crow", 1, "wren"),
        (1, "tit", 1, "wren"), (60, "", 3, "new-2"),
        (60, "", 4, "new-3"),
    )  # fmt: skip
    assert is_poor(found)
    assert verdict(found) == (
        "31 of your 101 labels are contradicted: label more pictures of wren (12), crow (9), "
        "gull (9), …, or train (longer)"
    )


def test_a_tenth_may_be_contradicted():
    assert not is_poor(run((90, "a", 0, "a"), (10, "b", 0, "a"), (9, "", 1, "new-1")))
    assert is_poor(run((89, "a", 0, "a"), (11, "b", 0, "a"), (9, "", 1, "new-1")))


def test_fewer_clusters_than_classes():
    found = run((50, "a", 0, "a"), (50, "b", 1, "b"), (2, "c", 1, "b"), (9, "", 1, "b"))
    assert verdict(found) == ("2 clusters for 3 classes of yours: some of them are not told apart")


def test_a_discovered_category_with_many_labels_is_mixed():
    groups = [*GOOD, (200, "robin", 0, "robin")]
    mixed = run(*groups, (4, "robin", 3, "new-2"), (3, "wren", 3, "new-2"), (21, "", 3, "new-2"))
    assert verdict(mixed) == (
        "new-2 is mixed, because it holds pictures that you call robin (4), wren (3)"
    )
    large = run(*groups, (4, "robin", 3, "new-2"), (3, "wren", 3, "new-2"), (22, "", 3, "new-2"))
    assert not is_poor(large), "a few strays in a large cluster"
    few = run(*groups, (4, "robin", 3, "new-2"))
    assert not is_poor(few)
