"""Equal rows: results are those of the definition, and the work is that of the distinct rows."""

import numpy as np
import pytest
from gcdflow.ssddbc import SSDDBCGridSearch, _lists, _scores, assign_to_clusters, core_neighbours
from gcdflow.ssddbc._search import Workers, make_samples

from ssddbc.reference import mean_of_nearest
from ssddbc.test_properties import assert_equals_reference


def distinct(g, d=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(g, d)) + 4 * np.eye(5, d)[rng.integers(5, size=g)]).astype(np.float32)


def copied(rows, sizes, seed=0):
    """Each row as often as its size says, in any order."""
    at = np.repeat(np.arange(len(rows)), sizes)
    return rows[np.random.default_rng(seed).permutation(at)]


@pytest.mark.parametrize("labelled", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "sizes", [[300], [150, 100, 50, 1, 1, 1], [60, *[1] * 200], [3] * 80, [40] * 6]
)
def test_many_copies_against_the_reference(sizes, labelled):
    """Copies with different labels end in different clusters, also those of one row."""
    X = copied(distinct(len(sizes)), sizes)
    rng = np.random.default_rng(1)
    y = np.where(rng.random(len(X)) < labelled, rng.integers(3, size=len(X)), -1)
    assert_equals_reference(X, y, ks=(1, 4, 9), percentiles=(0, 50, 85))


def test_zeros_of_both_signs_are_equal():
    X = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 0.0], [2.0, -0.0], [5.0, 5.0]])
    with Workers() as workers:
        samples = make_samples(X, workers)
    assert samples.row_of.tolist() == [0, 0, 1, 1, 2]
    assert_equals_reference(X, None)


def test_different_rows_whose_distance_underflows():
    """The squares of these differences are zero, so other rows are as near as copies are."""
    X = np.zeros((40, 3))
    X[:, 0] = np.arange(40) % 4 * 1e-170
    X[20:, 1] = 1.0
    assert_equals_reference(X, np.where(np.arange(40) % 3, -1, np.arange(40) % 2))
    X = np.zeros((40, 3))
    X[:, 0] = np.random.default_rng(17).integers(6, size=40) * 1e-200
    assert_equals_reference(X, None, ks=(1,), percentiles=(85,))


class Work:
    """Counts distances: exact ones in lists, and those of silhouettes."""

    def __init__(self, monkeypatch):
        self.exact = self.silhouettes = 0
        exact, tile = _lists.kernels.exact_distances, _scores.kernels.tile_distances

        def count_exact(queries, rows, ids, counts, dist):
            self.exact += int(counts.sum())
            exact(queries, rows, ids, counts, dist)

        def count_tile(products, *others):
            self.silhouettes += products.size
            return tile(products, *others)

        monkeypatch.setattr(_lists.kernels, "exact_distances", count_exact)
        monkeypatch.setattr(_scores.kernels, "tile_distances", count_tile)

    def of(self, X):
        self.exact = self.silhouettes = 0
        SSDDBCGridSearch(k=[3, 10], density_percentile=[40, 60, 80]).fit(X)
        return self.exact, self.silhouettes


def test_copies_cost_about_as_much_as_distinct_rows(monkeypatch):
    """More than the shared lists is rarely needed, and not always equally often."""
    work, rows = Work(monkeypatch), distinct(1200)
    exact, silhouettes = work.of(rows)
    for X in (rows[:300][np.arange(1200) % 300], copied(rows[:601], [600, *[1] * 600])):
        assert len(X) == len(rows)
        exact_of_copies, silhouettes_of_copies = work.of(X)
        assert 0 < exact_of_copies <= 1.25 * exact
        assert 0 < silhouettes_of_copies <= silhouettes
    assert work.of(np.repeat(rows[:1], 1200, axis=0))[0] == 0  # there is nothing to compare


def test_new_samples_among_copies():
    core = copied(distinct(8), [50] * 8)
    labels = np.random.default_rng(0).permutation(np.arange(len(core)) % 4)
    X = distinct(30, seed=3)
    found, means = assign_to_clusters(X, core, labels)
    dist = np.linalg.norm(X[:, None].astype(float) - core[None].astype(float), axis=2)
    expected = np.array([[mean_of_nearest(row[labels == c]) for c in range(4)] for row in dist])
    np.testing.assert_allclose(means, expected.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(expected[np.arange(30), found], expected.min(axis=1), rtol=1e-12)


def test_core_neighbours_among_copies():
    """Of equal rows, some may be core points and others not."""
    X = copied(distinct(6), [9] * 6)
    rng = np.random.default_rng(0)
    core, labels = rng.random(len(X)) < 0.6, rng.integers(2, size=len(X))
    found = core_neighbours(X, core, labels, n_neighbors=12, normalize=False)
    for i, row in enumerate(X.astype(float)):
        away = np.linalg.norm(X.astype(float) - row, axis=1)
        others = [j for j in np.argsort(away, kind="stable") if core[j] and j != i][:12]
        mine = [j for j in others if labels[j] == labels[i]]
        assert found[i].tolist() == mine + [-1] * (12 - len(mine))
