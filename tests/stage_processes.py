"""Stages as separate processes, as a shell starts them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"


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
