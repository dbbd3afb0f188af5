"""The same training started twice by mistake: neither harms the other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gcdflow.errors import InputError
from gcdflow.files import lease as lease_module
from gcdflow.files.atomic import canonical_json
from gcdflow.files.event_log import read_scalars
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from small_training import settings

SCRIPT = Path(__file__).parents[2] / "workflow_scripts" / "train.py"
EPOCHS = 8


def files(split_path: Path, folder: Path) -> SegmentFiles:
    return SegmentFiles(split_path, folder / "ckpt.pt", folder / "log")


def start(split_path: Path, folder: Path) -> subprocess.Popen:
    """A process that trains the segment of :func:`files`."""
    flags = ["--settings", canonical_json(settings().model_dump()), "--split", str(split_path)]
    flags += ["--output", str(folder / "ckpt.pt"), "--log-dir", str(folder / "log")]
    flags += ["--stop-at-epoch", str(EPOCHS), "--threads", "1", "--device", "cpu"]
    return subprocess.Popen([sys.executable, SCRIPT, *flags], stderr=subprocess.PIPE, text=True)


def train_here(split_path: Path, folder: Path) -> None:
    """The same in this process."""
    where = files(split_path, folder)
    train_segment(settings(), where, stop_at_epoch=EPOCHS, device="cpu", threads=1)


def start_and_stop(split_path: Path, folder: Path) -> subprocess.Popen:
    """The same, stopped (it stands still) once it has saved an epoch."""
    process = start(split_path, folder)
    wait_for(files(split_path, folder).rolling.exists)
    process.send_signal(signal.SIGSTOP)
    return process


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


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
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(f"already trained to epoch {EPOCHS}" in text for text in said) == 1
    assert_whole(tmp_path, undisturbed)


def test_the_second_refuses_where_the_first_takes_long(
    split_path, tmp_path, undisturbed, monkeypatch
):
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 0.2)
    first = start_and_stop(split_path, tmp_path)
    expected = rf"ckpt\.pt: is being written by process {first.pid} on .*; wait until it ends"
    with pytest.raises(InputError, match=expected):
        train_here(split_path, tmp_path)
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=300) == 0, first.stderr.read()
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
    first.send_signal(signal.SIGCONT)
    _, said = first.communicate(timeout=300)
    assert first.returncode == 2
    assert "another process has taken this over while this one stood still" in said
    assert_whole(tmp_path, undisturbed)
