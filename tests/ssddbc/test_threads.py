"""Progress, and the threads of a fit and of BLAS."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gcdflow.ssddbc import SSDDBC, SSDDBCGridSearch
from gcdflow.ssddbc._workers import Workers
from threadpoolctl import threadpool_info, threadpool_limits

from ssddbc.samples import groups


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
