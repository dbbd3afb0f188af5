"""Every stage on a full or read-only disk: good files stay, and a retry succeeds."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from gcdflow.clustering import number
from snakemake_runs import ROOT
from stage_commands import LATE, RUN, STAGES, commands_of_stages, content

PAGE = 4096  # a tmpfs allocates pages


def run(stage: str, arguments: list[str]) -> int:
    """Run a stage in this process, which has imported the packages; return its exit status."""
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    script, argv = ROOT / "workflow_scripts" / f"{stage}.py", sys.argv
    sys.argv = [str(script), *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = argv
        for signum, handler in before.items():
            signal.signal(signum, handler)
        gc.collect()  # files that a failed stage left open
    return 0


@contextlib.contextmanager
def room(disk: Path, n_bytes: int) -> Iterator[None]:
    """Leave this much space on the disk, rounded to pages."""
    status = os.statvfs(disk)
    filler = disk / "filled" / "filler"
    filler.parent.mkdir(exist_ok=True)
    with open(filler, "wb") as file:
        free = status.f_bavail * status.f_bsize
        os.posix_fallocate(file.fileno(), 0, free - n_bytes // PAGE * PAGE)
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture(scope="module")
def commands(finished_run: Path) -> dict[str, list[str]]:
    """Arguments of each stage, as Snakemake would run it for one epoch."""
    return commands_of_stages(finished_run)


@pytest.fixture(scope="module")
def disk(
    finished_run: Path, commands: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A small file system with the finished run, as the current directory."""
    path = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs the rights for it")
    try:
        shutil.copytree(finished_run / "runs", path / "runs")
        with contextlib.chdir(path), pytest.MonkeyPatch.context() as patch:
            # K-means with up to 1,000 clusters takes ten times as long, and writes the same file.
            patch.setitem(number.ESTIMATES, "estimated", partial(number.estimated_number, most=20))
            assert [run(stage, commands[stage]) for stage in LATE] == [0] * len(LATE)
            yield path
    finally:
        # Lazily: on a busy machine, a process that has ended may still hold a file for a moment.
        subprocess.run(["umount", "--lazy", path], check=True)


def largest_output(stage: str, arguments: list[str]) -> int:
    """Bytes of the largest file that a stage writes."""
    flags = {"--output", "--grid-table", "--tsv", "--markdown"}
    flags |= {"--split", "--truth"} if stage == "dataset" else set()
    pairs = itertools.pairwise(arguments)
    return max(Path(value).stat().st_size for flag, value in pairs if flag in flags)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_full_disk(disk, commands, capfd, stage, share):
    before = content(disk)
    if stage == "train":
        shutil.rmtree(f"{RUN}/.rolling")  # else it would reuse the finished training
        before = content(disk)
    arguments = commands[stage]
    with room(disk, int(share * largest_output(stage, arguments))):
        assert run(stage, arguments) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert re.search(r"error: \S+: cannot be written \(No space left on device", error), error
    assert re.search(r"[1-9]\d* (of them|bytes) found no room", error), error
    assert content(disk) == before
    assert run(stage, arguments) == 0
    after = content(disk)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.endswith(".tmp") or ".lock" in name]


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_read_only(disk, commands, capfd, stage):
    before = content(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        assert run(stage, commands[stage]) == 2
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    error = capfd.readouterr().err.splitlines()[-1]
    assert re.search(r"error: \S+: cannot be written \(Read-only file system\)", error), error
    assert content(disk) == before
