"""Modularity: the third part of the score."""

from __future__ import annotations

import numpy as np
import pytest
from gcdflow.ssddbc import SSDDBCGridSearch
from gcdflow.ssddbc._lists import Search, neighbour_lists
from gcdflow.ssddbc._modularity import RESOLUTION, modularity
from gcdflow.ssddbc._samples import make_samples
from gcdflow.ssddbc._search import nearest_samples
from gcdflow.ssddbc._workers import Workers

from ssddbc import reference


def links_of(X: np.ndarray, k: int = 10) -> np.ndarray:
    with Workers(1) as workers:
        samples = make_samples(X, workers)
        points = samples.points
        lists = neighbour_lists(Search.of_all(points, np.arange(len(points)), workers), k + 12)
    return nearest_samples(samples, lists, np.ones(len(X), dtype=bool), k)[0]


def points(n: int, n_distinct: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    return rng.normal(size=(n_distinct, 3))[rng.integers(n_distinct, size=n)]


@pytest.mark.parametrize("n_distinct", [10_000, 60, 12])  # none, a few and many copies of a row
def test_each_sample_is_linked_to_its_nearest_ones_also_among_equal_rows(n_distinct):
    X = points(150, n_distinct)
    dist = reference.distances(X)
    expected = reference.nearest(dist, 10)
    np.testing.assert_array_equal(np.sort(links_of(X)), np.sort(expected))


@pytest.mark.parametrize(
    ("n", "n_distinct"), [(150, 10_000), (150, 60), (2, 10), (5, 10), (11, 100), (9, 3)]
)
def test_modularity_is_that_of_the_definition(n, n_distinct):
    X = points(n, n_distinct)
    links = links_of(X, min(10, n - 1))
    for n_clusters in (1, 2, 9, n):
        labels = np.random.default_rng(n_clusters).integers(n_clusters, size=n)
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int32)
        expected = reference.modularity(reference.distances(X), labels)
        assert modularity(labels, links) == pytest.approx(expected, abs=1e-12)
    assert modularity(np.zeros(n, np.int32), links) == 1 - RESOLUTION


def test_true_groups_have_the_highest_modularity():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6, dtype=np.int32), 40)
    links = links_of(rng.normal(size=(240, 4)) + 6 * rng.normal(size=(6, 4))[groups])
    halves = 2 * groups + rng.integers(2, size=240, dtype=np.int32)
    assert modularity(groups, links) > modularity(groups // 2, links)
    assert modularity(groups, links) > modularity(halves, links)


def test_fewer_neighbours_in_the_grid_than_links():
    """The lists that configurations share are long enough for the links, too.

    The 2 nearest neighbours of each row are certain. All others are equally far away.
    """
    X, rows = np.zeros((300, 103)), np.arange(300)
    X[rows, rows // 3] = 1
    X[rows, 100 + rows % 3] = 0.1
    table = SSDDBCGridSearch([2], [90], normalize=False).fit(X).results_
    expected = reference.fit_configuration(X, None, 2, 90)
    assert table["modularity"][0] == pytest.approx(expected.modularity, abs=1e-12)


def test_modularity_chooses_two_groups_that_the_silhouette_would_leave_together():
    """Two groups that are near each other, and far from all others."""
    rng = np.random.default_rng(2)
    centres = np.array([[0, 0], [3, 0], [60, 0], [0, 60], [60, 60]])
    groups = np.repeat(np.arange(5), 80)
    X = rng.normal(size=(400, 2)) * 0.6 + centres[groups]
    grid = {"k": [5, 15], "density_percentile": range(0, 100, 20), "normalize": False}
    for w_mod, expected in ((0.0, 4), (3.0, 5)):
        assert SSDDBCGridSearch(**grid, w_mod=w_mod).fit(X).n_clusters_ == expected
