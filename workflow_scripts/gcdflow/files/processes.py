"""Which process is alive, and files that belong to one."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from pathlib import Path

_SECONDS_OF_A_DAY = 86400


def process_start(pid: int) -> str | None:
    """When a process of this machine began, in the kernel's clock ticks; None if it is gone.

    Together with the number it tells one process from a later one that got the same number.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def machine() -> str:
    """What process numbers are valid in: this boot of this kernel, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # no Linux
        return socket.gethostname()


def private_file(path: Path, suffix: str) -> Path:
    """A hidden file beside ``path`` whose name is this process's own."""
    return path.with_name(f".{path.name}.{machine()}.{os.getpid()}.{suffix}")


def remove_orphans(path: Path, suffix: str) -> None:
    """Delete the private files of dead processes; of other machines, those older than a day."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"(.+)\.(\d+)" + re.escape(f".{suffix}"))
    here = machine()
    with contextlib.suppress(OSError):  # not there yet, or another process was faster
        for name in os.listdir(path.parent):
            match = pattern.fullmatch(name)
            if match is None:
                continue
            file = path.with_name(name)
            if match[1] == here:
                is_orphan = process_start(int(match[2])) is None
            else:
                is_orphan = time.time() - file.stat().st_mtime > _SECONDS_OF_A_DAY
            if is_orphan:
                file.unlink(missing_ok=True)
