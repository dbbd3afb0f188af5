"""Step 4 on random graphs against the literal definition, with more collisions than in features."""

import numpy as np
import pytest
from gcdflow.ssddbc import _backbone
from hypothesis import given, settings
from hypothesis import strategies as st

from ssddbc import reference


def grow(edges, rho, y):
    """Grow clusters with the compiled kernel; the graph is a list of target lists."""
    width = max([len(targets) for targets in edges] + [1])
    table = np.zeros((len(edges), width), dtype=np.int32)
    for i, targets in enumerate(edges):
        table[i, : len(targets)] = targets
    counts = np.array([len(targets) for targets in edges], dtype=np.int32)
    return _backbone.grow(table, counts, rho, y)


def expected(edges, rho, y):
    core = np.ones(len(edges), dtype=bool)
    clusters, events = reference.grow([np.array(e, int) for e in edges], rho, core, y)
    return reference.label_array(clusters, len(edges)), len(clusters), events


def random_graph(rng, m):
    """Groups of mostly one class, unlabelled points, edges between groups, tied densities."""
    degree, n_classes = rng.integers(2, 6), rng.integers(2, 4)
    groups = rng.integers(1 + m // rng.choice([8, 15, 30]), size=m)
    astray = rng.choice([0.05, 0.1, 0.2])
    edges = []
    for i in range(m):
        own = np.flatnonzero(groups == groups[i])
        targets = [
            int(rng.integers(m) if rng.random() < astray else rng.choice(own))
            for _ in range(rng.integers(1, degree + 1))
        ]
        edges.append([j for j in dict.fromkeys(targets) if j != i])
    y = np.where(rng.random(m) < rng.choice([0.35, 0.5, 0.7]), groups % n_classes, -1)
    wrong = rng.random(m) < 0.03
    y[wrong] = rng.integers(n_classes, size=wrong.sum())
    return edges, rng.choice(rng.random(1 + m // 2), size=m), y


@settings(deadline=None, max_examples=120, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.integers(2, 150))
def test_random_graphs(seed, m):
    graph = random_graph(np.random.default_rng(seed), m)
    labels, n, _ = expected(*graph)
    found, n_found = grow(*graph)
    assert n_found == n
    np.testing.assert_array_equal(found, labels)


def test_random_graphs_do_move_reject_and_merge():
    """The test above is useful only if all kinds of events occur."""
    total = dict.fromkeys(("merge", "move", "reject", "sample_skip"), 0)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        events = expected(*random_graph(rng, int(rng.integers(50, 150))))[2]
        for event in total:
            total[event] += events[event]
    assert min(total.values()) > 20, total


def _two_bands():
    """Two labelled chains 0-4 (class 0) and 5-9 (class 1), with point 10 between them."""
    edges = [[1], [2], [3], [4], [3], [6], [7], [8], [9], [8], []]
    y = np.array([0] * 5 + [1] * 5 + [-1])
    return edges, y


@pytest.mark.parametrize(("rho_last", "moved"), [(0.1, True), (0.95, False)])
def test_the_denser_end_of_an_edge_decides_about_a_move(rho_last, moved):
    edges, y = _two_bands()
    edges[0] = [1, 10]  # the first band takes point 10
    edges[9] = [8, 10]  # the second competes for it
    rho = np.array([0.9, 0.89, 0.88, 0.87, 0.86, 0.79, 0.78, 0.77, 0.76, 0.75, rho_last])
    # point 10 must not open its own cluster first: it is below the seeds of both bands, or joins
    rho[0] = 0.99
    labels, n = grow(edges, rho, y)
    reference_labels, reference_n, events = expected(edges, rho, y)
    np.testing.assert_array_equal(labels, reference_labels)
    assert n == reference_n == 2
    assert (events["move"], events["reject"]) == ((1, 0) if moved else (0, 1))
    assert labels[10] == (labels[5] if moved else labels[0])


def test_category_needs_five_members_a_quarter_labelled_and_four_fifths_of_one_label():
    y = np.array([0, 0, 0, 0, 1, -1, -1, -1])
    assert reference.category({0, 1, 2, 3}, y) is None  # four members
    assert reference.category({0, 1, 2, 3, 5}, y) == 0
    assert reference.category({0, 1, 2, 3, 4}, y) == 0  # exactly four fifths
    assert reference.category({0, 1, 2, 4, 5}, y) is None  # three quarters
    assert reference.category({0, 5, 6, 7}, y) is None
    y = np.array([0, -1, -1, -1, -1, -1, -1, 0])
    assert reference.category(set(range(8)), y) is None  # exactly a quarter labelled
    assert reference.category({0, 1, 2, 3, 4, 5, 7}, y) == 0


def test_labels_forbid_an_edge():
    labels, n = grow([[1], [0], [0]], np.array([3.0, 2.0, 1.0]), np.array([0, 1, -1]))
    assert n == 2
    assert labels.tolist() == [1, 0, 1] or labels.tolist() == [0, 1, 0]
