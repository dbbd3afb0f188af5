"""Approximate neighbours: what is found, what that costs, and what is estimated."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import (
    SSDDBC,
    SSDDBCGridSearch,
    _lists,
    _recall,
    _scores,
    choose_neighbours,
    core_neighbours,
    estimate_resources,
)
from gcdflow.ssddbc import _search as search
from gcdflow.ssddbc._search import Workers, make_samples
from sklearn.metrics import adjusted_rand_score

pytest.importorskip("faiss")

KS, PERCENTILES = (3, 8), (40, 70, 90)


def groups(n=3000, d=12, seed=0):
    """Ten overlapping groups, some samples labelled."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(10, size=n)
    X = rng.normal(size=(n, d)) + 2.5 * rng.normal(size=(10, d))[classes]
    return X, np.where(rng.random(n) < 0.2, classes, -1).astype(np.int32)


def approximate(X, workers, reach=None):
    """Samples with cells; ``reach`` replaces the one that was found."""
    samples = search.approximate(make_samples(X, workers), KS, workers)
    points = samples.points
    if reach is not None:
        points = replace(points, cells=replace(points.cells, reach=reach))
    return replace(samples, points=points)


@pytest.mark.parametrize("copies", [False, True])
def test_queries_that_look_into_all_cells_find_what_is_exact(copies):
    X, y = groups(900)
    if copies:
        X[300:600] = X[np.arange(300) % 7]
    with Workers(2) as workers:
        samples = approximate(X, workers, reach=np.inf)
        assert len(samples.points.cells.centroids) > 10
        found = search.cluster_grid(samples, y, KS, PERCENTILES, workers)
        scores = search.score_grid(samples, found, y, workers)
        samples = make_samples(X, workers)
        expected = search.cluster_grid(samples, y, KS, PERCENTILES, workers)
        expected_scores = search.score_grid(samples, expected, y, workers)
    assert found.recall == 1.0
    assert expected.recall is None
    np.testing.assert_array_equal(found.labels, expected.labels)
    for one, other in zip(found.cells, expected.cells, strict=True):
        np.testing.assert_array_equal(one.core, other.core)
        np.testing.assert_array_equal(one.density.rho, other.density.rho)
    np.testing.assert_array_equal(scores.total(1, 3, 3), expected_scores.total(1, 3, 3))


@pytest.mark.parametrize("reach", [0.01, 3.0, np.inf])
def test_recall_is_the_share_of_exact_neighbours_in_the_lists(reach):
    X, _ = groups(_recall.SAMPLED)  # so that the sample holds every point
    k, everyone = 8, np.arange(len(X))
    with Workers(1) as workers:
        points = approximate(X, workers, reach=reach).points
        lists = _lists.neighbour_lists(_lists.Search.of_all(points, everyone, workers), k)
        recall = _recall.recall(points, lists, k, workers)
    away = np.linalg.norm(X[:, None] - X[None], axis=2)
    np.fill_diagonal(away, np.inf)
    nearest = np.argsort(away, axis=1, kind="stable")[:, :k]
    shares = [np.isin(nearest[i], lists.ids[i]).mean() for i in everyone]
    assert recall == pytest.approx(np.mean(shares))
    assert (recall < 1) == (reach < np.inf)


def test_distances_are_exact_and_in_order():
    X, _ = groups(1500)
    everyone = np.arange(len(X))
    with Workers(2) as workers:
        points = approximate(X, workers).points
        lists = _lists.neighbour_lists(_lists.Search.of_all(points, everyone, workers), 20)
    away = np.linalg.norm(X[lists.ids] - X[:, None], axis=2)
    np.testing.assert_allclose(lists.dist, away, rtol=1e-12)
    assert (np.diff(lists.dist, axis=1) >= 0).all()
    assert (lists.ids != everyone[:, None]).all()


@pytest.mark.parametrize("reach", [0.01, np.inf])
def test_a_list_tells_whether_it_holds_all_columns(reach):
    X, _ = groups(400)
    everyone = np.arange(len(X))
    with Workers(1) as workers:
        points = approximate(X, workers, reach=reach).points
        some, all_others = (
            _lists.neighbour_lists(_lists.Search.of_all(points, columns, workers), 20)
            for columns in (everyone, np.arange(0, 400, 25))
        )
    assert (some.radius == np.nextafter(some.dist[everyone, some.valid - 1], np.inf)).all()
    assert np.isinf(all_others.radius).all()


def test_approximate_clusters_are_nearly_the_exact_ones():
    X, y = groups()
    exact, found = (
        SSDDBCGridSearch(KS, PERCENTILES, neighbours=neighbours, n_jobs=2).fit(X, y)
        for neighbours in ("exact", "approximate")
    )
    assert (exact.neighbours_, exact.recall_) == ("exact", None)
    assert found.neighbours_ == "approximate"
    assert 0.98 <= found.recall_ <= 1
    assert found.best_params_ == exact.best_params_
    assert adjusted_rand_score(exact.labels_, found.labels_) > 0.98
    other = SSDDBCGridSearch(KS, PERCENTILES, neighbours="approximate", n_jobs=1).fit(X, y)
    np.testing.assert_array_equal(found.labels_, other.labels_)


