"""On random inputs of many shapes, every configuration equals the literal reference exactly."""

import numpy as np
import pytest
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch
from gcdflow.ssddbc import _validate as validate
from gcdflow.ssddbc._search import Workers, cluster_grid, make_samples, prepare, score_grid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ssddbc.reference import fit_configuration, normalise, pairs

COMMON = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
KS = (1, 2, 3, 5, 20)
PERCENTILES = (0, 40, 62.5, 90, 100)


def assert_equals_reference(X, y, ks=KS, percentiles=PERCENTILES, normalize=False, n_jobs=2):
    rows = normalise(X) if normalize else X
    classes = validate.labels(y, len(X))
    with Workers(n_jobs) as workers:
        samples = make_samples(prepare(X, normalize, workers), workers)
        found = cluster_grid(samples, classes, ks, percentiles, workers)
        scores = score_grid(samples, found, classes, workers)
    total = scores.total(1.0, 3.0)
    grid, known = [(k, p) for k in ks for p in percentiles], pairs(rows)
    for cell, (k, p) in zip(found.cells, grid, strict=True):
        expected = fit_configuration(rows, y, k, p, known=known)
        name = f"k={k}, percentile={p}"
        np.testing.assert_array_equal(cell.core, expected.core_mask, err_msg=name)
        np.testing.assert_array_equal(found.labels[cell.index], expected.labels, err_msg=name)
        assert found.n_clusters[cell.index] == expected.n_clusters, name
        assert scores.cross_entropy[cell.index] == pytest.approx(expected.cross_entropy, abs=1e-9)
        assert total[cell.index] == pytest.approx(expected.score, abs=1e-5), name


def labels_for(n):
    """No labels, all labels, one class, or any mixture; classes need not be consecutive."""
    return st.one_of(
        st.none(),
        st.just(np.full(n, -1)),
        arrays.arrays(np.int64, n, elements=st.sampled_from([-1, 4])),
        arrays.arrays(np.int64, n, elements=st.sampled_from([0, 1])),
        arrays.arrays(np.int64, n, elements=st.sampled_from([-1, -1, 3, 1000, 17])),
    )


@st.composite
def lattices(draw):
    """Small integers: many duplicates and ties, and every distance is exact in float64."""
    n = draw(st.integers(2, 40))
    d = draw(st.integers(1, 3))
    top = draw(st.integers(0, 6))
    X = draw(arrays.arrays(np.float32, (n, d), elements=st.integers(0, top).map(float)))
    return X, draw(labels_for(n))


@st.composite
def clouds(draw, repeated=True):
    """Gaussian groups of any width, with some repeated rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(2, 70)), draw(st.integers(1, 24))
    centres = rng.normal(size=(draw(st.integers(1, 5)), d)) * draw(st.sampled_from([0, 1, 5]))
    X = centres[rng.integers(len(centres), size=n)] + rng.normal(size=(n, d))
    if repeated and draw(st.booleans()):
        X = X[rng.integers(max(1, n // 3), size=n)]
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    y = np.where(
        rng.random(n) < draw(st.sampled_from([0, 0.3, 0.9, 1])), rng.integers(4, size=n), -1
    )
    return X.astype(dtype), y


@COMMON
@given(lattices())
def test_ties_and_duplicates(case):
    assert_equals_reference(*case)


@COMMON
@given(clouds(), st.booleans())
def test_clouds(case, normalize):
    assert_equals_reference(*case, normalize=normalize)


@settings(COMMON, max_examples=15)
@given(clouds(repeated=False), st.floats(-12, 12) | st.floats(-140, 140))
def test_scale_and_offset_do_not_matter(case, exponent):
    """Single-precision products lose all digits on this input; the result must still be exact.

    Single precision itself has exponents of -38 to 38 only.
    """
    X, y = case
    X = X.astype(np.float64) * 10.0**exponent + 1000.0 * 10.0**exponent
    assert_equals_reference(X, y, ks=(2, 5), percentiles=(40, 80))


@pytest.mark.parametrize("n", [2, 3, 5, 60])
@pytest.mark.parametrize("labelled", ["none", "all", "one class", "one each"])
def test_all_points_equal(n, labelled):
    y = {
        "none": None,
        "all": np.arange(n) % 2,
        "one class": np.where(np.arange(n) < n // 2, 7, -1),
        "one each": np.arange(n),
    }[labelled]
    assert_equals_reference(np.full((n, 3), 0.3, dtype=np.float32), y)


@pytest.mark.parametrize("n", [2, 4, 9, 33])
def test_equidistant_points(n):
    assert_equals_reference(np.eye(n, dtype=np.float32), np.where(np.arange(n) % 3, -1, 0))


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_collide(seed):
    """Overlapping groups with many labels: merges, moves and rejections."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(3, size=300)
    X = (rng.normal(size=(300, 2)) + 1.5 * np.eye(3, 2)[classes]).astype(np.float32)
    y = np.where(rng.random(300) < 0.5, classes, -1)
    assert_equals_reference(X, y, ks=(3, 5, 10), percentiles=(0, 20, 40, 60))


@pytest.mark.parametrize(("n", "d"), [(500, 3), (700, 60)])
def test_more_points_than_one_list_or_tile(n, d):
    rng = np.random.default_rng(n)
    X = rng.normal(size=(n, d)) + 4 * rng.normal(size=(6, d))[rng.integers(6, size=n)]
    X[: n // 3] = X[0]  # more duplicates than any list has entries
    y = np.where(rng.random(n) < 0.2, rng.integers(3, size=n), -1)
    assert_equals_reference(X.astype(np.float32), y, ks=(3, 10), percentiles=(0, 40, 75, 90, 99))


@pytest.mark.parametrize("width", [1e-2, 1e-4, 1e-6, 1e-9])
def test_clusters_too_tight_for_products(width):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(5, 32)), 60, axis=0)
    X += width * rng.normal(size=X.shape) * np.repeat([1, 1, 2, 3, 50], 60)[:, None]
    y = np.where(np.arange(300) % 7 == 0, np.arange(300) // 60, -1)
    assert_equals_reference(X, y, ks=(3, 8), percentiles=(40, 70, 95))


@pytest.mark.parametrize("normalize", [False, True])
def test_result_does_not_depend_on_threads(normalize):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(900, 20)) + 3 * rng.normal(size=(7, 20))[rng.integers(7, size=900)]
    y = np.where(rng.random(900) < 0.3, rng.integers(5, size=900), -1)
    fits = [
        SSDDBCGridSearch(k=range(3, 12), normalize=normalize, n_jobs=n_jobs).fit(X, y)
        for n_jobs in (1, 2, 3)
    ]
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].labels_, other.labels_)
        for key in fits[0].results_.keys() - {"seconds"}:
            np.testing.assert_array_equal(fits[0].results_[key], other.results_[key], err_msg=key)


@settings(COMMON, max_examples=25)
@given(clouds(), st.integers(1, 12), st.floats(0, 100))
def test_one_configuration_by_the_estimator(case, k, percentile):
    X, y = case
    model = SSDDBC(k, percentile, normalize=False).fit(X, y)
    expected = fit_configuration(X, y, k, percentile)
    np.testing.assert_array_equal(model.labels_, expected.labels)
    np.testing.assert_array_equal(model.core_sample_mask_, expected.core_mask)
    np.testing.assert_allclose(model.densities_, expected.densities, rtol=1e-9)
