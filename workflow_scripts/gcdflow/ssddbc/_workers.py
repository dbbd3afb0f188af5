"""A pool of threads that is obeyed: compiled kernels without the GIL, each with one BLAS thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import joblib
from threadpoolctl import threadpool_limits


class Workers:
    """Run tasks on ``n_jobs`` threads, as a context manager.

    While it is open, BLAS and OpenMP run single-threaded in the whole process, because the tasks
    themselves are what runs in parallel. Tasks must not depend on their order.

    Parameters
    ----------
    n_jobs : int or None
        Threads, as in scikit-learn: None is 1, -1 is every processor that this process may use.
    """

    def __init__(self, n_jobs: int | None = None):
        self.n_threads = max(1, joblib.effective_n_jobs(1 if n_jobs is None else n_jobs))
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        self._limits = threadpool_limits(limits=1)
        if self.n_threads > 1:
            self._pool = ThreadPoolExecutor(self.n_threads, thread_name_prefix="ssddbc")
        return self

    def __exit__(self, *_exception) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._limits.restore_original_limits()

    def run(
        self, task: Callable, items: Iterable, after_each: Callable[[], None] | None = None
    ) -> list:
        """Results of ``task(item)`` in the order of the items.

        ``after_each`` is called from the calling thread whenever some have ended.
        """
        items = list(items)
        if self._pool is None or len(items) < 2:
            results = []
            for item in items:
                results.append(task(item))
                if after_each is not None:
                    after_each()
            return results
        futures = [self._pool.submit(task, item) for item in items]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                if after_each is not None:
                    after_each()
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return [future.result() for future in futures]