def test_one_configuration_and_core_neighbours():
    X, y = groups()
    exact, found = (
        SSDDBC(8, 60, neighbours=neighbours).fit(X, y) for neighbours in ("exact", "approximate")
    )
    assert found.recall_ >= 0.98
    assert adjusted_rand_score(exact.labels_, found.labels_) > 0.98
    core, labels = exact.core_sample_mask_, exact.labels_
    near, near_too = (
        core_neighbours(X, core, labels, y, neighbours=neighbours)
        for neighbours in ("exact", "approximate")
    )
    assert (near == near_too).all(axis=1).mean() > 0.9


def flat_groups(n=3000, d=160, seed=0):
    """Groups whose points vary a lot in 20 directions, and little in all others."""
    X, y = groups(n, 20, seed)
    rng = np.random.default_rng(seed)
    whole = np.hstack([X, 0.05 * rng.normal(size=(n, d - 20))])
    return 7.0 + whole @ np.linalg.qr(rng.normal(size=(d, d)))[0], y


def test_sketches_are_short_where_few_directions_matter():
    X, y = flat_groups()
    everyone = np.arange(len(X))
    with Workers(2) as workers:
        points = approximate(X, workers).points
        sketches = points.cells.sketches
        lists = _lists.neighbour_lists(_lists.Search.of_all(points, everyone, workers), 20)
        recall = _recall.recall(points, lists, 20, workers)
        strangers = points.embed(X[:50] + 0.01, workers)
        nobody = np.full(50, -1)
        search = _lists.Search(strangers, nobody, points, everyone, workers)
        of_strangers = _lists.neighbour_lists(search, 20)
    assert sketches.rows.shape == (len(X), 32)
    np.testing.assert_allclose(sketches.axes.T @ sketches.axes, np.eye(32), atol=1e-5)
    np.testing.assert_allclose(sketches.of(points.work[:9]), sketches.rows[:9], atol=1e-6)
    assert recall > 0.98
    away = np.linalg.norm(X[lists.ids] - X[:, None], axis=2)
    np.testing.assert_allclose(lists.dist, away, rtol=1e-9)
    assert (np.diff(lists.dist, axis=1) >= 0).all()
    assert (lists.ids != everyone[:, None]).all()
    assert (of_strangers.ids[:, 0] == everyone[:50]).all()
    exact, found = (
        SSDDBCGridSearch(KS, PERCENTILES, neighbours=neighbours, n_jobs=1).fit(X, y)
        for neighbours in ("exact", "approximate")
    )
    assert found.best_params_ == exact.best_params_
    assert adjusted_rand_score(exact.labels_, found.labels_) > 0.98
    other = SSDDBCGridSearch(KS, PERCENTILES, neighbours="approximate", n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(found.labels_, other.labels_)


@pytest.mark.parametrize("n", [2, 30, 150, 3000])
def test_sketches_are_whole_rows_where_every_direction_matters_or_points_are_few(n):
    X = np.random.default_rng(0).normal(size=(n, 64))
    with Workers(1) as workers:
        points = approximate(X, workers).points
    assert points.cells.sketches.axes is None
    assert points.cells.sketches.rows is points.work


def test_the_work_grows_little_faster_than_the_number_of_points(monkeypatch):
    """Distances that are computed, in lists, fallbacks and silhouettes: counted, not timed."""
    monkeypatch.setattr(_scores, "DRAWN_SILHOUETTES", 256)
    counted = {"products": 0, "whole": 0, "silhouettes": 0}
    scan, whole = _lists.kernels.scan_tile, _lists.whole_lists
    tile = _scores.kernels.tile_distances

    def count_products(products, *others):
        counted["products"] += products.size
        scan(products, *others)

    def count_whole(queries, own, points, columns):
        counted["whole"] += len(queries) * len(columns)
        return whole(queries, own, points, columns)

    def count_silhouettes(products, *others):
        counted["silhouettes"] += products.size
        return tile(products, *others)

    monkeypatch.setattr(_lists.kernels, "scan_tile", count_products)
    monkeypatch.setattr(_lists, "whole_lists", count_whole)
    monkeypatch.setattr(_scores.kernels, "tile_distances", count_silhouettes)
    work = []
    for n in (4000, 8000):
        X, y = groups(n)
        for name in counted:
            counted[name] = 0
        SSDDBCGridSearch(KS, PERCENTILES, neighbours="approximate", n_jobs=2).fit(X, y)
        work.append(dict(counted))
        assert counted["silhouettes"] == 256 * n
        assert counted["whole"] < 100 * n
    assert work[1]["products"] < 3 * work[0]["products"]  # 4, if it grew with the square


def test_a_point_that_is_far_from_all_cores_gets_a_cluster():
    """Where no list of an approximate search holds a core point of the configuration."""
    X, y = groups()
    X[:200] = 60 + 30 * np.random.default_rng(0).normal(size=(200, X.shape[1]))
    found = SSDDBC(8, 95, normalize=False, neighbours="approximate").fit(X, y)
    exact = SSDDBC(8, 95, normalize=False, neighbours="exact").fit(X, y)
    assert found.labels_.min() == 0
    assert adjusted_rand_score(exact.labels_, found.labels_) > 0.95


# -- silhouettes of a sample -----------------------------------------------------------------------


def silhouettes(draw, monkeypatch, drawn=400, seed=0):
    """Means and errors for labelings of different quality, in an order by group."""
    monkeypatch.setattr(_scores, "DRAWN_SILHOUETTES", drawn)
    X, _ = groups(3000, seed=seed)
    rng = np.random.default_rng(seed)
    near = np.argmin(np.linalg.norm(X[:, None] - X[None, :12], axis=2), axis=1)
    noise = [
        np.where(rng.random(len(X)) < p, rng.integers(12, size=len(X)), near)
        for p in (0.0, 0.02, 0.1, 0.3)
    ]
    labels = np.array(noise, dtype=np.int32)
    with Workers(2) as workers:
        samples = make_samples(X, workers)
        order = np.argsort(near, kind="stable")
        return _scores.mean_silhouettes(
            samples, labels, np.zeros(4, int), order, workers, draw=draw
        )


@pytest.mark.parametrize("seed", range(5))
def test_sampled_silhouettes_lie_within_their_errors(seed, monkeypatch):
    exact, no_error = silhouettes(False, monkeypatch, seed=seed)
    means, errors = silhouettes(True, monkeypatch, seed=seed)
    assert (no_error == 0).all()
    assert (errors > 0).all()
    assert (errors < 0.02).all()
    assert (np.abs(means - exact) < 3.5 * errors).all()
    assert (means != exact).all()


def test_the_error_falls_at_least_with_the_root_of_the_sample(monkeypatch):
    """Strata of a larger sample are smaller, and hence more uniform."""
    few, many = (silhouettes(True, monkeypatch, drawn=drawn)[1] for drawn in (200, 800))
    assert (many / few > 0.25).all()
    assert (many / few < 0.55).all()


def test_the_error_is_that_of_a_stratified_sample():
    values = np.random.default_rng(0).normal(size=(3, _scores.DRAWN_PER_STRATUM, 2))
    sizes = np.array([10.0, 11.0, 20.0])
    weights = np.repeat(sizes / _scores.DRAWN_PER_STRATUM, _scores.DRAWN_PER_STRATUM)
    draw = _scores._Draw(np.zeros(len(weights), int), weights)
    expected = np.zeros(2)
    for stratum, size in zip(values, sizes, strict=True):
        n = len(stratum)
        for column in range(2):
            spread = np.sum((stratum[:, column] - stratum[:, column].mean()) ** 2) / (n - 1)
            expected[column] += (size / sizes.sum()) ** 2 * (1 - n / size) * spread / n
    np.testing.assert_allclose(draw.errors(values.reshape(-1, 2)), np.sqrt(expected))


# -- the choice ------------------------------------------------------------------------------------


def test_exact_search_is_the_default_until_it_takes_hours():
    assert choose_neighbours(None, 50_000, 768) == "exact"
    assert choose_neighbours(None, 1_280_000, 768) == "approximate"
    assert choose_neighbours(None, 1_280_000, 8, 1) == "exact"  # one configuration is little
    assert choose_neighbours("exact", 1_280_000, 768) == "exact"
    assert choose_neighbours("approximate", 100, 2) == "approximate"


def test_a_million_points_are_predicted_to_fit_and_to_end():
    cost = estimate_resources(1_000_000, 768, n_jobs=2, neighbours="approximate")
    features = 4 * 768 * 1_000_000  # of a mapped file, whose pages the system can take back
    assert 8 * 2**30 < cost.memory_bytes - features < 16 * 2**30
    assert cost.seconds < 3600
    twice = estimate_resources(2_000_000, 768, n_jobs=2, neighbours="approximate")
    assert 2 < twice.seconds / cost.seconds < 2.6


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        InputError, match=r"need the package faiss-cpu, which is not installed; run"
    ):
        SSDDBCGridSearch(neighbours="approximate").fit(np.eye(5))
    SSDDBCGridSearch(neighbours="exact").fit(np.eye(5))


@pytest.mark.parametrize("estimator", [SSDDBC, SSDDBCGridSearch])
def test_another_word_is_refused(estimator):
    with pytest.raises(InputError, match=r"neighbours is 'fast', expected 'exact', 'approximate'"):
        estimator(neighbours="fast").fit(np.eye(5))
