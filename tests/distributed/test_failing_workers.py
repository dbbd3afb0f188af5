"""A stage ends with an error if a loading process dies, fails or hangs."""

from __future__ import annotations

import errno
import multiprocessing
import multiprocessing.heap
import multiprocessing.synchronize
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from gcdflow.config.settings import AffineAugmentation
from gcdflow.data import loading, workers
from gcdflow.data.augmentation import build_augmentation
from gcdflow.data.datasets.images import ArrayImages
from gcdflow.errors import MachineError, machine_error
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from small_training import digest
from stage_processes import SCRIPTS, begun, ended, wait_for
from test_launcher import LONG, arguments

N = 24
TEST_PROCESS = os.getpid()
AUGMENTATION = build_augmentation(AffineAugmentation())


class Failing(ArrayImages):
    """Images that run another function when a worker process reads them."""

    def __init__(self, failure: Callable[[], object]):
        super().__init__(np.zeros((N, 8, 8, 1), dtype=np.uint8))
        self._failure = failure

    def read(self, positions, shortest_side=None):
        if os.getpid() != TEST_PROCESS:
            self._failure()
        return super().read(positions)


def out_of_memory() -> None:
    raise MemoryError


def bug() -> None:
    raise ZeroDivisionError("a bug")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Odd(Exception):
    """An error that cannot be sent to another process."""

    def __init__(self, number: int, text: str):
        super().__init__(text)


def odd_bug() -> None:
    raise Odd(1, "an odd bug")


def train_views(make_split, images: ArrayImages) -> None:
    loaded = loading.training_batches(
        make_split(N), images, AUGMENTATION, epochs=range(1, 3), batch_size=4, seed=0, num_workers=2
    )
    for _, batches in loaded:
        list(batches)


def evaluation_views(make_split, images: ArrayImages) -> None:
    list(
        loading.evaluation_batches(images, AUGMENTATION, np.arange(N), batch_size=4, num_workers=2)
    )


@pytest.mark.parametrize("load", [train_views, evaluation_views])
@pytest.mark.parametrize(
    ("failure", "error", "sentence"),
    [
        (die, MachineError, r"process was ended by SIGKILL; the out-.*fewer --num-workers"),
        (lambda: os._exit(3), MachineError, r"process exited with status 3; the out-of-memory"),
        (out_of_memory, MachineError, r"memory ran out \(MemoryError\); saved state"),
        (bug, ZeroDivisionError, "a bug"),
        (odd_bug, RuntimeError, r"Odd\('an odd bug'\)"),
    ],
)
def test_a_worker_that_fails_ends_the_loading(make_split, load, failure, error, sentence):
    with pytest.raises(error, match=sentence) as info:
        load(make_split, Failing(failure))
    assert multiprocessing.active_children() == []
    if error is not MachineError:
        assert f"in {failure.__name__}" in "".join(info.value.__notes__)


@pytest.mark.parametrize("load", [train_views, evaluation_views])
def test_a_missing_batch_is_an_error(make_split, monkeypatch, load):
    monkeypatch.setattr(workers, "TIMEOUT_SECONDS", 1)
    with pytest.raises(MachineError, match=r"no batch came .* for 1 seconds; are the"):
        load(make_split, Failing(lambda: time.sleep(8)))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "memory ran out (MemoryError)"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2"),
            "Tried to allocate",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "memory ran out (Default",
        ),
        (OSError(12, "Cannot allocate memory"), "memory ran out ([Errno 12] Cannot allocate"),
    ],
)
def test_errors_of_the_machine_are_recognised(error, sentence):
    known = machine_error(error)
    assert sentence in str(known)
    assert known.status == 71


@pytest.mark.parametrize("error", [RuntimeError("a bug"), RuntimeError(), KeyError("memory")])
def test_a_bug_is_not_an_error_of_the_machine(error):
    assert machine_error(error) is None


def test_workers_need_no_shared_memory_of_the_system(make_split, monkeypatch):
    """``/dev/shm`` may be tiny, as in Docker, or read-only, which prevents semaphores."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    monkeypatch.setattr("multiprocessing.heap.Arena.__init__", refuse)
    images = ArrayImages(np.random.default_rng(0).integers(0, 256, (N, 8, 8, 1), dtype=np.uint8))
    before = set(os.listdir("/dev/shm"))
    options = {"epochs": range(1, 2), "batch_size": 4, "seed": 0}

    def views(num_workers: int) -> torch.Tensor:
        loaded = loading.training_batches(
            make_split(N), images, AUGMENTATION, num_workers=num_workers, **options
        )
        return torch.cat([batch.views for _, batches in loaded for batch in batches])

    assert torch.equal(views(2), views(0))
    assert not {name for name in set(os.listdir("/dev/shm")) - before if "torch" in name}


# -- stages ---------------------------------------------------------------------------------------

STAGE = """
import time
from multiprocessing import Process
from gcdflow.cli import run_stage, stage_parser
from gcdflow.errors import InputError
from gcdflow.distributed.interruption import outlive_first_sigterm
def help_for_ever():
    outlive_first_sigterm()
    print("ready", flush=True)
    time.sleep(100)
