"""One finished run of the smallest shipped configuration; tests use copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import snakemake_runs
from filelock import FileLock
from snakemake_runs import make
from stage_commands import STAGES


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all test processes share."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session", autouse=True)
def _seen_stages(shared: Path) -> None:
    """Let the first job of each stage, in whatever test process, have a Python of its own.

    test_hostile_surroundings.py gives one to these stages.
    """
    snakemake_runs.seen_stages = shared / "stages"
    for stage in STAGES:
        (snakemake_runs.seen_stages / f"{stage}.py").mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session")
def finished_run(shared: Path) -> Path:
    """Directory with the finished `digits-smoke` run; tests must not change it.

    All test processes share it; the first one that needs it makes it.
    """
    directory = shared / "finished"
    with FileLock(f"{directory}.lock"):
        if not (directory / "runs/digits-smoke/report.md").exists():
            directory.mkdir(exist_ok=True)
            make(directory, "runs/digits-smoke/report.md")
    return directory


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run with its modification times; tests may change it."""
    directory = tmp_path / "copy"
    shutil.copytree(finished_run, directory, copy_function=shutil.copy2)
    return directory
