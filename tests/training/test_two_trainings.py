"""The same training started twice by mistake: neither harms the other."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
import torch
from gcdflow.errors import InputError
from gcdflow.files import lease as lease_module
from gcdflow.files.atomic import canonical_json
from gcdflow.files.event_log import read_scalars
from gcdflow.losses.infonce import info_nce
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from small_training import settings, signal_at
from stage_processes import in_process, wait_for

EPOCHS = 8


def files(split_path: Path, folder: Path) -> SegmentFiles:
    return SegmentFiles(split_path, folder / "ckpt.pt", folder / "log")


def flags(split_path: Path, folder: Path, stop: int) -> list:
    found = ["--settings", canonical_json(settings().model_dump()), "--split", split_path]
    found += ["--output", folder / "ckpt.pt", "--stop-at-epoch", stop]
    return [*found, "--threads", 1, "--device", "cpu"]


def start(split_path: Path, folder: Path) -> BaseProcess:
    """A fork that runs the stage for the segment of :func:`files`, and writes what it says."""
    said = flags(split_path, folder, EPOCHS)

    def stage() -> None:
        torch.set_num_threads(1)  # a fork cannot use the threads of its parent
        done = in_process("train", *said, "--log-dir", folder / "log")
        (folder / f"said{os.getpid()}").write_text(done.stderr)
        sys.exit(done.returncode)

    process = multiprocessing.get_context("fork").Process(target=stage)
    process.start()
    return process


def ended(process: BaseProcess, folder: Path) -> tuple[int | None, str]:
    """Wait for a stage; return its status and what it said."""
    process.join(300)
    return process.exitcode, (folder / f"said{process.pid}").read_text()


def train_here(split_path: Path, folder: Path) -> None:
    """The same in this process."""
    where = files(split_path, folder)
    train_segment(settings(), where, stop_at_epoch=EPOCHS, device="cpu", threads=1)


def start_and_stop(split_path: Path, folder: Path) -> BaseProcess:
    """The same, stopped (it stands still) in its second epoch."""
    with pytest.MonkeyPatch.context() as patch:
        signal_at(patch, {6}, signal.SIGSTOP)
        process = start(split_path, folder)
    wait_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    return process


def assert_whole(folder: Path, undisturbed: bytes) -> None:
    """The checkpoint is right, each step is logged once, and nothing else is left."""
    assert (folder / "ckpt.pt").read_bytes() == undisturbed
    steps = [step for step, _ in read_scalars(folder / "log")["L_total"]]
    assert steps == list(range(1, EPOCHS + 1))
    left = [path.name for path in (folder / ".rolling").iterdir()]
    assert len(left) == 1
    assert left[0].endswith(".done")


@pytest.fixture(scope="module")
def undisturbed(split_path: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("undisturbed")
    train_here(split_path, folder)
    return (folder / "ckpt.pt").read_bytes()


def test_the_second_waits_for_the_first(split_path, tmp_path, undisturbed):
    both = [start(split_path, tmp_path) for _ in range(2)]
    found = [ended(process, tmp_path) for process in both]
    assert [status for status, _ in found] == [0, 0], found
    assert sum(f"already trained to epoch {EPOCHS}" in said for _, said in found) == 1
    assert_whole(tmp_path, undisturbed)


def test_the_second_refuses_where_the_first_takes_long(
    split_path, tmp_path, undisturbed, monkeypatch
):
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 0.2)
    first = start_and_stop(split_path, tmp_path)
    expected = rf"ckpt\.pt: is being written by process {first.pid} on .*; wait until it ends"
    with pytest.raises(InputError, match=expected):
        train_here(split_path, tmp_path)
    os.kill(first.pid, signal.SIGCONT)
    assert ended(first, tmp_path)[0] == 0
    assert_whole(tmp_path, undisturbed)


def test_a_first_on_another_host_that_stood_still_gives_up(
    split_path, tmp_path, undisturbed, monkeypatch
):
    """A requeued job: its host was taken for dead, and comes back."""
    monkeypatch.setattr(lease_module, "DEAD_AFTER_SECONDS", 0.2)
    first = start_and_stop(split_path, tmp_path)
    rolling = files(split_path, tmp_path).rolling
    lock = rolling.with_name(f"{rolling.name}.lock-1")
    owner = json.loads(lock.read_text())
    lock.write_text(json.dumps({**owner, "machine": "elsewhere"}))
    train_here(split_path, tmp_path)
    assert_whole(tmp_path, undisturbed)
    os.kill(first.pid, signal.SIGCONT)
    status, said = ended(first, tmp_path)
    assert status == 2
    assert "another process has taken this over while this one stood still" in said
    assert_whole(tmp_path, undisturbed)


def test_a_training_of_an_earlier_version_is_made_again(split_path: Path, tmp_path: Path):
    """Else a raised number in RESULT_VERSIONS would bring the old result back."""
    said = []
    for version in (1, 1, 2):
        (tmp_path / "ckpt.pt").unlink(missing_ok=True)  # as Snakemake does
        done = in_process("train", *flags(split_path, tmp_path, 1), "--result-version", version)
        assert done.returncode == 0, done.stderr
        said.append("already trained to epoch 1" in done.stderr)
    assert said == [False, True, False]


def test_bad_steps_are_skipped_as_the_flag_says(split_path: Path, tmp_path: Path, monkeypatch):
    """Settings hold no limit: it changes no result."""
    calls: list[int] = []

    def loss(*arguments, **options):
        calls.append(1)
        return info_nce(*arguments, **options) * (float("nan") if len(calls) == 2 else 1)

    monkeypatch.setattr("gcdflow.training.objective.info_nce", loss)
    done = in_process("train", *flags(split_path, tmp_path, 1), "--skip-bad-steps", 1)
    assert done.returncode == 0, done.stderr
    assert "left out, 1 of at most 1" in done.stderr
    calls.clear()
    assert in_process("train", *flags(split_path, tmp_path / "b", 1)).returncode == 2
