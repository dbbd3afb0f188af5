"""Find out whether a process is alive, and manage files that belong to one process."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from pathlib import Path

_SECONDS_OF_A_DAY = 86400


def process_start(pid: int) -> str | None:
    """Start time of a process on this machine, in the kernel's clock ticks; None if it is gone.

    The system may reuse the number of a process. Number and start time together are unique.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def machine() -> str:
    """The scope in which process numbers are unique: this boot of the kernel, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return socket.gethostname()


def private_file(path: Path, suffix: str) -> Path:
    """A hidden file beside ``path`` whose name contains the number of this process."""
    return path.with_name(f".{path.name}.{machine()}.{os.getpid()}.{suffix}")


def remove_orphans(path: Path, suffix: str) -> None:
    """Delete private files of dead processes, and those of other machines older than a day."""
    _remove_orphans(path.parent, re.escape(path.name), suffix)


def remove_orphans_in(folder: Path, suffix: str) -> None:
    """Do so for all files of a folder in one look: a look takes as long as the folder is large."""
    _remove_orphans(folder, ".+", suffix)


def _remove_orphans(folder: Path, names: str, suffix: str) -> None:
    pattern = re.compile(rf"\.{names}\.(.+)\.(\d+)\.{re.escape(suffix)}", re.DOTALL)
    here = machine()
    with contextlib.suppress(OSError):  # no folder yet, or another process was faster
        for name in os.listdir(folder):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            file = folder / name
            if match[1] == here:
                is_orphan = process_start(int(match[2])) is None
            else:
                is_orphan = time.time() - file.stat().st_mtime > _SECONDS_OF_A_DAY
            if is_orphan:
                file.unlink(missing_ok=True)
