"""The Slurm profile on a real Slurm: partitions and resources of jobs, and killed jobs.

The run `digits-smoke` is made up to its first refresh. At the same time, three runs of one long
segment are cancelled, reach their walltime, or are requeued. The local executor makes the same runs
undisturbed. A run without images fails permanently.
"""

from __future__ import annotations

import contextlib
import runpy
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
from gcdflow.config.settings import DigitsSettings
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.digits import catalogue
from one_node import OneNode, can_confine
from slurm_runs import ROOT, rule_of, stages_by_job, start

TORTURE = runpy.run_path(str(ROOT / "benchmarks" / "torture.py"))
SMOKE = "runs/digits-smoke"
# Each rule once, and a guided segment; more of them would only take longer.
SMOKE_TARGETS = [f"{SMOKE}/metrics_epoch002.json", f"{SMOKE}/ckpt_epoch003.pt"]
# Wide enough to learn: with constant losses, equal bytes would prove little.
LONG = {
    "inherit": "digits",
    "backbone": {"width": 16},
    "schedule": {"warmup_epochs": 12, "total_epochs": 12},
}
KILLED = {
    "cancelled": ["CANCELLED", "COMPLETED"],
    "timeout": ["TIMEOUT", "COMPLETED"],
    "requeued": ["COMPLETED"],
}
# The digits lie in no folder; its name only keeps the runs from sharing their warm-up.
ROOTS = {run: {"dataset": {"name": "digits", "root": run}} for run in ("undisturbed", *KILLED)}
CHANGES = {"runs": {run: LONG | root for run, root in ROOTS.items()}}
MOST_SECONDS = 1200


@dataclass
class Seen:
    """Results that the tests check.

    Attributes
    ----------
    directory, calm, failed : Path
        Directories of Slurm, of the local executor, and of the run without images.
    status : dict of directory to exit status of Snakemake
    jobs : list of dict, Slurm's records, in the order of submission
    assigned : dict of job number to the GPUs that Slurm's record names
    visible : dict of job number to CUDA_VISIBLE_DEVICES of the stage
    """

    directory: Path
    calm: Path
    failed: Path
    status: dict[Path, int] = field(default_factory=dict)
    jobs: list[dict[str, str]] = field(default_factory=list)
    assigned: dict[str, str] = field(default_factory=dict)
    visible: dict[str, str | None] = field(default_factory=dict)

    def of(self, rule: str, wildcards: str) -> list[dict[str, str]]:
        return [job for job in self.jobs if rule_of(job) == (rule, wildcards)]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """All runs, made at the same time."""
    seen = Seen(*(tmp_path_factory.mktemp(name) for name in ("slurm", "calm", "failed")))
    for directory, runs in ((seen.directory, KILLED), (seen.calm, ("undisturbed",))):
        for run in runs:
            write_split(directory / "runs" / run)
    # More processors than exist, so that no job waits: Slurm only counts them.
    with OneNode(tmp_path_factory.mktemp("one") / "node", cpus=64, memory_mb=500_000) as node:
        killed = [f"runs/{name}/ckpt_epoch012.pt" for name in KILLED]
        processes = {
            seen.directory: start(seen.directory, [*SMOKE_TARGETS, *killed], CHANGES, node),
            seen.failed: start(seen.failed, ["runs/cub/split.npz"], {}, node),
            seen.calm: start(
                seen.calm,
                [*SMOKE_TARGETS, "runs/undisturbed/ckpt_epoch012.pt"],
                CHANGES,
                None,
            ),
        }
        try:
            watch(node, seen, processes)
        finally:
            for process in processes.values():
                process.send_signal(signal.SIGINT)
        seen.jobs = sorted(node.jobs(), key=lambda job: int(job["JobId"]))
    seen.status = {directory: process.wait() for directory, process in processes.items()}
    return seen


def write_split(folder: Path) -> None:
    """What the rule `dataset` makes for a run of the digits, as digits-smoke shows."""
    folder.mkdir(parents=True)
    split, truth = split_catalogue(catalogue(DigitsSettings()), DigitsSettings())
    split.save(folder / "split.npz")
    truth.save(folder / "truth.npz")


def watch(node: OneNode, seen: Seen, processes: dict[Path, subprocess.Popen]) -> None:
    """Watch running jobs until all are done, and kill the selected ones."""
    left, deadline = set(KILLED), time.monotonic() + MOST_SECONDS
    while any(process.poll() is None for process in processes.values()):
        assert time.monotonic() < deadline, log_of(seen.directory)
        stages = stages_by_job()
        for job in node.jobs():
            number, (rule, wildcards) = job["JobId"], rule_of(job)
            if rule not in ("train", "features") or number not in stages or not job.get("GRES"):
                continue
            for stage in stages[number]:
                with contextlib.suppress(psutil.Error):  # it has just ended
                    seen.visible[number] = stage.environ().get("CUDA_VISIBLE_DEVICES")
                    seen.assigned[number] = job["GRES"]
            run = wildcards.removesuffix("_012")
            log = seen.directory / f"logs/{run}/train_epoch012.log"
            if run in left and log.exists() and "epoch 2/12" in log.read_text():
                kill(node, run, number, stages[number])
                left.discard(run)
        time.sleep(0.7)
    assert left == set(), f"{left} were never killed\n{log_of(seen.directory)}"


