"""Forks that import this end without freeing memory, which would copy all that they share.

That takes half a processor second of a stage. It is to be imported before other packages, so that
what they do at exit is done first.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator

_status = 0


@contextlib.contextmanager
def noted_status() -> Iterator[None]:
    """Note with which status this process ends."""
    global _status
    _status = 1
    try:
        yield
        _status = 0
    except SystemExit as end:
        _status = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise


@atexit.register
def _end() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None, broken or closed
            stream.flush()
    os._exit(_status)
