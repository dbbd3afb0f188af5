"""One finished run of the smallest shipped configuration, which tests take copies of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from snakemake_runs import make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Directory in which the whole `digits-smoke` run was made; not to be changed.

    One for all processes that share the tests, made by the first that needs it.
    """
    folder = tmp_path_factory.getbasetemp()
    directory = (folder if worker_id == "master" else folder.parent) / "finished"
    with FileLock(f"{directory}.lock"):
        if not (directory / "runs/digits-smoke/report.md").exists():
            directory.mkdir(exist_ok=True)
            make(directory, "runs/digits-smoke/report.md")
    return directory


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run with its modification times, to be changed at will."""
    directory = tmp_path / "copy"
    shutil.copytree(finished_run, directory, copy_function=shutil.copy2)
    return directory
