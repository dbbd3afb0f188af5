"""How kernels are compiled: to run without the GIL, and kept on the disk where that can be."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from numba import njit
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)


def compiled(function: Callable, **options) -> Callable:
    """Compile a kernel with Numba when it is first called; ``options`` are those of ``njit``.

    The machine code is kept where Numba finds a folder that can be written: ``NUMBA_CACHE_DIR``,
    one beside the source, or one in the user's home. Where there is none (a container whose code
    and home are read-only), each process compiles for itself.
    """
    kernel = njit(nogil=True, error_model="numpy", **options)(function)
    if kernel is not function:  # as it is under NUMBA_DISABLE_JIT
        try:
            kernel._cache = _Cache(function)  # what cache=True does, with a cache that never fails
        except Exception as error:  # RuntimeError: no folder can be written
            _say(error)
    return kernel


class _Cache(FunctionCache):
    """Numba's cache of machine code. Trouble with it ends nothing: the kernel is compiled.

    The folder may be full, or hold damaged files, or those of a user who lets nobody read them.
    """

    def load_overload(self, *key):
        try:
            return super().load_overload(*key)
        except Exception as error:  # unpickling may raise anything
            return _say(error)

    def save_overload(self, *key_and_code):
        try:
            super().save_overload(*key_and_code)
        except Exception as error:
            _say(error)


def _say(error: Exception) -> None:
    reason = getattr(error, "strerror", None) or type(error).__name__
    _say_once("no folder can be written" if isinstance(error, RuntimeError) else reason)


@functools.cache
def _say_once(reason: str) -> None:
    log.info(
        "compiled code cannot be kept (%s): each process compiles it, which takes seconds; "
        "NUMBA_CACHE_DIR names another folder",
        reason,
    )
