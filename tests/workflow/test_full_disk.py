"""Every stage on a full or read-only disk: good files stay, and a retry succeeds."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage_commands import RUN, STAGES, content
from stage_processes import in_process

PAGE = 4096  # a tmpfs allocates pages


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
def disk(complete_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small file system with the complete run, as the current directory."""
    path = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", path]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs the rights for it")
    try:
        for folder in ("runs", "results"):
            shutil.copytree(complete_run / folder, path / folder)
        with contextlib.chdir(path):
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


# The outputs of the others take a page at most, so that half of it is none.
LARGE = sorted({*STAGES} - {"settings", "evaluate", "report", "summary", "estimate", "baseline"})


@pytest.mark.parametrize(
    ("stage", "share"), [(stage, 0) for stage in STAGES] + [(stage, 0.5) for stage in LARGE]
)
def test_a_full_disk(disk, commands, stage, share):
    before = content(disk)
    if stage == "train":
        shutil.rmtree(f"{RUN}/.rolling")  # else it would reuse the finished training
        before = content(disk)
    arguments = commands[stage]
    n_bytes = int(share * largest_output(stage, arguments))
    assert n_bytes >= PAGE or not share
    with room(disk, n_bytes):
        done = in_process(stage, *arguments)
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert re.search(r"error: \S+: cannot be written \(No space left on device", error), error
    assert re.search(r"[1-9]\d* (of them|bytes) found no room", error), error
    assert content(disk) == before
    assert in_process(stage, *arguments).returncode == 0
    after = content(disk)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.endswith(".tmp") or ".lock" in name]


@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_read_only(disk, commands, stage):
    before = content(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        done = in_process(stage, *commands[stage])
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert done.returncode == 2
    error = done.stderr.splitlines()[-1]
    assert re.search(r"error: \S+: cannot be written \(Read-only file system\)", error), error
    assert content(disk) == before
