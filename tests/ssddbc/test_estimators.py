"""The public interface: parameters, attributes, messages, prediction, progress."""

import doctest
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gcdflow.errors import InputError
from gcdflow.ssddbc import (
    SSDDBC,
    SSDDBCGridSearch,
    assign_to_clusters,
    core_neighbours,
    estimate_resources,
    estimators,
)
from gcdflow.ssddbc._workers import Workers
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_info, threadpool_limits

from ssddbc import reference


def groups(n=240, d=8, seed=0):
    """Four separated groups, the first two of them partly labelled."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(4, size=n)
    X = 5 * rng.normal(size=(4, d))[classes] + rng.normal(size=(n, d))
    y = np.where((classes < 2) & (rng.random(n) < 0.5), classes, -1)
    return X.astype(np.float32), y, classes


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


def test_progress_is_reported_from_the_fitting_thread():
    X, y, _ = groups()
    calls = []
    threads = set()

    def progress(*call: int) -> None:
        calls.append(call)
        threads.add(threading.current_thread())

    SSDDBCGridSearch([3, 4], [50, 60], n_jobs=2, progress=progress).fit(X, y)
    assert calls == sorted(calls)
    assert calls[0] == (0, 4)
    assert calls[-1] == (4, 4)
    assert len(set(calls)) > 2, "nothing is said on the way"
    assert threads == {threading.current_thread()}


def _blas_threads():
    return [pool["num_threads"] for pool in threadpool_info()]


def test_thread_limits_are_set_and_restored():
    before, inside, names = _blas_threads(), [], set()

    def look(*_):
        inside.append(_blas_threads())
        names.update(t.name for t in threading.enumerate() if t.name.startswith("ssddbc"))

    SSDDBCGridSearch(k=[3], density_percentile=[50], n_jobs=2, progress=look).fit(groups()[0])
    assert _blas_threads() == before
    assert any(set(threads) == {1} for threads in inside)
    assert 1 <= len(names) <= 2
    names.clear()
    SSDDBCGridSearch(k=[3], density_percentile=[50], n_jobs=1, progress=look).fit(groups()[0])
    assert not names


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_interruption_restores_thread_limits(n_jobs):
    before, calls = _blas_threads(), []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    search = SSDDBCGridSearch(k=[3], density_percentile=[50], n_jobs=n_jobs, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        search.fit(groups()[0])
    assert len(calls) == 3
    assert _blas_threads() == before


def _in_a_thread(call):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()


def test_a_fit_in_any_thread_has_one_blas_thread_and_the_same_bits():
    before, inside = _blas_threads(), []
    X = np.random.default_rng(0).normal(size=(2100, 50)).astype(np.float32)
    grid = {"k": [3, 8], "density_percentile": [40, 80], "n_jobs": 2}

    def look(done, total):
        if 0 < done < total:  # the first and the last report come without the limits
            inside.append(_blas_threads())

    def scores():
        search = SSDDBCGridSearch(**grid, progress=look)
        return search.fit(X).results_["score"].tobytes()

    with threadpool_limits(2):  # of the main thread, which so controls OpenBLAS
        here, there = scores(), _in_a_thread(scores)
        assert here == there == _in_a_thread(scores)
    assert {n for threads in inside for n in threads} == {1}
    assert _blas_threads() == before


def test_a_fit_leaves_the_limits_of_blas_to_other_threads():
    SSDDBC(k=3).fit(groups()[0])

    def limited():
        with threadpool_limits(1):
            return _blas_threads()

    assert set(_in_a_thread(limited)) == {1}


@pytest.mark.parametrize("first_to_leave", [0, 1])
def test_overlapping_contexts_restore_thread_limits(first_to_leave):
    before = _blas_threads()
    pools = [ThreadPoolExecutor(1) for _ in range(2)]
    with pools[0], pools[1]:
        in_pools = [pool.submit(_blas_threads).result() for pool in pools]  # OpenMP has its own
        contexts = [Workers(1) for _ in pools]
        order = [first_to_leave, 1 - first_to_leave]
        for pool, context in zip(pools, contexts, strict=True):
            pool.submit(context.__enter__).result()
        pools[order[0]].submit(contexts[order[0]].__exit__).result()
        assert set(pools[order[1]].submit(_blas_threads).result()) == {1}
        pools[order[1]].submit(contexts[order[1]].__exit__).result()
        assert [pool.submit(_blas_threads).result() for pool in pools] == in_pools
    assert _blas_threads() == before


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


def test_threads_need_no_shared_memory():
    """joblib counts one processor if it cannot make semaphores, as with a read-only /dev/shm."""
    program = """
