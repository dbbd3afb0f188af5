"""The amount of memory that this process may still allocate."""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_memory() -> int:
    """Bytes that this process may still allocate: free memory within the limits of its cgroups.

    A cluster limits each job by its own cgroup, which is nested in others.
    """
    with open("/proc/meminfo", encoding="ascii") as file:
        entries = dict(line.split(":", 1) for line in file)
    available = int(entries["MemAvailable"].split()[0]) * 1024
    return min([available, *(_left(folder) for folder in _own_cgroups())])


def _own_cgroups() -> list[Path]:
    """Folders of the memory controller from this process's cgroup upwards; some may not exist."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux, or hidden
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
    """Bytes up to the limit of a cgroup; infinity if it has no readable limit.

    The kernel's cache of files counts as used memory, but it can be reclaimed.
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
