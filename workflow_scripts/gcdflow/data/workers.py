"""Worker processes that load batches, and clear errors if one of them fails.

PyTorch's ``DataLoader`` is not used because its failures look like bugs: its handler of
``SIGCHLD`` raises at any line of the main thread, and it sends tensors as file descriptors, which a
killed worker cannot hand over. Here, each worker has a pipe and anonymous shared memory. This needs
neither ``/dev/shm`` nor semaphores, and the main process waits for the pipe and for the end of the
worker at the same time.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch

from gcdflow.distributed.interruption import SIGNALS, outlive_first_sigterm
from gcdflow.errors import MachineError, StageError, machine_error
from gcdflow.surroundings import return_freed_memory

Arrays: TypeAlias = tuple[np.ndarray, ...]

TIMEOUT_SECONDS = 600  # a batch usually takes seconds
PROCESS_NAME = "gcdflow-loader"  # in top and ps; Linux shows 15 characters
PREFETCHED = 2  # batches that each worker makes ahead
_ALIGNMENT = 64  # bytes, for each array in shared memory
_MOST_ARRAYS = 8  # per result
_SECONDS_BETWEEN_LOOKS = 2.0


def in_workers(
    function: Callable[[object], Arrays],
    items: Iterable[object],
    num_workers: int,
    n_bytes: Callable[[], int],
) -> Iterator[Arrays]:
    """Apply a function to the items and yield the results in order.

    Parameters
    ----------
    function : callable
        Returns a tuple of arrays for an item.
    num_workers : int
        Number of processes that call the function; with 0, this process does.
    n_bytes : callable
        Returns the largest number of bytes of one result; called only if there are workers.

    Raises
    ------
    MachineError
        If a worker dies, memory runs out, or no result arrives for ``TIMEOUT_SECONDS``.
    Exception
        Any error of the function, with the worker's traceback as a note.
    """
    # On other systems, forking a process that has threads may fail.
    if num_workers == 0 or sys.platform != "linux":
        yield from map(function, items)
        return
    workers: list[_Worker] = []
    try:
        size = n_bytes()
        for _ in range(num_workers):
            workers.append(_Worker(function, size))
        asked: deque[_Worker] = deque()  # in the order of the items
        jobs = zip(itertools.cycle(workers), items)
        for worker, item in itertools.islice(jobs, PREFETCHED * num_workers):
            worker.ask(item)
            asked.append(worker)
        while asked:
            result = asked.popleft().result()
            for worker, item in itertools.islice(jobs, 1):
                worker.ask(item)
                asked.append(worker)
            yield result
    finally:
        for worker in workers:
            worker.kill()


class _Worker:
    """A process that applies a function; up to ``PREFETCHED`` items may be pending."""

    def __init__(self, function: Callable[[object], Arrays], n_bytes: int):
        size = n_bytes + _ALIGNMENT * _MOST_ARRAYS
        self._slots = [mmap.mmap(-1, size) for _ in range(PREFETCHED)]
        self._n_results = 0
        self._connection, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("fork").Process(
            target=_work, args=(theirs, self._slots, function), daemon=True
        )
        # Until the worker has set its own handlers, it would use those of this process.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()  # now the pipe ends with the worker

    def ask(self, item: object) -> None:
        """Send an item to the worker."""
        try:
            self._connection.send(item)
        except ConnectionError:
            raise self._gone() from None

    def result(self) -> Arrays:
        """Wait for the result of the oldest pending item; return copies of its arrays."""
        if not wait([self._connection, self._process.sentinel], TIMEOUT_SECONDS):
            raise MachineError(
                f"no batch came from the data-loading processes for {TIMEOUT_SECONDS} seconds; "
                "are the images on a disk that does not answer?"
            )
        try:
            # A result that the worker sent before it died can still be read.
            answer = self._connection.recv() if self._connection.poll() else None
        except (EOFError, ConnectionError):
            answer = None
        if answer is None:
            raise self._gone()
        if isinstance(answer, BaseException):
            raise answer
        slot = self._slots[self._n_results % PREFETCHED]
        self._n_results += 1
        return tuple(
            np.frombuffer(slot, dtype, count=int(np.prod(shape)), offset=offset)
            .reshape(shape)
            .copy()
            for dtype, shape, offset in answer
        )

    def kill(self) -> None:
        """Kill the worker."""
        self._process.kill()
        self._process.join(_SECONDS_BETWEEN_LOOKS)
        self._connection.close()

    def _gone(self) -> MachineError:
        self._process.join(_SECONDS_BETWEEN_LOOKS)
        status = self._process.exitcode
        how = f"exited with status {status}"
        if status is None:
            how = "no longer answers"
        elif status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        return MachineError(
            f"a data-loading process {how}; the out-of-memory killer may have ended it: fewer "
            "--num-workers need less memory"
        )


# -- in the worker ---------------------------------------------------------------------------------


def _work(
    connection: Connection, slots: list[mmap.mmap], function: Callable[[object], Arrays]
) -> None:
    """Process items until the main process is gone."""
    outlive_first_sigterm()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stage handles Ctrl-C
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(PROCESS_NAME)
    return_freed_memory()
    torch.set_num_threads(1)  # a forked process lacks PyTorch's threads and would wait for them
    parent = os.getppid()
    for slot in itertools.cycle(slots):
        # Other workers may hold copies of the pipe's other end, so it may stay open. Check the
        # parent too.
        while not connection.poll(_SECONDS_BETWEEN_LOOKS):
            if os.getppid() != parent:
                return
        try:
            connection.send(_answer(connection.recv(), slot, function))
        except (EOFError, ConnectionError):
            return


def _answer(
    item: object, slot: mmap.mmap, function: Callable[[object], Arrays]
) -> list[tuple[str, tuple[int, ...], int]] | Exception:
    """Write the result into the slot; return dtype, shape, offset of each array, or the error."""
    try:
        arrays, placed, end = function(item), [], 0
        for array in arrays:
            place = np.frombuffer(slot, array.dtype, count=array.size, offset=end)
            place.reshape(array.shape)[...] = array
            placed.append((array.dtype.str, array.shape, end))
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        return placed
    except StageError as error:
        return error
    except Exception as error:
        if (known := machine_error(error)) is not None:
            return known
        return _sendable(error)


def _sendable(error: Exception) -> Exception:
    """The error with its traceback as a note; a RuntimeError if it cannot be pickled."""
    text = f"in a data-loading process:\n{traceback.format_exc()}"
    try:
        copy = pickle.loads(pickle.dumps(error))  # of this process's own making
    except Exception:
        copy = RuntimeError(repr(error))
    copy.add_note(text)
    return copy
