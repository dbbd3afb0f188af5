"""Stages end on signals, and when their Snakemake is gone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gcdflow.distributed.interruption import WORKFLOW_PID, Deferred, Interrupted, end_on_signals
from gcdflow.files.processes import process_start

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
SLEEPER = """
import sys, time
from pathlib import Path
from gcdflow.files.atomic import atomic_write
from gcdflow.cli import run_stage, stage_parser
parser = stage_parser("sleep")
parser.add_argument("output", type=Path)
def main(arguments):
    with atomic_write(arguments.output) as file:
        file.write(b"half")
        print("ready", flush=True)
        time.sleep(60)
run_stage(main, parser)
"""


def sleeper(output: Path, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(output)],
        cwd=SCRIPTS,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_stage_ends_with_a_special_status_and_leaves_nothing(tmp_path, signum, status):
    process = sleeper(tmp_path / "out")
    process.send_signal(signum)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == status
    assert errors == f"-c: interrupted by {signum.name}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_stage_ends_with_its_snakemake(tmp_path):
    parent = subprocess.Popen(["sleep", "60"])
    process = sleeper(tmp_path / "out", **{WORKFLOW_PID: str(parent.pid)})
    time.sleep(0.2)
    assert process.poll() is None
    parent.kill()
    parent.wait()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 75
    assert "the process that started this is gone" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pid", ["", "none", str(2**22 + 1)])
def test_a_stage_started_by_hand_watches_no_snakemake(tmp_path, pid):
    process = sleeper(tmp_path / "out", **{WORKFLOW_PID: pid})
    time.sleep(1.5)
    assert process.poll() is None
    process.kill()
    process.communicate()


def test_a_first_signal_is_noted_and_a_second_one_ends():
    before = signal.getsignal(signal.SIGTERM)
    with Deferred() as stop:
        stop.raise_if_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
        with pytest.raises(Interrupted, match="interrupted by SIGTERM; saved") as info:
            stop.raise_if_requested("; saved")
        assert info.value.status == 75
        with pytest.raises(Interrupted, match=r"interrupted by SIGINT$"):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_without_something_to_save_a_signal_ends_at_once():
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        end_on_signals()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def test_when_processes_began():
    own = process_start(os.getpid())
    assert own is not None
    assert own == process_start(os.getpid())
    child = subprocess.Popen(["sleep", "60"])
    assert process_start(child.pid) is not None
    child.kill()
    time.sleep(0.1)
    assert process_start(child.pid) is None  # a zombie is dead
    child.wait()
    assert process_start(child.pid) is None


def test_a_helper_ignores_only_the_first_sigterm():
    code = (
        "import time; from gcdflow.distributed.interruption import outlive_first_sigterm as o; "
        "o(); "
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=SCRIPTS, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.terminate()
    assert process.wait(timeout=20) == -signal.SIGTERM
