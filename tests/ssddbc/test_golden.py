"""Every stored configuration, computed by the grid search and by the single estimator."""

import numpy as np
import pytest
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch
from gcdflow.ssddbc._search import Workers, cluster_grid, make_samples, score_grid

from ssddbc import golden

NAMES = ("x1", "v1", "digits", "blobs2500")


@pytest.mark.parametrize("name", NAMES)
def test_grid_equals_golden_in_every_configuration(name):
    expected = golden.load(name)
    ks, percentiles = np.unique(expected.k), np.unique(expected.percentile)
    y = expected.y.astype(np.int32)
    with Workers(2) as workers:
        samples = make_samples(expected.features.astype(np.float64), workers)
        found = cluster_grid(samples, y, ks, percentiles, workers)
        scores = score_grid(samples, found, y, workers)
    place = {(c.density.k, c.percentile): c for c in found.cells}
    for g, key in enumerate(zip(expected.k, expected.percentile, strict=True)):
        cell = place[key]
        np.testing.assert_array_equal(cell.core, expected.core_mask[g], err_msg=str(key))
        np.testing.assert_array_equal(found.labels[cell.index], expected.labels[g], str(key))
        assert found.n_clusters[cell.index] == expected.n_clusters[g], key
        for mine, theirs in (
            (cell.density.rho, expected.densities[g]),
            (cell.density.relative, expected.relative_densities[g]),
            (cell.threshold, expected.core_threshold[g]),
            (cell.density.cutoff, expected.cutoff[g]),
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, err_msg=str(key))
    order = [place[key].index for key in zip(expected.k, expected.percentile, strict=True)]
    for part in ("cross_entropy", "silhouette"):
        np.testing.assert_allclose(
            getattr(scores, part)[order], getattr(expected, part), rtol=0, atol=1e-6
        )
    np.testing.assert_allclose(scores.total(1.0, 3.0)[order], expected.score, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "step"), [("x1", 1), ("v1", 23), ("digits", 61)])
def test_single_configurations_equal_golden(name, step):
    expected = golden.load(name)
    for g in range(0, len(expected.k), step):
        model = SSDDBC(int(expected.k[g]), float(expected.percentile[g]), normalize=False)
        model.fit(expected.features, expected.y)
        np.testing.assert_array_equal(model.labels_, expected.labels[g])
        np.testing.assert_array_equal(model.core_sample_mask_, expected.core_mask[g])
        np.testing.assert_allclose(model.densities_, expected.densities[g], rtol=1e-6)
        np.testing.assert_allclose(
            model.relative_densities_, expected.relative_densities[g], rtol=1e-6
        )
        assert model.n_clusters_ == expected.n_clusters[g]
        assert model.cutoff_ == pytest.approx(expected.cutoff[g], rel=1e-6)
        assert model.core_threshold_ == pytest.approx(expected.core_threshold[g], rel=1e-6)


def test_search_finds_the_best_golden_configuration():
    expected = golden.load("digits")
    default = (expected.percentile >= 40) & (expected.percentile <= 95)
    order = np.flatnonzero(default)[np.lexsort((expected.percentile[default], expected.k[default]))]
    best = int(np.argmax(expected.score[order]))
    search = SSDDBCGridSearch(normalize=False, n_jobs=2).fit(expected.features, expected.y)
    g = order[best]
    assert len(order) == len(search.results_["score"]) == 216
    assert search.best_index_ == best
    assert search.best_params_ == {
        "k": int(expected.k[g]),
        "density_percentile": int(expected.percentile[g]),
    }
    assert search.best_score_ == pytest.approx(expected.score[g], abs=1e-6)
    np.testing.assert_array_equal(search.labels_, expected.labels[g])
    np.testing.assert_array_equal(search.core_sample_mask_, expected.core_mask[g])
    np.testing.assert_array_equal(search.results_["n_clusters"], expected.n_clusters[order])
    np.testing.assert_array_equal(search.results_["n_core"], expected.core_mask[order].sum(axis=1))
