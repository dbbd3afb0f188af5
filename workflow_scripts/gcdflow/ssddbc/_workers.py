"""A pool of threads for compiled kernels, which run without the GIL and with one BLAS thread."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from threading import Lock

from joblib.externals.loky import cpu_count
from threadpoolctl import OpenBLASController, ThreadpoolController

from gcdflow.errors import InputError

REPORT_SECONDS = 0.2


class _OneBlasThread:
    """BLAS on one thread while any thread of the process is inside this context.

    BLAS has one limit for the process. So the first to enter sets it, and the last to leave
    restores it. threadpoolctl ignores all threads but the one that changed OpenBLAS's limit first,
    and that may be any thread of the program: its control is cleared before every change.
    """

    def __init__(self) -> None:
        self._lock, self._n_inside = Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                OpenBLASController.clear_controlling_thread(force=True)
                self._limits = ThreadpoolController().select(user_api="blas").limit(limits=1)
            self._n_inside += 1

    def __exit__(self, *_exception) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                OpenBLASController.clear_controlling_thread(force=True)
                self._limits.restore_original_limits()
                OpenBLASController.clear_controlling_thread()


_ONE_BLAS_THREAD = _OneBlasThread()


@contextmanager
def openmp_threads(n: int) -> Iterator[None]:
    """Limit OpenMP, which has one limit for each thread, to ``n`` threads in the calling one."""
    limits = ThreadpoolController().select(user_api="openmp").limit(limits=n)
    try:
        yield
    finally:
        limits.restore_original_limits()


class Workers:
    """Run tasks on ``n_jobs`` threads, as a context manager.

    Inside the context, BLAS runs on one thread in the whole process, because the tasks themselves
    run in parallel; so does OpenMP in the calling thread. Contexts of several threads may overlap.
    Tasks must not depend on their order.

    Parameters
    ----------
    n_jobs : int or None
        Number of threads, as in scikit-learn: None is 1, -1 is every processor of this process.
    """

    def __init__(self, n_jobs: int | None = None):
        n_jobs = 1 if n_jobs is None else n_jobs
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, numbers.Integral) or n_jobs == 0:
            raise InputError(
                f"n_jobs is {n_jobs!r}, expected a number of threads, None for one or -1 for all"
            )
        # joblib.effective_n_jobs is 1 if processes cannot share semaphores (/dev/shm is missing or
        # read-only). Threads need none, so it is not used.
        self.n_threads = int(n_jobs) if n_jobs > 0 else max(1, cpu_count() + 1 + int(n_jobs))
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        self._limits = ExitStack()
        self._limits.enter_context(openmp_threads(1))
        self._limits.enter_context(_ONE_BLAS_THREAD)
        if self.n_threads > 1:
            self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="ssddbc")
        return self

    def __exit__(self, *_exception) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._limits.close()

    def run(
        self, task: Callable, items: Iterable, after_each: Callable[[], None] | None = None
    ) -> list:
        """Results of ``task(item)`` in the order of the items.

        ``after_each`` is called repeatedly from the calling thread.
        """
        items = list(items)
        results: list = [None] * len(items)
        # Few long-lived jobs fetch items from a counter, whose ``next`` is atomic. One future per
        # item would cost more than a small item.
        counter = itertools.count()
        failed = False

        def fetch_and_run() -> None:
            nonlocal failed
            try:
                while not failed and (i := next(counter)) < len(items):
                    results[i] = task(items[i])
                    if self._pool is None and after_each is not None:
                        after_each()
            except BaseException:
                failed = True
                raise

        if self._pool is None or len(items) < 2:
            fetch_and_run()
            return results
        jobs = [self._pool.submit(fetch_and_run) for _ in range(min(self.n_threads, len(items)))]
        running = set(jobs)
        try:
            while running:
                _, running = wait(running, REPORT_SECONDS, return_when=FIRST_EXCEPTION)
                if after_each is not None:
                    after_each()
        except BaseException:
            failed = True
            raise
        for job in jobs:
            job.result()
        return results
