"""A stage of several processes ends as one: one status, one sentence, no process left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from all_losses import settings
from forked_ranks import run_as_ranks
from gcdflow.distributed.interruption import WORKFLOW_PID
from gcdflow.distributed.launcher import launched_ranks
from gcdflow.files.atomic import canonical_json
from gcdflow.training.checkpoint import Checkpoint
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from small_training import digest
from stage_processes import SCRIPTS, begun, ended, processes_in, wait_for

STAGE = """
import os, signal, sys, time
from pathlib import Path
from gcdflow.distributed import launcher
from gcdflow.cli import run_stage, stage_parser
launcher.GRACE_SECONDS = 0.5
launcher.serve = lambda listener, port: listener  # nobody connects, and PyTorch takes seconds
def main(arguments):
    if launcher.launched_ranks() == 1:
        sys.exit(launcher.launch(2))
    rank = int(os.environ["RANK"])
    {body}
def wait():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {{signal.SIGTERM, signal.SIGINT}})
    Path(f"ready{{os.environ['RANK']}}").touch()
    time.sleep(60)
run_stage(main, stage_parser("stage"))
"""


def stage(directory: Path, body: str, **environment: str) -> subprocess.Popen:
    return begun([sys.executable, "-c", STAGE.format(body=body)], directory, **environment)


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ("RANK=0 LOCAL_RANK=0 WORLD_SIZE=4 MASTER_ADDR=h MASTER_PORT=1", 4),
        ("RANK=0 LOCAL_RANK=0 WORLD_SIZE=4 MASTER_ADDR=h", 1),
        ("RANK=0 WORLD_SIZE=4 MASTER_ADDR=h MASTER_PORT=1", 1),
        ("LOCAL_RANK=0 WORLD_SIZE=4", 1),
        ("RANK=0 LOCAL_RANK=0 WORLD_SIZE= MASTER_ADDR=h MASTER_PORT=1", 1),
        ("", 1),
    ],
)
def test_leftover_variables_are_no_launcher(monkeypatch, variables, number):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for variable in variables.split():
        monkeypatch.setenv(*variable.split("="))
    assert launched_ranks() == number


def test_the_first_failure_decides_and_ends_the_others(tmp_path: Path):
    """Rank 0 waits forever, as a GPU waits for a lost rank."""
    process = stage(tmp_path, "time.sleep(1); sys.exit(3) if rank == 1 else time.sleep(60)")
    assert ended(process, tmp_path) == (3, "")


def test_a_rank_that_was_killed_is_named(tmp_path: Path):
    body = "os.kill(os.getpid(), 9) if rank == 1 else sys.exit(launcher.EXIT_PEER_LOST)"
    status, errors = ended(stage(tmp_path, body), tmp_path)
    assert status == 128 + signal.SIGKILL
    assert errors[9:] == "rank 1 of 2 was ended by SIGKILL; its saved state is kept\n"


def test_a_second_signal_ends_ranks_that_ignore_the_first(tmp_path: Path):
    process = stage(tmp_path, "Path(f'ready{rank}').touch(); time.sleep(60)")
    wait_for(lambda: all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    status, errors = ended(process, tmp_path)
    assert (status, errors) == (130, "-c: interrupted by SIGINT\n")


def test_ranks_end_when_their_launcher_was_killed(tmp_path: Path):
    process = stage(tmp_path, "wait()")
    wait_for(lambda: all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)))
    assert sorted(processes_in(tmp_path).values(), key=str) == [0, 1, None]
    process.kill()
    wait_for(lambda: not processes_in(tmp_path), 10)
    assert process.communicate()[1].count("the process that started this is gone") == 2


def test_ranks_end_when_their_snakemake_is_gone(tmp_path: Path):
    parent = subprocess.Popen(["sleep", "60"])
    process = stage(tmp_path, "wait()", **{WORKFLOW_PID: str(parent.pid)})
    wait_for(lambda: all((tmp_path / f"ready{rank}").exists() for rank in (0, 1)))
    parent.kill()
    parent.wait()
    status, errors = ended(process, tmp_path)
    assert status == 75
    assert errors.count("the process that started this is gone") == 1


# -- the training stage itself --------------------------------------------------------------------

LONG = settings().model_copy(update={"total_epochs": 16})


# Variables that launchers and clusters leave: the ranks connect all the same.
LEFT = {
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "nowhere.invalid",
    "GLOO_SOCKET_IFNAME": "ib0",
}


def arguments(split: Path, output: Path) -> list[str]:
    return [
        *(str(SCRIPTS / "train.py"), "--split", str(split), "--output", str(output)),
        *("--settings", canonical_json(LONG.model_dump())),
        *("--stop-at-epoch", "16", "--device", "cpu", "--threads", "2"),
    ]


def test_training_is_ended_in_every_way_and_resumes(
    split_path: Path,
    tmp_path: Path,
):
    """End it by Ctrl-C, and among leftover variables by killing a rank; finish it by torchrun."""
    calm = tmp_path / "calm"
    files = SegmentFiles(split_path, calm / "c.pt")
    options = {"stop_at_epoch": 16, "device": "cpu", "threads": 2, "num_workers": 0}
    assert run_as_ranks(2, lambda: train_segment(LONG, files, **options)) == [0, 0]

    command = arguments(split_path, tmp_path / "c.pt")
    rolling = tmp_path / ".rolling" / "c.pt"

    def train_until(
        act: Callable[[subprocess.Popen], object], **variables: str
    ) -> tuple[int, str, int]:
        """Act after the next epoch; return status, messages and the last saved epoch."""
        before = rolling.stat().st_mtime_ns if rolling.exists() else 0
        process = begun([sys.executable, *command, "--gpus", "2"], tmp_path, **variables)
        wait_for(lambda: rolling.exists() and rolling.stat().st_mtime_ns > before)
        act(process)
        status, errors = ended(process, tmp_path)
        last = [line for line in errors.splitlines() if " epoch " not in line[8:15]][-1]
        return status, last, Checkpoint.load(rolling).epoch

    status, last, first = train_until(lambda process: os.killpg(process.pid, signal.SIGINT))
    assert status == 130
    assert last.startswith("train.py: interrupted by SIGINT ")

    def kill_rank(process: subprocess.Popen) -> None:
        (pid,) = (pid for pid, rank in processes_in(tmp_path).items() if rank == 1)
        os.kill(pid, signal.SIGKILL)

    status, last, second = train_until(kill_rank, **LEFT)
    assert status == 128 + signal.SIGKILL
    assert last.endswith("rank 1 of 2 was ended by SIGKILL; its saved state is kept")
    assert first < second < 16

    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = begun([sys.executable, *torchrun, *command], tmp_path)
    assert ended(process, tmp_path)[0] == 0
    assert digest(tmp_path / "c.pt") == digest(calm / "c.pt")
    assert not rolling.exists()


def test_bad_input_is_one_sentence(tmp_path: Path):
    split = tmp_path / "split.npz"
    split.write_bytes(b"no archive")
    command = [sys.executable, *arguments(split, tmp_path / "c.pt"), "--gpus", "2"]
    status, errors = ended(begun(command, tmp_path), tmp_path)
    assert status == 2
    (sentence,) = errors.splitlines()
    assert sentence.startswith(f"train.py: error: {split}: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.npz"]


@pytest.mark.parametrize(("gpus", "expected"), [("x", "'x' is not a whole number from 0")])
def test_a_bad_number_of_gpus(tmp_path: Path, gpus: str, expected: str):
    command = [sys.executable, *arguments(tmp_path / "s", tmp_path / "c"), "--gpus", gpus]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert expected in result.stderr