def kill(node: OneNode, how: str, job: str, stages: list[psutil.Process]) -> None:
    if how == "cancelled":
        node.control("scancel", job)
    elif how == "requeued":
        node.control("scontrol", "requeue", job)
    else:
        # Slurm checks walltimes only twice a minute, so the stage is suspended until then.
        for stage in stages:
            stage.suspend()
        end = datetime.now() + timedelta(seconds=1)
        node.control("scontrol", "update", f"JobId={job}", f"EndTime={end:%Y-%m-%dT%H:%M:%S}")


def log_of(directory: Path) -> str:
    return (directory / "all.log").read_text()[-3000:]


def test_all_files_are_made(seen: Seen):
    assert seen.status[seen.calm] == 0, log_of(seen.calm)
    assert seen.status[seen.directory] == 0, log_of(seen.directory)


def test_trainings_run_with_one_gpu_and_clusterings_with_their_threads(seen: Seen):
    expected = {"dataset": ("cpu", None, "1"), "evaluate": ("cpu", None, "1")}
    expected |= dict.fromkeys(("train", "features"), ("gpu", "gres:gpu:1", "1"))
    expected |= {"cluster": ("cpu", None, "2")}
    found = defaultdict(set)
    for job in seen.jobs:
        rule, wildcards = rule_of(job)
        if wildcards.startswith("digits-smoke"):
            found[rule].add((job["Partition"], job.get("TresPerJob"), job["NumCPUs"]))
    assert found == {rule: {values} for rule, values in expected.items()}
    counts = {rule: sum(rule_of(j)[0] == rule for j in seen.jobs) for rule in expected}
    assert counts == {"dataset": 2, "train": 7, "features": 1, "cluster": 1, "evaluate": 1}


def test_jobs_request_memory_and_time(seen: Seen):
    (training,) = seen.of("train", "digits-smoke_002")
    assert (training["MinMemoryNode"], training["TimeLimit"]) == ("6600M", "00:16:00")


def test_stages_see_their_assigned_gpu(seen: Seen):
    assert len(seen.visible) >= 5
    for job, visible in seen.visible.items():
        assert seen.assigned[job] == f"gpu:1(IDX:{visible})"
    assert set(seen.visible.values()) == {"0", "1"}


@pytest.mark.parametrize("run", KILLED)
def test_a_killed_job_resumes_and_ends_in_the_same_bytes(seen: Seen, run: str):
    jobs = seen.of("train", f"{run}_012")
    assert [job["JobState"] for job in jobs] == KILLED[run]
    assert jobs[0]["Restarts"] == ("1" if run == "requeued" else "0")
    log = (seen.directory / f"logs/{run}/train_epoch012.log").read_text()
    assert "epoch 1/12 " not in log
    assert "epoch 12/12 " in log
    calm = TORTURE["contents"](seen.calm / "runs/undisturbed")
    killed = TORTURE["contents"](seen.directory / "runs" / run)
    assert "ckpt_epoch012.pt" in calm
    assert TORTURE["differences"](calm, killed) == []


def test_the_whole_run_has_the_bytes_of_the_local_one(seen: Seen):
    calm = TORTURE["contents"](seen.calm / SMOKE)
    assert {"ckpt_epoch003.pt", "pseudo_epoch002.npz", "metrics_epoch002.json"} <= calm.keys()
    assert TORTURE["differences"](calm, TORTURE["contents"](seen.directory / SMOKE)) == []


def test_a_permanent_failure_is_reported_and_not_retried(seen: Seen):
    assert seen.status[seen.failed] == 1
    output = log_of(seen.failed)
    assert (
        "no images of dataset 'cub' at data/CUB_200_2011 (expected data/CUB_200_2011/images.txt)"
        in output
    )
    assert len(seen.of("dataset", "cub")) == 1


@pytest.mark.skipif(not can_confine(), reason="no cgroups (version 1) that may be written here")
def test_stages_know_the_limits_of_their_job(tmp_path: Path):
    """Cgroups limit processors and memory; Python reports only the processors."""
    script = tmp_path / "limits.sh"
    script.write_text(
        f"#!/bin/sh\ncd {ROOT}/workflow_scripts\n"
        f"{sys.executable} -c 'from gcdflow.cli import available_threads as t; "
        "from gcdflow.clustering.memory import available_memory as m; print(t(), m())'\n"
    )
    with OneNode(tmp_path / "node", cpus=2, memory_mb=4000, confined=True) as node:
        node.control(
            *("sbatch", "--wait", "--quiet", "--cpus-per-task=1", "--mem=700"),
            *(f"--output={tmp_path}/out", str(script)),
        )
    threads, memory = map(int, (tmp_path / "out").read_text().split())
    assert threads == 1
    assert 400 * 2**20 < memory < 700 * 2**20
