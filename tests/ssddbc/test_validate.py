"""Accepted and refused forms of features and labels."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from gcdflow.errors import InputError
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch, assign_to_clusters
from gcdflow.ssddbc import _search as search
from gcdflow.ssddbc import _validate as validate
from scipy import sparse

rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(m, 1.0, size=(30, 2)) for m in ((0, 0), (3, 0))]).astype(np.float32)
y = np.where(np.arange(60) % 3, np.repeat([0, 1], 30), -1)
missing = np.where(y < 0, np.nan, y)


def labels_of(X, y=None):
    return SSDDBC(k=5, density_percentile=50, normalize=False).fit(X, y).labels_


@pytest.mark.parametrize(
    "same",
    [
        y.tolist(),
        tuple(y),
        pd.Series(y, index=rng.permutation(60)),  # order counts, as everywhere in scikit-learn
        pd.Series(y, dtype=object),
        pd.array(y, dtype="Int64"),
        pd.Categorical(y),
        y.astype(object),
        y.astype(float).astype(object),
        y.astype(float),
        y.astype(np.int8),
        y.astype(">i8"),
        np.where(y < 0, -1, y * 2**40),
        np.array([v if v < 0 else int(v) * 2**70 for v in y], dtype=object),
        np.repeat(y, 2)[::2],
        np.ma.masked_array(y),
        torch.from_numpy(y),
    ],
)
def test_labels_of_every_accepted_form_are_used(same):
    expected = labels_of(X, y)
    assert (expected != labels_of(X)).any()
    np.testing.assert_array_equal(labels_of(X, same), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (missing, r"float64 .*contains nan in 20 of 60 places \(first: sample 0\)"),
        (pd.Series(missing), r"contains nan in 20 of 60 .*unlabelled samples as -1"),
        (missing.astype(object), r"dtype object .*contains nan in 20 of 60"),
        (np.where(y < 0, None, y), r"dtype object .*contains None in 20 of 60"),
        (np.where(y < 0, np.inf, y), r"contains inf in 20 of 60"),
        (np.where(y < 0, -np.inf, y), r"contains -inf in 20 of 60"),
        (np.where(y < 0, 0.5, y).astype(object), r"contains 0.5 in 20 of 60"),
        (pd.array(np.where(y < 0, None, y), dtype="boolean"), r"expected integers"),
        (pd.array(np.where(y < 0, None, y), dtype="Int64"), r"nan in 20 of 60"),
        (y > 0, r"dtype bool"),
        ((y > 0).astype(object), r"dtype object .*contains False in 60"),
        (y.astype(str), r"contains '-1' in 60 of 60 .*encode classes as 0, 1"),
        ([0, "a"] * 30, r"dtype <U21"),
        (np.array([0, "a"] * 30, dtype=object), r"contains 'a' in 30 of 60 .*first: sample 1"),
        (y.astype(complex), r"dtype complex128"),
        (y.astype("m8[s]"), r"dtype timedelta64"),
        (np.ma.masked_array(np.abs(y), y < 0), r"y has 20 masked values, expected none"),
        (sparse.csr_array(y[None]), r"y is sparse, expected a dense array"),
        ([[0], [0, 1]] * 30, r"y is not an array: setting an array element"),
        (iter(y), r"y is of type iterator, expected an array or a list"),
        ({0, 1}, r"y is of type set, expected an array or a list"),
        (y[:, None], r"y has shape \(60, 1\), expected \(60,\)"),
        (pd.DataFrame({"class": y}), r"y has shape \(60, 1\), expected \(60,\)"),
        (y[1:], r"y has shape \(59,\), expected \(60,\)"),
        ([], r"y has shape \(0,\), expected \(60,\)"),
        (3, r"y has shape \(\), expected \(60,\)"),
        (y - 1.0, r"y contains -2, expected classes from 0"),
        ((y - 1).astype(object), r"y contains -2, expected classes from 0"),
    ],
)
def test_refused_labels(wrong, message):
    for estimator in (SSDDBC(), SSDDBCGridSearch()):
        with pytest.raises(InputError, match=message) as caught:
            estimator.fit_predict(X, wrong)
        assert "\n" not in str(caught.value)


def read_only(tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


@pytest.mark.parametrize(
    "make",
    [
        lambda _: X.tolist(),
        lambda _: list(X),
        lambda _: pd.DataFrame(X),
        lambda _: pd.DataFrame(X, columns=["a", "b"], dtype="Float32"),
        lambda _: X.astype(np.float64),
        lambda _: X.astype(">f4"),
        lambda _: X.astype(np.longdouble),
        lambda _: X.astype(object),
        lambda _: np.asfortranarray(X),
        lambda _: np.repeat(X, 2, axis=1)[:, ::2],
        lambda _: np.ascontiguousarray(X[::-1])[::-1],
        lambda _: np.ma.masked_array(X),
        lambda _: torch.from_numpy(X),
        read_only,
    ],
)
def test_features_of_every_accepted_form_are_used(make, tmp_path):
    same = make(tmp_path)
    model, expected = (
        SSDDBC(k=5, density_percentile=50, normalize=False).fit(features, y)
        for features in (same, X)
    )
    assert model.n_features_in_ == 2
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    np.testing.assert_array_equal(model.predict(same), expected.predict(X))
    for found, right in zip(
        assign_to_clusters(same, same, np.abs(y)), assign_to_clusters(X, X, np.abs(y)), strict=True
    ):
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(
    "change",
    [
        {"n_jobs": 0},
        {"k": 0},
        {"device": "cuda:9"},
        {"neighbours": "approximate"},
    ],
)
@pytest.mark.parametrize("make", [SSDDBC, lambda: SSDDBCGridSearch([3], [50])])
def test_a_refused_fit_leaves_an_earlier_one_as_it_was(make, change, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # not installed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = make().fit(pd.DataFrame(X, columns=["a", "b"]), y)
    before = dict(vars(model))
    with pytest.raises(InputError):
        model.set_params(**change).fit(np.eye(5), [0, 1, -1, -1, -1])
    changed = {name for name, value in vars(model).items() if before[name] is not value}
    assert changed == set(change)


def test_names_of_features_are_checked_before_the_search(monkeypatch):
    monkeypatch.setattr(search, "cluster_grid", None)
    mixed = pd.DataFrame(X).rename(columns={0: "a"})
    with pytest.raises(TypeError, match="feature names"):
        SSDDBC().fit(mixed)


@pytest.mark.parametrize("dtype", [int, np.uint8, bool])
def test_whole_numbers_are_features(dtype):
    whole = np.abs(4 * X).astype(dtype)
    np.testing.assert_array_equal(labels_of(whole, y), labels_of(whole.astype(float), y))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (sparse.csr_array(X), r"X is sparse, expected a dense array.*toarray\(\)"),
        (sparse.coo_matrix(X), r"X is sparse, expected a dense array"),
        (np.ma.masked_array(X, X > 2), r"X has \d+ masked values, expected none"),
        (X.astype(complex), r"X: Complex data not supported; expected real numbers"),
        (X.astype(str), r"X has dtype <U\d+, expected real numbers"),
        (pd.DataFrame({"a": ["x"] * 60}), r"X: could not convert string to float: 'x'"),
        (X.astype("M8[s]"), r"X has dtype datetime64\[s\], expected real numbers"),
        (pd.DataFrame(X, dtype="Float64").mask(X > 2), r"X contains NaN or infinity in \d+ of 60"),
        (np.where(X > 2, None, X), r"X contains NaN or infinity in \d+ of 60"),
        ([[0.0, 1.0], [2.0]], r"X: setting an array element with a sequence"),
        (X[:, 0], r"X has shape \(60,\), expected .*Reshape your data to \(-1, 1\)"),
        (pd.Series(X[:, 0]), r"X has shape \(60,\), expected"),
        (X[None], r"X has shape \(1, 60, 2\), expected"),
        (None, r"X has shape \(\), expected"),
        (iter(X), r"X has shape \(\), expected"),
        (np.empty((60, 0)), r"X: Found array with 0 feature\(s\)"),
    ],
)
def test_refused_features(wrong, message):
    fitted = SSDDBC(k=5).fit(X)
    for call in (
        lambda: SSDDBC().fit_predict(wrong, y),
        lambda: SSDDBCGridSearch().fit(wrong),
        lambda: fitted.predict(wrong),
        lambda: assign_to_clusters(wrong, X, np.abs(y)),
    ):
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300  # no listing of the data


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.ma.masked_array(np.abs(y), y < 0), r"core_labels has 20 masked values"),
        (sparse.csr_array(y[None]), r"core_labels is sparse"),
        ([[0], [0, 1]] * 30, r"core_labels is not an array"),
        (missing, r"core_labels has shape \(60,\) and dtype float64, expected \(60,\) integers"),
    ],
)
def test_refused_core_labels(wrong, message):
    with pytest.raises(InputError, match=message):
        assign_to_clusters(X, X, wrong)


@pytest.mark.parametrize("ks", [np.array([6, 5]), (5, 6), {5, 6}, pd.Series([5, 6]), range(5, 7)])
def test_axes_of_the_grid(ks):
    search = SSDDBCGridSearch(k=ks, density_percentile=np.float32(50)).fit(X, y)
    assert search.results_["k"].tolist() == [5, 6]
    assert search.results_["density_percentile"].tolist() == [50, 50]
    assert SSDDBCGridSearch(k=np.array(5), density_percentile=[50]).fit(X).best_params_["k"] == 5


def test_features_in_a_file_are_read_in_place(tmp_path):
    np.save(tmp_path / "X.npy", np.ones((5, 3), np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert np.shares_memory(validate.features(mapped), mapped)


def test_bad_values_are_found_in_every_block(monkeypatch):
    monkeypatch.setattr(validate, "ROWS_AT_ONCE", 4)
    X = np.zeros((10, 2))
    X[9, 1] = X[5, 0] = np.nan
    with pytest.raises(InputError, match=r"infinity in 2 of 10 rows \(first: row 5\)"):
        validate.features(X)
