"""Compilation of kernels: they run without the GIL and are cached on the disk if possible."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from numba import njit
from numba.core.caching import FunctionCache

log = logging.getLogger(__name__)


def compiled(function: Callable, **options) -> Callable:
    """Compile a kernel with Numba on its first call; ``options`` are those of ``njit``.

    Numba caches the machine code in the first writable folder: ``NUMBA_CACHE_DIR``, one beside the
    source, or one in the user's home. If none is writable (for example in a read-only container),
    each process compiles the kernels.
    """
    kernel = njit(nogil=True, error_model="numpy", **options)(function)
    if kernel is not function:  # with NUMBA_DISABLE_JIT it is
        try:
            kernel._cache = _Cache(function)  # like cache=True, but with a cache that never fails
        except Exception as error:  # RuntimeError: no folder is writable
            _say(error)
    return kernel


class _Cache(FunctionCache):
    """Numba's cache of machine code, without errors: if it fails, the kernel is compiled.

    The folder may be full, or hold damaged files or files that this user may not read.
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
