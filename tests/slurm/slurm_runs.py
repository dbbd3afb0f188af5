"""Run the workflow through the Slurm profile, and look at the jobs while they run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
from one_node import OneNode

ROOT = Path(__file__).parents[2]
# Equal on Slurm and on this machine, because thread numbers change the last bits of sums.
THREADS = {"dataset": 1, "train": 1, "features": 1, "cluster": 2, "evaluate": 1}
THREADS |= {"assign": 1, "gallery": 1}
_COMMENT = re.compile(r"rule_(\w+?)_wildcards_(.+)")


def start(
    directory: Path, targets: list[str], changes: dict, node: OneNode | None
) -> subprocess.Popen:
    """Start Snakemake in a separate directory, on Slurm or, without one, on this machine.

    It runs in the repository as the documentation says, but with shorter waiting times.
    """
    directory.mkdir(parents=True, exist_ok=True)
    changed = directory / "changes.json"
    changed.write_text(json.dumps(changes))
    if node is None:
        environment = os.environ
        where = ["--cores", "2", "--resources", "gpu=2"]
    else:
        environment = node.environment()
        where = ["--profile", "profiles/slurm", "--slurm-keep-successful-logs"]
        where += ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
    with open(directory / "all.log", "w") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "snakemake", "--directory", str(directory), *where),
                *("--configfile", "config/config.yaml", str(changed)),
                *("--set-threads", *(f"{rule}={n}" for rule, n in THREADS.items())),
                *("--", *targets),
            ],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={
                **environment,
                "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
                "HF_HUB_OFFLINE": "1",
            },
        )


def rule_of(job: dict[str, str]) -> tuple[str, str]:
    """Rule and wildcards of a job, from the comment that Snakemake sets."""
    match = _COMMENT.fullmatch(job.get("Comment", ""))
    return (match[1], match[2]) if match else ("", "")


def stages_by_job() -> dict[str, list[psutil.Process]]:
    """The processes of running stages, by the number of their Slurm job."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter(["cmdline"]):
        if any("workflow_scripts/" in part for part in (process.info["cmdline"] or [])[1:2]):
            with contextlib.suppress(psutil.Error):
                job = process.environ().get("SLURM_JOB_ID")
                found.setdefault(job, []).append(process)
    return found
