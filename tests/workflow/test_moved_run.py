"""A finished run that was copied without times."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from snakemake_runs import make, planned

RUN = "runs/digits-smoke"


def copied_without_times(source: Path, destination: Path, *folders: str) -> Path:
    """Files arrive in reverse order of their names: features before their checkpoint."""
    for name in folders:
        shutil.copytree(source / name, destination / name, copy_function=shutil.copyfile)
    files = sorted((p for p in destination.rglob("*") if p.is_file()), reverse=True)
    for second, path in enumerate(files):
        os.utime(path, (1.7e9 + second, 1.7e9 + second))
    return destination


# Without logs no benchmarks have times; with .snakemake, small files are compared by checksums.
@pytest.mark.parametrize("folders", [["runs"], ["runs", "logs", ".snakemake"]])
def test_nothing_is_made_again(finished_run: Path, tmp_path: Path, folders: list[str]):
    copy = copied_without_times(finished_run, tmp_path / "copy", *folders)
    later = copy / RUN / "split.npz"
    later.touch()
    assert planned(copy, f"{RUN}/report.md") == {}
    assert (copy / RUN / "ckpt_epoch004.pt").stat().st_mtime >= later.stat().st_mtime


def test_changed_files_are_made_again_with_all_that_depend_on_them(
    finished_run: Path, tmp_path: Path
):
    copy = copied_without_times(finished_run, tmp_path / "copy", "runs")
    shutil.copyfile(copy / RUN / "pseudo_epoch002.npz", copy / RUN / "pseudo_epoch003.npz")
    assert planned(copy, f"{RUN}/ckpt_epoch004.pt") == {"cluster": 1, "train": 1}


def test_without_records_times_decide_and_touch_repairs_them(finished_run: Path, tmp_path: Path):
    copy = copied_without_times(finished_run, tmp_path / "copy", "runs")
    shutil.rmtree(copy / RUN / ".made")
    assert planned(copy, f"{RUN}/report.md")["train"] == 2
    make(copy, f"{RUN}/report.md", options=("--touch",))
    assert planned(copy, f"{RUN}/report.md") == {}
