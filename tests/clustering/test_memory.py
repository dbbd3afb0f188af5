"""Memory that is left: of the machine, and of the cgroups that a process lies in."""

from __future__ import annotations

from pathlib import Path

import pytest
from gcdflow.clustering import memory

MIB = 2**20
VERSION_2 = ("", "", ("memory.max", "memory.current", "inactive_file"))
VERSION_1 = (
    "cpu,memory",
    "memory",
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


@pytest.fixture
def in_cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Pretend that this process lies in `/job_7/step_0`."""

    def pretend(version, limits: dict[str, tuple[object, int, int]]) -> None:
        controllers, top, (limit, usage, cached) = version
        (tmp_path / "own").write_text(f"0:freezer:/elsewhere\n4:{controllers}:/job_7/step_0\n")
        for name, (most, used, cache) in limits.items():
            folder = tmp_path / "groups" / top / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / limit).write_text(f"{most}\n")
            (folder / usage).write_text(f"{used}\n")
            (folder / "memory.stat").write_text(f"rss 1\n{cached} {cache}\n")
        monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "groups")
        monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")

    return pretend


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_the_tightest_of_the_own_cgroups_counts(in_cgroup, version):
    in_cgroup(
        version,
        {
            "job_7/step_0": (60 * MIB, 10 * MIB, 0),
            "job_7": (30 * MIB, 12 * MIB, 2 * MIB),  # 2 MiB of it are cached files
            "job_8": (1 * MIB, 0, 0),  # somebody else's
        },
    )
    assert memory.available_memory() == 20 * MIB


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_no_limit_is_none(in_cgroup, version):
    machine = memory.available_memory()
    in_cgroup(version, {"job_7": ("max", 0, 0)})
    assert memory.available_memory() > machine / 2


def test_a_machine_without_cgroups(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "none")
    assert MIB < memory.available_memory() < 2**50
