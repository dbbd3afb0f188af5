"""How much memory this process may still take."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_memory() -> int:
    """Bytes that this process may still take: free memory, and what its cgroups leave of it.

    A cluster confines each job by a cgroup of its own, which lies within others.
    """
    with open("/proc/meminfo", encoding="ascii") as file:
        entries = dict(line.split(":", 1) for line in file)
    available = int(entries["MemAvailable"].split()[0]) * 1024
    return min([available, *(_left(folder) for folder in _own_cgroups())])


def _own_cgroups() -> list[Path]:
    """Folders of the memory controller from this process's cgroup upwards; some may not exist."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux, or hidden
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 has one hierarchy for all; version 1 one for each controller.
        if controllers == "" or "memory" in controllers.split(","):
            top = _CGROUPS / "memory" if controllers else _CGROUPS
            inner = Path(path.lstrip("/"))
            found += [top / part for part in (inner, *inner.parents)]
    return found


def _left(folder: Path) -> float:
    """Bytes that a cgroup leaves; infinity if it sets no limit that could be read.

    What the kernel caches of files counts as used, but gives way.
    """
    for limit, usage, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((folder / limit).read_text())  # or "max"
            used = int((folder / usage).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
            return most - used + int(dict(line.split() for line in lines)[cached])
        except (OSError, ValueError, KeyError):
            continue
    return float("inf")
