#!/usr/bin/env python
"""Kill a small workflow repeatedly at random moments, and check that nothing is lost.

First, a run of the digits is made undisturbed. Each campaign makes it again, while SIGKILL hits at
random moments a stage, a process that loads images for it, the whole process group, or Snakemake
alone. After each kill, the documented command resumes the run. At the end, every file must equal
that of the undisturbed run, TensorBoard must have each step once, no temporary file may be left,
and no epoch may have been trained completely twice.

    python benchmarks/torture.py --kills 200 --seed 0      # make torture
    python benchmarks/torture.py --minutes 30
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.data.workers import PROCESS_NAME
from gcdflow.files.event_log import read_scalars

ROOT = Path(__file__).resolve().parents[1]
RUN = "digits-smoke"
TARGETS = [f"runs/{RUN}/report.md", f"runs/{RUN}/gallery.html"]
SETTINGS = {"schedule": {"warmup_epochs": 3, "refresh_interval": 2, "total_epochs": 7}}
KINDS = ("stage", "loader", "group", "snakemake")
# After these kills, Snakemake continues; the other kinds kill Snakemake too.
_SEEN_TO = ("stage", "loader")
_PATIENCE = 10.0  # seconds to wait for a process to kill: loaders live for a second or two
_TIMED_TAGS = {"images_per_second"}  # differs between any two runs
_EPOCH = re.compile(r"epoch (\d+)/\d+  L_total")


@dataclass
class Tally:
    """Counts over all campaigns."""

    kills: Counter = field(default_factory=Counter)
    starts: int = 0
    finished: int = 0
    repeated_epochs: int = 0
    differences: list[str] = field(default_factory=list)


def command(directory: Path, *arguments: str) -> list[str]:
    """The command that runs the shipped workflow in a separate directory."""
    changes = directory / "changes.json"
    changes.write_text(json.dumps({"runs": {RUN: SETTINGS}}))
    configuration = [str(ROOT / "config" / "config.yaml"), str(changes)]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(directory), "--configfile", *configuration),
        # One thread per stage: with more, the last bits of sums depend on the free processors.
        *("--cores", "2", "--set-threads", "train=1", "features=1", "cluster=1", "evaluate=1"),
        *("--set-resources", "train:num_workers=2", "features:num_workers=2"),
        *("--retries", "0"),  # this script repeats the command and counts the starts
        *arguments,
    ]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


def start(directory: Path, log: Path) -> subprocess.Popen:
    """Start or resume the run with the documented command."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command(directory, "--rerun-incomplete", "--", *TARGETS),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )


def unlock(directory: Path) -> None:
    """Remove Snakemake's lock with the documented command, needed after Snakemake was killed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(directory, "--unlock"), check=True, env=environment(), **quiet)


def kill(process: subprocess.Popen, kind: str, rng: random.Random) -> bool:
    """Send SIGKILL to one or more processes; return False if there was none to kill."""
    try:
        parent = psutil.Process(process.pid)
        if kind in _SEEN_TO:
            wanted: list[psutil.Process] = []
            deadline = time.monotonic() + _PATIENCE
            while not wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                wanted = [p for p in parent.children(recursive=True) if _kind(p) == kind]
            if not wanted:
                return False
            rng.choice(wanted).kill()
        elif kind == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            parent.kill()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    return True


def _kind(process: psutil.Process) -> str:
    """``stage``, ``loader`` (a process that loads images for a stage), or an empty text."""
    try:
        if not any("workflow_scripts/" in part for part in process.cmdline()[:2]):
            return ""
        return "loader" if process.name() == PROCESS_NAME else "stage"
    except psutil.Error:
        return ""


def campaign(
    directory: Path, rng: random.Random, tally: Tally, most_kills: int, deadline: float
) -> None:
    """Make one run to its end, with kills until their total is reached."""
    log = directory / "all.log"
    log.touch()
    while True:
        tally.starts += 1
        process = start(directory, log)
        while sum(tally.kills.values()) < most_kills and time.monotonic() < deadline:
            try:
                process.wait(timeout=rng.uniform(0.5, 9.0))
                break
            except subprocess.TimeoutExpired:
                kind = rng.choice(KINDS)
                if kill(process, kind, rng):
                    tally.kills[kind] += 1
                    if kind not in _SEEN_TO:  # else Snakemake continues
                        process.wait()
                        unlock(directory)
                        break
        if process.wait() == 0:
            break
    tally.finished += 1
    epochs = Counter(int(epoch) for epoch in _EPOCH.findall(log.read_text()))
    tally.repeated_epochs += sum(epochs.values()) - len(epochs)


def contents(folder: Path) -> dict[str, object]:
    """Everything that a run leaves in its folder, without values that depend on time."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        # Records hold digests of files that depend on time, such as the grid table.
        if path.is_dir() or name.startswith(("log/", ".made/")) or name.endswith(".done"):
            continue
        content = path.read_bytes()
        if path.suffix == ".tsv":  # the last column holds seconds
            content = b"\n".join(line.rpartition(b"\t")[0] for line in content.splitlines())
        found[name] = content
    curves = read_scalars(folder / "log")
    for tag, points in curves.items():
        steps = [step for step, _ in points]
        found[f"steps of {tag}"] = steps
        if len(set(steps)) < len(steps):
            found[f"repeated steps of {tag}"] = True
        if tag not in _TIMED_TAGS:
            found[f"curve of {tag}"] = points
    return found


def differences(calm: dict[str, object], found: dict[str, object]) -> list[str]:
    """Names of missing, additional and unequal files and curves."""
    return [
        name
        for name in sorted(calm.keys() | found.keys())
        if name not in calm or name not in found or calm[name] != found[name]
    ]


def torture(most_kills: int, minutes: float, seed: int) -> Tally:
    """Run campaigns until the number of kills is reached or the time is over."""
    rng, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        calm = Path(name) / "calm"
        calm.mkdir()
        if start(calm, calm / "all.log").wait() != 0:
            raise RuntimeError((calm / "all.log").read_text())
        expected = contents(calm / "runs" / RUN)
        deadline = time.monotonic() + 60 * minutes
        while sum(tally.kills.values()) < most_kills and time.monotonic() < deadline:
            directory = Path(name) / f"campaign{tally.finished}"
            directory.mkdir()
            campaign(directory, rng, tally, most_kills, deadline)
            tally.differences += differences(expected, contents(directory / "runs" / RUN))
            print(
                f"{sum(tally.kills.values())} kills, {tally.starts} starts, {tally.finished} runs "
                f"finished, {tally.repeated_epochs} epochs repeated, "
                f"{len(tally.differences)} differences",
                flush=True,
            )
    return tally


def main() -> None:
    """Torture and report; exit with 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    tally = torture(arguments.kills, arguments.minutes, arguments.seed)
    print(f"{sum(tally.kills.values())} kills: {dict(tally.kills)}")
    print(f"{tally.starts} starts, {tally.finished} runs finished")
    print(f"{tally.repeated_epochs} epochs trained twice")
    print(f"{len(tally.differences)} differences: {', '.join(tally.differences) or 'none'}")
    print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}")
    sys.exit(bool(tally.differences or tally.repeated_epochs))


if __name__ == "__main__":
    main()
