"""The default profile of Snakemake here; it yields to another one."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from snakemake.cli import parse_args
from snakemake_runs import ROOT, snakemake


@pytest.fixture(autouse=True)
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Device files that the profile finds: by default those of two GPUs."""
    found, real = ["/dev/nvidia0", "/dev/nvidia1"], glob.glob

    def faked(pattern: str, *args, **options) -> list[str]:
        if str(pattern).startswith("/dev/"):
            return [path for path in found if fnmatch(path, pattern)]
        return real(pattern, *args, **options)

    monkeypatch.setattr(glob, "glob", faked)
    return found


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch):
    """The arguments that Snakemake parses from a command line in the repository."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)

    def parse(*arguments: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", ["snakemake", *arguments])
        return parse_args(list(arguments))[1]

    return parse


def limits(arguments: argparse.Namespace) -> dict[str, object]:
    """Values of --resources."""
    return {name: resource.value for name, resource in arguments.resources.items()}


def test_without_options_all_processors_and_one_gpu_are_used(parsed):
    arguments = parsed("runs/digits/report.md")
    assert arguments.targets == ["runs/digits/report.md"]
    assert arguments.cores == len(os.sched_getaffinity(0))
    assert limits(arguments) == {"gpu": 1}
    assert (arguments.retries, arguments.rerun_incomplete) == (1, True)


def test_without_a_gpu_no_job_waits_for_one(parsed, gpus: list[str]):
    gpus.clear()
    arguments = parsed()
    assert (limits(arguments), arguments.retries) == ({}, 1)


def test_the_command_line_overrides_it(parsed):
    arguments = parsed("--cores", "1", "--resources", "gpu=7", "--retries", "0")
    assert (arguments.cores, limits(arguments), arguments.retries) == (1, {"gpu": 7}, 0)


@pytest.mark.parametrize("how", ["option", "joined", "variable"])
def test_another_profile_is_not_overridden_by_it(parsed, tmp_path: Path, monkeypatch, how: str):
    (tmp_path / "config.yaml").write_text("cores: 1\n")
    if how == "variable":
        monkeypatch.setenv("SNAKEMAKE_PROFILE", str(tmp_path))
    options = {"option": ["--profile", str(tmp_path)], "joined": [f"--profile={tmp_path}"]}
    arguments = parsed(*options.get(how, []))
    assert (arguments.cores, limits(arguments), arguments.retries) == (1, {}, 0)


def test_the_slurm_profile_limits_jobs_and_not_their_number(parsed):
    arguments = parsed("--profile", "profiles/slurm", "all")
    assert arguments.targets == ["all"]
    assert (arguments.executor, arguments.jobs, arguments.retries) == ("slurm", 100, 5)
    assert arguments.cores == 32
    assert limits(arguments) == {"mem_mb": 180_000, "runtime": 1440}  # and no gpu: Slurm counts
    assert arguments.set_resource_scopes == {"runtime": "local"}
    with_gpus = {"train", "features", "added", "added_first_look", "views"}
    assert arguments.set_resources.keys() == with_gpus  # the partition of GPUs


def test_failures_of_input_come_before_any_job(tmp_path: Path):
    result = snakemake(tmp_path, "--", "runs/cub/split.npz")
    assert result.returncode == 1
    assert "no images of dataset 'cub' at data/CUB_200_2011" in result.stdout + result.stderr
    assert not (tmp_path / "logs/cub/dataset.log").exists()


def test_other_failures_are_retried_once(tmp_path: Path):
    run = tmp_path / "runs/digits-smoke"
    run.mkdir(parents=True)
    for epoch in (2, 3, 4):
        (run / f"metrics_epoch{epoch:03d}.json").write_text("broken")
    result = snakemake(tmp_path, "--", "runs/digits-smoke/report.md")
    output = result.stdout + result.stderr
    assert result.returncode == 1
    assert output.count("Trying to restart job") == 1
    assert "metrics_epoch002.json" in output
