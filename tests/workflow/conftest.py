"""One finished run of the smallest shipped configuration, which tests take copies of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from snakemake_runs import make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory in which the whole `digits-smoke` run was made; not to be changed."""
    directory = tmp_path_factory.mktemp("finished")
    make(directory, "runs/digits-smoke/report.md")
    return directory


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run with its modification times, to be changed at will."""
    directory = tmp_path / "copy"
    shutil.copytree(finished_run, directory, copy_function=shutil.copy2)
    return directory
