"""The public interface: parameters, attributes, messages, prediction."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch, assign_to_clusters, estimators
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

from ssddbc import reference
from ssddbc.samples import groups


def test_attributes_of_the_clustering():
    X, y, classes = groups()
    model = SSDDBC(k=8, density_percentile=60).fit(X, y)
    n = len(X)
    assert model.labels_.shape == (n,)
    assert model.labels_.dtype == np.int64
    assert model.core_sample_mask_.shape == (n,)
    assert model.core_sample_mask_.dtype == bool
    assert model.densities_.dtype == model.relative_densities_.dtype == np.float64
    assert set(model.labels_) == set(range(model.n_clusters_))
    assert model.n_features_in_ == 8
    core = model.relative_densities_ >= model.core_threshold_
    np.testing.assert_array_equal(model.core_sample_mask_, core)
    assert adjusted_rand_score(classes, model.labels_) > 0.9


def test_results_of_the_search_agree_with_single_fits():
    X, y, _ = groups()
    search = SSDDBCGridSearch(k=[9, 3, 5], density_percentile=(70, 40.5)).fit(X, y)
    table = search.results_
    assert table["k"].tolist() == [3, 3, 5, 5, 9, 9]
    assert table["density_percentile"].tolist() == [40.5, 70] * 3
    assert {len(column) for column in table.values()} == {6}
    for row in range(6):
        k, percentile = int(table["k"][row]), float(table["density_percentile"][row])
        one = SSDDBC(k, percentile).fit(X, y)
        assert table["n_clusters"][row] == one.n_clusters_
        assert table["n_core"][row] == one.core_sample_mask_.sum()
        assert table["core_ratio"][row] == pytest.approx(one.core_sample_mask_.mean())
        assert table["cutoff"][row] == one.cutoff_
        assert table["core_threshold"][row] == one.core_threshold_
        expected = reference.fit_configuration(reference.normalise(X), y, k, percentile)
        assert table["score"][row] == pytest.approx(expected.score, abs=1e-5)
        assert table["modularity"][row] == pytest.approx(expected.modularity, abs=1e-12)
    best = SSDDBC(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.labels_, best.labels_)
    assert search.best_score_ == table["score"].max() == table["score"][search.best_index_]
    assert (table["seconds"] > 0).all()


@pytest.mark.parametrize("unit", [1e-100, 1e-45, 1e39, 1e145])
def test_scores_do_not_depend_on_the_unit(unit):
    X, y, _ = groups()
    grid = SSDDBCGridSearch(k=[5, 10], density_percentile=[40, 60], normalize=False)
    expected = grid.fit(X, y).results_["score"]
    found = grid.fit(unit * X.astype(np.float64), y).results_["score"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_ties_go_to_the_smaller_k_then_percentile():
    X = np.zeros((30, 2))
    search = SSDDBCGridSearch(k=[7, 5], density_percentile=[90, 50]).fit(X)
    assert search.best_params_ == {"k": 5, "density_percentile": 50}
    assert search.best_score_ == 0.0


def test_weights_of_the_score():
    X, y, _ = groups()
    grid = {"k": [3, 6], "density_percentile": [50, 80]}
    table = SSDDBCGridSearch(**grid, w_ce=2.0, w_sil=0.5).fit(X, y).results_
    np.testing.assert_allclose(
        table["score"], -2.0 * table["cross_entropy"] + 0.5 * table["silhouette"]
    )
    table = SSDDBCGridSearch(**grid, w_ce=0.0, w_sil=0.0, w_mod=2.0).fit(X, y).results_
    np.testing.assert_allclose(table["score"], 2.0 * table["modularity"])
    assert len(np.unique(table["modularity"])) > 1


@pytest.mark.parametrize(
    ("labelled", "entropy_is_zero", "silhouette_is_zero"),
    [("none", True, False), ("all", False, True)],
)
def test_scores_without_labels_and_without_unlabelled(
    labelled, entropy_is_zero, silhouette_is_zero
):
    X, _, classes = groups()
    y = None if labelled == "none" else np.roll(classes, 1)
    table = SSDDBCGridSearch(k=[5], density_percentile=[50, 100]).fit(X, y).results_
    assert (table["cross_entropy"] == 0).all() == entropy_is_zero
    assert (table["silhouette"] == 0).all() == silhouette_is_zero


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_dtype_of_features_gives_the_same_result(dtype):
    X, y, _ = groups()
    narrow = X.astype(dtype)
    fits = [SSDDBC(5, 60).fit(x, y) for x in (narrow, narrow.astype(np.float64))]
    np.testing.assert_array_equal(fits[0].labels_, fits[1].labels_)
    np.testing.assert_array_equal(fits[0].densities_, fits[1].densities_)


def test_normalisation_ignores_length_and_keeps_zeros():
    X, y, _ = groups()
    X[3] = 0
    scaled = X * np.exp2(np.random.default_rng(0).integers(-3, 4, size=(len(X), 1)))
    one, other = SSDDBC(5, 60).fit(X, y), SSDDBC(5, 60).fit(scaled, y)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    np.testing.assert_array_equal(one.densities_, other.densities_)
    assert (SSDDBC(5, 60, normalize=False).fit(X, y).densities_ != one.densities_).any()


@pytest.mark.parametrize("normalize", [True, False])
def test_predict_is_step_6_on_the_core(normalize):
    X, y, _ = groups()
    new = groups(seed=1)[0]
    prepare = reference.normalise if normalize else np.asarray
    for model in (
        SSDDBC(6, 60, normalize=normalize).fit(X, y),
        SSDDBCGridSearch([4, 6], [40, 60], normalize=normalize, n_jobs=2).fit(X, y),
    ):
        both = np.concatenate([prepare(X), prepare(new)])
        core = np.full(len(both), -1)
        mask = np.flatnonzero(model.core_sample_mask_)
        core[mask] = model.labels_[mask]
        expected = reference.assign_sparse(reference.distances(both), core, model.n_clusters_)
        np.testing.assert_array_equal(model.predict(new), expected[len(X) :])
        sparse = ~model.core_sample_mask_
        np.testing.assert_array_equal(model.predict(X)[sparse], model.labels_[sparse])
    with pytest.raises(ValueError, match="7 features"):
        model.predict(new[:, :7])


def test_assign_to_clusters_accepts_any_labels_and_small_clusters():
    core = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
    labels = [7, 7, 7, 2, 2]
    found, mean = assign_to_clusters([[0.0], [9.0], [5.75]], core, labels)
    np.testing.assert_array_equal(found, [7, 2, 2])  # the last is a tie
    np.testing.assert_allclose(mean, [1.0, 1.5, 4.75])
    tied, _ = assign_to_clusters([[0.0]], [[1.0], [-1.0]], [5, 3])
    assert tied.tolist() == [3]
    empty, mean = assign_to_clusters(np.empty((0, 1)), core, labels)
    assert empty.shape == mean.shape == (0,)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_assign_to_clusters_equals_the_definition(n_jobs):
    rng = np.random.default_rng(3)
    core, new = rng.integers(0, 5, size=(400, 3)), rng.integers(0, 5, size=(150, 3))
    labels = rng.integers(9, size=400)
    found, mean = assign_to_clusters(new, core, labels, n_jobs=n_jobs)
    dist = reference.cdist(new.astype(float), core.astype(float))
    means = np.array(
        [[reference.mean_of_nearest(row[labels == c]) for c in range(9)] for row in dist]
    )
    np.testing.assert_array_equal(found, means.argmin(axis=1))
    np.testing.assert_allclose(mean, means.min(axis=1), rtol=1e-12)


def _fit(X=None, y=None, **parameters):
    return SSDDBC(**parameters).fit(np.eye(4) if X is None else X, y)


def _search(**parameters):
    return SSDDBCGridSearch(**parameters).fit(np.eye(4))


BAD = np.array([[0.0, 1.0], [np.nan, 1.0], [np.inf, 0.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _fit(X=BAD), r"X contains NaN or infinity in 2 of 3 rows \(first: row 1\)"),
        (lambda: _fit(X=np.full((3, 2), 1e200)), r"values up to 1e\+200, expected at most 1e\+150"),
        (lambda: _fit(X=np.ones((1, 3))), r"X has 1 sample\(s\), expected at least 2"),
        (lambda: _fit(y=[0, 1]), r"y has shape \(2,\), expected \(4,\)"),
        (lambda: _fit(y=[0, 1, -2, 0]), r"y contains -2, expected classes from 0"),
        (lambda: _fit(y=[0, 1, 0.5, 0]), r"y has dtype float64 .*expected integers"),
        (lambda: _fit(y=["a", "b", "c", "d"]), r"y has dtype <U1 .*encode classes as 0, 1"),
        (lambda: _fit(k=0), r"k is 0, expected a whole number of neighbours, at least 1"),
        (lambda: _fit(k=2.5), r"k is 2.5, expected a whole number"),
        (lambda: _fit(density_percentile=101), r"density_percentile is 101, expected .* 0 and 100"),
        (lambda: _fit(density_percentile=None), r"density_percentile is None"),
        (lambda: _fit(n_jobs=0), r"n_jobs is 0, expected a number of threads"),
        (lambda: _search(k=[]), r"k is empty, expected at least one value"),
        (lambda: _search(k=[3, 0]), r"a value of k is 0, expected a whole number"),
        (lambda: _search(k="3:20"), r"k is '3:20', expected a sequence of numbers"),
        (lambda: _search(k=b"abc"), r"k is b'abc', expected a sequence of numbers"),
        (lambda: _search(k=iter([3, 4])), r"k is <list_iterator .*>, expected a sequence"),
        (lambda: _search(normalize="no"), r"normalize is 'no', expected True or False"),
        (lambda: _fit(normalize=None), r"normalize is None, expected True or False"),
        (lambda: _fit(normalize=2), r"normalize is 2, expected True or False"),
        (lambda: _search(progress=True), r"progress is True, expected a function or None"),
        (lambda: _search(density_percentile=[-1]), r"a value of density_percentile is -1"),
        (lambda: _search(w_sil=np.nan), r"w_sil is nan, expected a finite number"),
        (
            lambda: assign_to_clusters(np.eye(2), np.eye(3), [0, 1, 2]),
            r"2 features and core_X has 3",
        ),
        (lambda: assign_to_clusters(np.eye(2), np.empty((0, 2)), []), r"core_X has no rows"),
        (lambda: assign_to_clusters(np.eye(2), np.eye(2), [0]), r"core_labels has shape \(1,\)"),
        (lambda: assign_to_clusters(np.eye(2), np.eye(2), [0, -1]), r"core_labels contains -1"),
        (lambda: assign_to_clusters(np.ones(2), np.eye(2), [0, 1]), r"X has shape \(2,\)"),
    ],
)
def test_bad_input_is_named_in_one_sentence(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_default_grid_on_very_few_points(n):
    search = SSDDBCGridSearch().fit(np.random.default_rng(n).normal(size=(n, 4)))
    assert np.isfinite(search.results_["score"]).all()
    assert len(search.results_["score"]) == 216
    assert search.results_["n_clusters"].min() >= 1


def test_example_in_the_documentation():
    assert doctest.testmod(estimators).failed == 0


def test_quality_on_digits():
    """A lower bound on quality catches mistakes that tests of the parts miss."""
    X, classes = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    y = np.where((classes < 5) & (rng.random(len(X)) < 0.5), classes, -1)
    search = SSDDBCGridSearch(n_jobs=2).fit(X, y)
    unlabelled = y < 0
    assert adjusted_rand_score(classes[unlabelled], search.labels_[unlabelled]) > 0.6


def test_import_needs_neither_torch_nor_compiled_code():
    program = (
        "import sys; from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch, assign_to_clusters;"
        "assert not {'torch', 'numba'} & set(sys.modules), 'heavy import'"
    )
    path = ":".join(entry for entry in sys.path if entry)
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": path})
