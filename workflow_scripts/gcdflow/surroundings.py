"""Protect a stage from its surroundings: interpreter, environment variables, open files.

Notebooks, services and clusters set environment variables for their own purposes. A container may
have no home folder and a user without a name. A shell may have closed standard output.
``stage.sh`` deals with the variables that Python reads when it starts, :func:`settle` with the
rest. This module needs no package, so it can report a missing one.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from types import TracebackType

from gcdflow.errors import one_line

# These variables say where compiled code is kept, and for which processors. Numba's others serve
# debuggers, or Numba's own threads, which this package does not use.
_KEPT_OF_NUMBA = ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
# Loading processes talk through sockets in the temporary folder. The path of a socket has at most
# 107 bytes, and it ends in /pymp-abcdefgh/listener-abcdefgh.
_LONGEST_FOLDER = 70
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_VARIABLES = {
    "MPLBACKEND": "agg",  # outside a notebook, matplotlib refuses the notebook's backend
    # PyTorch makes this folder when it makes an optimiser. By default it contains the user's name,
    # which a container may lack. The folder stays unused because no stage compiles with PyTorch.
    "TORCHINDUCTOR_CACHE_DIR": os.sep,
}


def available_threads() -> int:
    """Number of processors that affinity masks and cgroup cpusets allow this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settle() -> None:
    """Make this process independent of its surroundings; a stage calls this first."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        # Python would misread file names. Only a restart changes its encoding.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ.update(_VARIABLES)
    for name in list(os.environ):
        if name.startswith("NUMBA_") and name not in _KEPT_OF_NUMBA:
            del os.environ[name]
    if not os.path.isabs(os.path.expanduser("~")):  # else libraries make a folder called ~
        os.environ["HOME"] = os.sep
    _have_temporary_folder()
    keep_freed_memory()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: prints would go into the next file that is opened
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        with contextlib.suppress(AttributeError):  # a test may have replaced it
            sys.stdout.reconfigure(errors="backslashreplace")


def keep_freed_memory() -> None:
    """Have glibc use large blocks again instead of returning them to the system.

    A step of training frees and allocates the same large tensors again. The system clears their
    pages each time, which takes a fifth of the time of `photos`.
    """
    _set_thresholds(2**31 - 1, 2**31 - 1)


def return_freed_memory() -> None:
    """Have glibc return large blocks to the system, as it does by itself.

    For processes of which there are many, and which rarely need much: a picture may be large.
    """
    _set_thresholds(2**25, 2**26)  # the largest that glibc chooses


def _set_thresholds(of_blocks: int, of_the_heap: int) -> None:
    """Smallest size of blocks that are returned alone, and of the heap's free end, in bytes."""
    with contextlib.suppress(ImportError, OSError, AttributeError):  # another C library, or none
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
        # Before glibc 2.35, blocks of more than 32 MiB are always returned. A threshold that is
        # refused would stay at 128 KiB, because setting the other one ends its adaptation.
        if mallopt(_M_MMAP_THRESHOLD, of_blocks) or mallopt(_M_MMAP_THRESHOLD, 2**25):
            mallopt(_M_TRIM_THRESHOLD, of_the_heap)


def _have_temporary_folder() -> None:
    """Choose a temporary folder that is writable and short enough for the path of a socket."""
    try:
        if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
            return
    except FileNotFoundError:  # no usual folder is writable, as in a read-only container
        pass
    folder = "/tmp" if os.access("/tmp", os.W_OK) else "/dev/shm"
    os.environ["TMPDIR"] = tempfile.tempdir = folder


def foreign_interpreter(error: ImportError) -> str | None:
    """The sentence about a missing or too old package; None if the error is our own bug."""
    package = (error.name or "gcdflow").partition(".")[0]
    if package == "gcdflow":
        return None
    version = ".".join(map(str, sys.version_info[:3]))
    return one_line(
        f"{error}; {sys.executable} (Python {version}) lacks it: activate the environment of this "
        "workflow (`source .venv/bin/activate` where `make test` or `make demo` has set it up)"
    )


def watch_imports() -> None:
    """Report a missing package in one sentence, and treat no warning as an error.

    A stage calls this before it imports any package.
    """
    sys.excepthook = _excepthook
    if any(action == "error" for action, *_ in warnings.filters):
        warnings.simplefilter("default")  # a deprecation in a library must not end a stage


def _excepthook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    sentence = foreign_interpreter(error) if isinstance(error, ImportError) else None
    if sentence is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"{os.path.basename(sys.argv[0])}: error: {sentence}", file=sys.stderr)