def main(arguments):
    Process(target=help_for_ever, daemon=True).start()
    time.sleep(0.5)
    raise {error}
run_stage(main, stage_parser("stage"))
"""


@pytest.mark.parametrize(
    ("error", "status", "last"),
    [
        ("InputError('wrong')", 2, "-c: error: wrong"),
        ("MemoryError", 71, "-c: error: memory ran out (MemoryError); saved state is kept"),
        ("KeyError('x')", 70, "-c: error: KeyError: 'x' (unexpected)"),
    ],
)
def test_a_failed_stage_leaves_no_helper(tmp_path: Path, error, status, last):
    """This includes helpers that ignore their first SIGTERM."""
    process = begun([sys.executable, "-c", STAGE.format(error=error)], tmp_path)
    found, errors = ended(process, tmp_path)
    assert found == status
    assert errors.splitlines()[-1] == last
    assert errors.count("Traceback") == (status == 70)


def workers_in(directory: Path) -> list[psutil.Process]:
    """Living loading processes in a working directory."""
    found = []
    for process in psutil.process_iter(["name", "cwd"]):
        name, cwd = process.info["name"], process.info["cwd"]
        if name == workers.PROCESS_NAME and cwd == str(directory):
            found.append(process)
    return found


def kill_a_worker(command: list[str], directory: Path, n_workers: int) -> tuple[int, str]:
    """Start a stage and kill one of its workers; return its status and last line."""
    process = begun([sys.executable, *command], directory)
    wait_for(lambda: len(workers_in(directory)) >= n_workers)
    workers_in(directory)[0].kill()
    status, errors = ended(process, directory)
    assert "Traceback" not in errors
    return status, errors.splitlines()[-1]


GONE = ": error: a data-loading process was ended by SIGKILL; "


def assert_ended_by_a_killed_worker(command: list[str], directory: Path) -> None:
    """Kill a worker of a training: no checkpoint and no lock is left."""
    status, last = kill_a_worker(command, directory, 2)
    assert status == 71
    assert re.search(f"train.py{GONE}", last), last
    assert [path.name for path in directory.iterdir() if path.suffix == ".pt"] == []
    assert not list((directory / ".rolling").glob("*.lock*"))


def test_training_ends_with_a_killed_worker_and_resumes(split_path, tmp_path):
    calm = tmp_path / "calm" / "c.pt"
    files = SegmentFiles(split_path, calm)
    train_segment(LONG, files, stop_at_epoch=16, device="cpu", threads=1, num_workers=0)

    work = tmp_path / "work"
    work.mkdir()
    command = [*arguments(split_path, work / "c.pt"), "--threads", "1", "--num-workers", "2"]
    assert_ended_by_a_killed_worker(command, work)
    process = begun([sys.executable, *command], work)
    assert ended(process, work)[0] == 0
    assert digest(work / "c.pt") == digest(calm)


def test_two_ranks_end_with_a_killed_worker(split_path, tmp_path):
    """That they resume is tested by test_launcher.py."""
    command = [*arguments(split_path, tmp_path / "c.pt"), "--num-workers", "2", "--gpus", "2"]
    assert_ended_by_a_killed_worker(command, tmp_path)


def test_features_end_with_a_killed_worker(split_path, tmp_path):
    checkpoint = tmp_path / "c.pt"
    files = SegmentFiles(split_path, checkpoint)
    train_segment(LONG, files, stop_at_epoch=1, device="cpu", threads=1)
    work = tmp_path / "work"
    work.mkdir()
    command = [str(SCRIPTS / "features.py"), "--checkpoint", str(checkpoint)]
    command += ["--split", str(split_path), "--output", str(work / "f.npz"), "--num-workers", "2"]
    command += ["--batch-size", "1", "--threads", "1", "--device", "cpu"]
    status, last = kill_a_worker(command, work, 2)
    assert status == 71
    assert re.search(f"features.py{GONE}", last), last
    assert list(work.iterdir()) == []
