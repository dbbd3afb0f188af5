"""One finished run of the smallest shipped configuration; tests use copies of it."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import snakemake_runs
from filelock import FileLock
from gcdflow.files.formats import Features
from snakemake_runs import make
from stage_commands import FEW, LATE, RUN, STAGES, commands_of_stages
from stage_processes import in_process


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


@pytest.fixture(scope="session")
def commands(finished_run: Path) -> dict[str, list[str]]:
    """Arguments of each stage, as Snakemake would run it for one epoch of `complete_run`."""
    return commands_of_stages(finished_run)


@pytest.fixture(scope="session")
def complete_run(finished_run: Path, commands: dict[str, list[str]], shared: Path) -> Path:
    """Directory with the finished run and what further stages make; tests must not change it.

    Like the finished run, all test processes share it.
    """
    directory = shared / "complete"
    with FileLock(f"{directory}.lock"):
        if not (directory / "complete").exists():
            shutil.copytree(finished_run, directory, copy_function=shutil.copy2)
            with contextlib.chdir(directory):
                few_features(Path(RUN, "features_epoch003.npz")).save(FEW)
                for stage in LATE:
                    done = in_process(stage, *commands[stage])
                    assert done.returncode == 0, done.stderr
            (directory / "complete").touch()
    return directory


def few_features(path: Path, n: int = 150) -> Features:
    """Those of the first samples, of which estimates of the number of clusters take a second."""
    whole = Features.load(path)
    arrays = ("features", "indices", "labels", "train_mask")
    return replace(whole, **{name: getattr(whole, name)[:n] for name in arrays})


@pytest.fixture
def finished_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run with its modification times; tests may change it."""
    directory = tmp_path / "copy"
    shutil.copytree(finished_run, directory, copy_function=shutil.copy2)
    return directory
