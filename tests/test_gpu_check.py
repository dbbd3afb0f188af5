"""The check of a GPU says what fails, and keeps what was found before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import gpu_check
from training_workplace import Workplace

PRINT = """print('["speed", "12 images/s"]', flush=True)"""


@pytest.mark.parametrize(
    ("program", "failure"),
    [
        (PRINT, None),
        (f"{PRINT}; raise SystemExit('a | b')", "FAILED with status 1: a / b"),
        (f"{PRINT}; import time; time.sleep(60)", "STOPPED after 3 s"),
    ],
)
def test_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, failure: str | None):
    monkeypatch.setattr(gpu_check, "command_of", lambda *_: [sys.executable, "-c", program])
    work = Workplace(tmp_path, 8, 4, 2, 1, torch.device("cpu"))
    rows = gpu_check.run_part(gpu_check.Part("speed", "vit", 9), work, 3)
    assert rows[0] == ["vit", "speed", "12 images/s"]
    assert rows[1:] == ([] if failure is None else [["vit", "speed", failure]])


def test_what_the_tests_say():
    lines = ["..sF.   [ 50%]", "E.", "=== FAILURES ===", "FAILED tests/gpu/a.py::b[x|y] - no"]
    assert gpu_check.tested(lines) == [
        ["small ones", "tests that need a GPU", "4 passed, 1 FAILED, 1 ERRORS, 1 skipped"],
        ["small ones", "test", "FAILED tests/gpu/a.py::b[x/y] - no"],
    ]
    assert gpu_check.tested([])[0][-1] == "none ran"
    lines = ["..[W socket.cpp] hello", "F [100%]", "1 failed, 5 passed in 3.21s (0:00:03)"]
    assert gpu_check.tested(lines)[0][-1] == "1 failed, 5 passed"


def test_only_pictures_and_split_outlive_a_part(tmp_path: Path):
    work = Workplace(tmp_path, 8, 4, 2, 1, torch.device("cpu"))
    for name in ("pictures", "tmpabc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    for name in ("split.npz", "views.npy", ".views.npy.part"):
        (tmp_path / name).touch()
    gpu_check.clean(work)
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "split.npz"}