import _multiprocessing, errno, os, warnings
class SemLock(_multiprocessing.SemLock):
    def __new__(cls, *arguments, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
_multiprocessing.SemLock = SemLock
warnings.simplefilter("ignore")
import joblib
assert joblib.effective_n_jobs(2) == 1
from gcdflow.ssddbc._workers import Workers
from joblib.externals.loky import cpu_count
assert Workers(2).n_threads == 2
assert Workers(-1).n_threads == cpu_count() > 0
assert Workers(-1000).n_threads == Workers(None).n_threads == 1
"""
    path = ":".join(entry for entry in sys.path if entry)
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": path})


def test_resources_grow_with_the_work():
    small = estimate_resources(2500, 768, n_jobs=2)
    large = estimate_resources(50_000, 768, n_jobs=2)
    assert large.memory_bytes > small.memory_bytes > 50_000 * 8
    assert large.memory_bytes < 50_000 * 768 * 4 + 2 * 2**30
    assert large.seconds > 50 * small.seconds
    assert estimate_resources(50_000, 768, n_jobs=1).seconds > large.seconds
    assert estimate_resources(50_000, 768, 1, n_jobs=2).seconds < large.seconds


def test_resources_of_nothing_are_refused():
    with pytest.raises(InputError, match=r"n_jobs is 0, expected a whole number of at least 1"):
        estimate_resources(100, 8, n_jobs=0)


@pytest.mark.parametrize("neighbours", ["exact", "approximate"])
@pytest.mark.parametrize("ks", [[20], [50], [300], [100, 600]])
def test_memory_is_predicted_for_any_k(ks, neighbours):
    """The arrays of a fit need no more than is predicted, and not much less."""
    n, d, fixed = 3000, 16, estimate_resources(1, 1, 1, neighbours=neighbours).memory_bytes
    X = np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)
    search = SSDDBCGridSearch(ks, [70], neighbours=neighbours)
    search.fit(X[:200])  # compiles
    tracemalloc.start()
    search.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    predicted = estimate_resources(n, d, len(ks), largest_k=max(ks), neighbours=neighbours)
    assert 0.3 < peak / (predicted.memory_bytes - fixed) < 1


def test_no_more_neighbours_count_than_there_are():
    most = estimate_resources(500, 8, largest_k=499)
    assert estimate_resources(500, 8, largest_k=10_000) == most


@pytest.mark.parametrize("normalize", [True, False])
def test_core_neighbours_against_a_naive_search(normalize):
    X, y, _ = groups()
    X[7] = X[11]  # equal samples: ties go to the lower row
    model = SSDDBC(k=8, density_percentile=60, normalize=normalize).fit(X, y)
    core, labels = model.core_sample_mask_, model.labels_
    y[np.flatnonzero(core)[::9]] = 3  # another label than others of the cluster have
    found = core_neighbours(X, core, labels, y, n_neighbors=60, normalize=normalize)
    rows = reference.normalise(X) if normalize else X.astype(np.float64)
    assert found.shape == (len(X), 60)
    different = 0
    for row in range(len(X)):
        others = [c for c in np.flatnonzero(core) if c != row]
        others.sort(key=lambda c: (np.linalg.norm(rows[c] - rows[row]), c))
        same = [c for c in others[:60] if labels[c] == labels[row]]
        mine = [c for c in same if y[c] == y[row] or min(y[c], y[row]) < 0]
        different += len(same) - len(mine)
        assert found[row].tolist() == mine + [-1] * (60 - len(mine))
    assert different > 0
    assert (found >= 0).any()


def test_more_core_neighbours_than_there_are():
    X = np.random.default_rng(0).normal(size=(6, 2))
    core, labels = np.array([True, True, False, False, False, True]), np.zeros(6, np.int64)
    found = core_neighbours(X, core, labels, n_neighbors=5)
    assert [sorted(row[row >= 0].tolist()) for row in found[:3]] == [[1, 5], [0, 5], [0, 1, 5]]
    with pytest.raises(InputError, match="marks no core point"):
        core_neighbours(X, np.zeros(6, bool), labels)
    with pytest.raises(InputError, match=r"core_sample_mask has shape \(5,\)"):
        core_neighbours(X, core[:5], labels)
    with pytest.raises(InputError, match="normalize is 'no', expected True or False"):
        core_neighbours(X, core, labels, normalize="no")
    with pytest.raises(InputError, match=r"y has dtype float64 .* contains nan in 6 of 6 places"):
        core_neighbours(X, core, labels, np.full(6, np.nan))
