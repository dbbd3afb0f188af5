"""The estimators in scikit-learn: its checks, pipelines, searches and copies."""

import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch
from sklearn.base import clone, is_clusterer
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

GRID = {"k": [5, 10], "density_percentile": [50, 70], "normalize": False}


@parametrize_with_checks(
    [
        SSDDBC(k=4),
        SSDDBCGridSearch(k=[4, 5], density_percentile=[50, 70]),
        SSDDBC(k=4, neighbours="approximate"),
    ]
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(
    params=[
        SSDDBC(k=5, density_percentile=50, normalize=False),
        SSDDBCGridSearch(**GRID),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def estimator(request):
    return clone(request.param)


@pytest.fixture(scope="module")
def touching():
    """Two classes that touch, all labelled; without labels they would be clustered differently."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(m, 1.0, size=(60, 2)) for m in ((0, 0), (3.2, 0))])
    return X, np.repeat([0, 1], 60)


def test_fit_predict_obeys_the_labels(estimator, touching):
    X, y = touching
    expected = clone(estimator).fit(X, y).labels_
    assert (expected != clone(estimator).fit(X).labels_).any()
    found = estimator.fit_predict(X, y)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(estimator.labels_, expected)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(estimator.fit_predict(X=X, y=y.tolist()), expected)
    np.testing.assert_array_equal(estimator.fit_predict(X), clone(estimator).fit(X).labels_)
    with pytest.raises(InputError, match=r"y has shape \(119,\), expected \(120,\)"):
        estimator.fit_predict(X, y[1:])


@pytest.mark.parametrize("routing", [False, True])
def test_a_pipeline_passes_the_labels_on(estimator, touching, routing):
    X, y = touching
    scaled = StandardScaler().fit_transform(X)
    expected = clone(estimator).fit(scaled, y).labels_
    assert (expected != clone(estimator).fit(scaled).labels_).any()
    with sklearn.config_context(enable_metadata_routing=routing):
        pipeline = make_pipeline(StandardScaler(), estimator)
        np.testing.assert_array_equal(pipeline.fit_predict(X, y), expected)
        np.testing.assert_array_equal(clone(pipeline).fit(X, y)[-1].labels_, expected)
        np.testing.assert_array_equal(pipeline.predict(X), estimator.predict(scaled))
        nested = make_pipeline(pipeline)
        np.testing.assert_array_equal(nested.fit_predict(X, y), expected)


def test_every_method_with_labels_is_overridden(estimator):
    """The methods of scikit-learn's base classes ignore ``y``."""
    taking = [
        method
        for name, method in inspect.getmembers(type(estimator), inspect.isfunction)
        if "y" in inspect.signature(method).parameters
    ]
    assert {"fit", "fit_predict"} <= {method.__name__ for method in taking}
    assert {method.__module__.split(".")[0] for method in taking} == {"gcdflow"}


def test_unsupported_arguments_are_refused(estimator, touching):
    X, y = touching
    for method in (estimator.fit, estimator.fit_predict):
        with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
            method(X, y, sample_weight=np.ones(len(X)))


def test_a_search_of_scikit_learn_uses_the_labels(estimator, touching):
    X, y = touching
    order = np.random.default_rng(1).permutation(len(X))
    X, y = X[order], y[order]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), estimator),
        {f"{type(estimator).__name__.lower()}__normalize": [False, True]},
        scoring="adjusted_rand_score",
        cv=3,
        error_score="raise",
    ).fit(X, y)
    best = clone(search.best_estimator_).fit(X, y)
    np.testing.assert_array_equal(search.best_estimator_[-1].labels_, best[-1].labels_)
    assert (best[-1].labels_ != clone(best).fit(X)[-1].labels_).any()
    assert search.score(X, y) == adjusted_rand_score(y, best.predict(X))


def test_a_clone_of_a_fitted_estimator_is_not_fitted(estimator, touching):
    X, y = touching
    copy = clone(estimator.fit(X, y))
    assert copy.get_params() == estimator.get_params()
    assert vars(copy).keys() == estimator.get_params().keys()
    np.testing.assert_array_equal(copy.fit_predict(X, y), estimator.labels_)


def test_a_pickle_predicts(estimator, touching):
    X, y = touching
    copy = pickle.loads(pickle.dumps(estimator.fit(X, y)))
    np.testing.assert_array_equal(copy.labels_, estimator.labels_)
    np.testing.assert_array_equal(copy.predict(X[::-1]), estimator.predict(X[::-1]))


def test_repr_and_tags(estimator, touching):
    X, y = touching
    assert is_clusterer(estimator)
    assert not estimator.__sklearn_tags__().target_tags.required
    assert not estimator.__sklearn_tags__().input_tags.sparse
    assert repr(estimator).startswith(f"{type(estimator).__name__}(density_percentile=")
    assert type(estimator).__name__ in estimator.fit(X, y)._repr_html_()


def test_parameters_and_their_defaults():
    search = clone(SSDDBCGridSearch(k=[4], w_sil=1.5, n_jobs=2))
    assert (search.k, search.w_sil, search.n_jobs) == ([4], 1.5, 2)
    assert SSDDBCGridSearch().k == tuple(range(3, 21))
    assert SSDDBCGridSearch().density_percentile == tuple(range(40, 100, 5))
    with pytest.raises(ValueError, match="Invalid parameter 'min_samples'"):
        search.set_params(min_samples=3)


def test_names_of_features_are_kept_and_compared(estimator, touching):
    X, y = touching
    frame = pd.DataFrame(X, columns=["length", "width"])
    np.testing.assert_array_equal(estimator.fit_predict(frame, pd.Series(y)), estimator.labels_)
    assert estimator.feature_names_in_.tolist() == ["length", "width"]
    np.testing.assert_array_equal(estimator.labels_, clone(estimator).fit(X, y).labels_)
    with pytest.raises(ValueError, match="same order as they were in fit"):
        estimator.predict(frame[["width", "length"]])


def test_a_refused_fit_keeps_the_previous_one(estimator, touching):
    X, y = touching
    frame = pd.DataFrame(X, columns=["length", "width"])
    before = estimator.fit(frame, y).predict(frame)
    for refused in ((X[:, :1], y[1:]), (X[:, :1] * np.nan, y), (np.c_[X, X][:1], y[:1])):
        with pytest.raises(InputError):
            estimator.fit(*refused)
    assert estimator.n_features_in_ == 2
    assert estimator.feature_names_in_.tolist() == ["length", "width"]
    np.testing.assert_array_equal(estimator.predict(frame), before)


def test_predict_after_an_interruption_never_mixes_two_fits(touching):
    X, y = touching

    def interrupt(*_):
        raise KeyboardInterrupt

    search = SSDDBCGridSearch(**GRID).fit(X, y)
    before = search.predict(X)
    with pytest.raises(KeyboardInterrupt):
        search.set_params(progress=interrupt).fit(X[:, :1], y)
    with pytest.raises(ValueError, match="X has 1 features, but SSDDBCGridSearch is expecting 2"):
        search.predict(X[:, :1])
    np.testing.assert_array_equal(search.predict(X), before)


def test_predict_treats_features_as_fit_did(estimator, touching):
    X, y = touching
    before = estimator.fit(X, y).predict(X)
    assert (before != clone(estimator).set_params(normalize=True).fit(X, y).predict(X)).any()
    np.testing.assert_array_equal(estimator.set_params(normalize=True).predict(X), before)
