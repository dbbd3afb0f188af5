"""What is checked before anything is planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from gcdflow.errors import InputError
from gcdflow.planning import startup

ROOT = Path(__file__).parents[2]


def test_a_checkout_that_cannot_be_run(monkeypatch):
    startup.check_checkout(ROOT)
    with pytest.raises(InputError, match=f"the gcdflow of {ROOT} is in use already, so that of /x"):
        startup.check_checkout(Path("/x"))
    monkeypatch.setattr(startup, "__file__", "/a {b}/workflow_scripts/gcdflow/planning/startup.py")
    with pytest.raises(InputError, match=r"Snakemake takes braces in a path for wildcards"):
        startup.check_checkout(Path("/a {b}"))


def test_configured_runs(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("runs: {a: {seed: 1}, b: {}}\ndefault_runs: [b]\n")
    runs, default = startup.configured_runs(yaml.safe_load(path.read_text()), [path])
    assert list(runs) == ["a", "b"]
    assert default == ["b"]
    path.write_text("runs: {a: {dataset: {name: cub, old_classes: [010]}}}\n")
    with pytest.raises(InputError, match="line 1: old_classes: YAML reads 010 as the number 8"):
        startup.configured_runs(yaml.safe_load(path.read_text()), [path])
    with pytest.raises(InputError, match="unknown key 'run'"):
        startup.configured_runs({"run": {}}, [])


def test_runs_whose_times_are_right_are_not_mentioned(tmp_path: Path):
    assert list(startup.mend_runs({"a": str(tmp_path), "b": str(tmp_path / "missing")})) == []
