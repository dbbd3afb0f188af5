"""What surrounds a stage (interpreter, environment, open files), and how it breaks none.

A notebook, a service or a cluster sets variables for its own ends, a container has no home and a
user without a name, a shell may have closed what a program writes to. What Python itself obeys has
to be dealt with before it starts (``stage.sh``, for the rules), the rest when a stage does
(:func:`settle`). This module needs no package, and can tell that one is missing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from types import TracebackType

from gcdflow.errors import one_line

# Where, and for which processors, compiled code is kept. Numba's other variables are for debuggers,
# or for threads of its own, which nothing here uses.
_KEPT_OF_NUMBA = ("NUMBA_CACHE_DIR", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
# Loading processes talk by sockets in the temporary folder, whose names may have 107 bytes;
# /pymp-abcdefgh/listener-abcdefgh is theirs.
_LONGEST_FOLDER = 70
_VARIABLES = {
    "MPLBACKEND": "agg",  # a notebook's is unknown elsewhere, and matplotlib refuses it
    # PyTorch makes this folder as soon as there is an optimiser, by default in /tmp and with the
    # user's name in its own, which a container may lack. Nothing is compiled: nothing goes there.
    "TORCHINDUCTOR_CACHE_DIR": os.sep,
}


def settle() -> None:
    """Make this process independent of what surrounds it: what a stage does first."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        # Names of files would be misread, and only a new start of Python changes that.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.environ.update(_VARIABLES)
    for name in list(os.environ):
        if name.startswith("NUMBA_") and name not in _KEPT_OF_NUMBA:
            del os.environ[name]
    if not os.path.isabs(os.path.expanduser("~")):  # else libraries make a folder called ~
        os.environ["HOME"] = os.sep
    _have_temporary_folder()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file would take its place, and what is printed with it
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        with contextlib.suppress(AttributeError):  # a test's
            sys.stdout.reconfigure(errors="backslashreplace")


def _have_temporary_folder() -> None:
    """Take one that can be written, and whose name leaves room for that of a socket."""
    try:
        if len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_FOLDER:
            return
    except FileNotFoundError:  # nothing usual can be written, as in a read-only container
        pass
    folder = "/tmp" if os.access("/tmp", os.W_OK) else "/dev/shm"
    os.environ["TMPDIR"] = tempfile.tempdir = folder


def foreign_interpreter(error: ImportError) -> str | None:
    """What to say of a package that is missing, or too old; None if the fault is our own."""
    package = (error.name or "gcdflow").partition(".")[0]
    if package == "gcdflow":
        return None
    version = ".".join(map(str, sys.version_info[:3]))
    return one_line(
        f"{error}; {sys.executable} (Python {version}) lacks it: activate the environment of this "
        "workflow (`source .venv/bin/activate` where `make test` or `make demo` has set it up)"
    )


def watch_imports() -> None:
    """Let this process say in one sentence that a package is missing, and no warning be an error.

    Before any package is imported.
    """
    sys.excepthook = _excepthook
    if any(action == "error" for action, *_ in warnings.filters):
        warnings.simplefilter("default")  # no stage ends for what a library will change one day


def _excepthook(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    sentence = foreign_interpreter(error) if isinstance(error, ImportError) else None
    if sentence is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"{os.path.basename(sys.argv[0])}: error: {sentence}", file=sys.stderr)
