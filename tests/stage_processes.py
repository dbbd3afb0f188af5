"""Stages as separate processes, as a shell starts them, or in the process of the tests."""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"


def in_process(
    stage: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess:
    """Run a stage in this process, which has imported its packages; status and messages.

    In tests/workflow, every stage also has a Python of its own.
    """
    root, argv = logging.getLogger(), sys.argv
    level, log_handlers = root.level, root.handlers[:]
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    script, status = SCRIPTS / f"{stage}.py", 0
    with (
        contextlib.redirect_stdout(io.StringIO()) as output,
        contextlib.redirect_stderr(io.StringIO()) as errors,
        contextlib.chdir(cwd or os.getcwd()),
    ):
        root.handlers.clear()  # those of pytest; with any, a stage does not log
        sys.argv = [str(script), *map(str, arguments)]
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            sys.argv = argv
            root.setLevel(level)
            root.handlers[:] = log_handlers
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
            gc.collect()  # files that a failed stage left open
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def begun(command: list[str], directory: Path, **environment: str) -> subprocess.Popen:
    """Start a command in its own process group, as a shell does."""
    return subprocess.Popen(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS), **environment},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.03)


def processes_in(directory: Path) -> dict[int, int | None]:
    """Living processes in a working directory, with their ranks if they have one."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("cwd").readlink() != directory:
                continue
            variables = process.joinpath("environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [v[5:] for v in variables if v.startswith(b"RANK=")]
        found[int(process.name)] = int(ranks[0]) if ranks else None
    return found


def ended(process: subprocess.Popen, directory: Path) -> tuple[int, str]:
    """Wait for a stage, check that no process is left, and return status and messages."""
    _, errors = process.communicate(timeout=60)
    assert processes_in(directory) == {}
    return process.returncode, errors
