"""A short run of the fuzzer (``make fuzz``): every reader, the same inputs each time."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import fuzz
import pytest
from fuzz_targets import Target
from gcdflow.errors import InputError

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> tuple[subprocess.CompletedProcess, dict]:
    """What the fuzzer says, and its counts by reader."""
    counts = tmp_path_factory.mktemp("fuzz") / "counts.json"
    command = [sys.executable, FUZZ, "--inputs", "800", "--seed", "5", "--json", counts]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert counts.exists(), result.stderr
    return result, json.loads(counts.read_text())


def test_no_reader_fails(campaign):
    result, found = campaign
    assert found["failures"] == []
    assert result.returncode == 0
    assert result.stderr == ""


def test_every_reader_is_tried_and_refuses_most(campaign):
    _, found = campaign
    assert len(found["counts"]) >= 25
    assert [name for name, counts in found["counts"].items() if not counts["refused"]] == []
    assert sum(counts["accepted"] for counts in found["counts"].values()) > 50


def test_the_fuzzer_notices(tmp_path, monkeypatch):
    """Readers that behave badly in each of the ways that count are reported."""

    def raises(path: Path) -> None:
        raise KeyError(path)

    def hangs(path: Path) -> None:
        while True:
            pass

    def crashes(path: Path) -> None:
        import ctypes

        ctypes.string_at(0)

    def writes(path: Path) -> None:
        os.write(2, b"a warning\n")
        raise InputError(f"{path}: bad")

    def allocates(path: Path) -> None:
        try:
            bytearray(2**34)
        except MemoryError:
            raise InputError(f"{path}: bad") from None

    def refuses_without_name(path: Path) -> None:
        raise InputError("something is wrong")

    def refuses(path: Path) -> None:
        raise InputError(f"{path}: bad")

    def is_valid(path: Path, value: object) -> None:
        assert value == 3

    monkeypatch.setattr(fuzz, "_SECONDS", 0.3)
    expected = {
        raises: "KeyError",
        hangs: "takes more than 0.3 s",
        crashes: "the process ended with -11",
        writes: "wrote to standard error: a warning",
        allocates: "tried to allocate more than",
        refuses_without_name: "does not name the file",
        (lambda path: 4): "accepted, but not valid",
        refuses: None,
        (lambda path: 3): None,
    }
    for i, (read, problem) in enumerate(expected.items()):
        (tmp_path / str(i)).mkdir()
        target = Target("x", [b"content"], read, is_valid)
        found = list(fuzz.fuzz(str(i), target, tmp_path, [b"other"], range(2), 0))
        assert [number for number, _, _ in found] == [0, 1], read
        for _, outcome, said in found:
            assert (outcome == "failed") == (problem is not None)
            assert (problem or "") in (said or ""), said


def test_inputs_depend_on_seed_and_number_alone():
    target = Target("x", [bytes(range(200))], lambda path: None, lambda path, value: None)
    inputs = [
        [target.input(random.Random(f"{seed} x {i}"), [b"other"]) for i in range(50)]
        for seed in (0, 0, 1)
    ]
    assert inputs[0] == inputs[1] != inputs[2]
    assert len(set(inputs[0])) > 40
