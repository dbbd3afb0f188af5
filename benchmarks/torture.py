#!/usr/bin/env python
"""Kill a small workflow repeatedly at random moments, and check that nothing is lost.

First, a run is made undisturbed. Each campaign makes it again, while SIGKILL hits at random moments
a stage, a process that loads images for it, the whole process group, or Snakemake alone. After each
kill, the documented command resumes the run. At the end, every file must equal that of the
undisturbed run, TensorBoard must have each step once, no temporary file may be left, and no epoch
may have been trained completely twice.

One run is of the digits. The other, of photographs, has weights, stored views and a classifier.

    python benchmarks/torture.py --kills 100 --seed 0      # make torture: both runs, 100 kills each
    python benchmarks/torture.py --run photos --minutes 30
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

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.data.workers import PROCESS_NAME
from gcdflow.files.event_log import read_scalars

ROOT = Path(__file__).resolve().parents[1]
# Runs of the shipped configuration, and what is changed to make them short.
RUNS = {
    "digits-smoke": {"schedule": {"warmup_epochs": 3, "refresh_interval": 2, "total_epochs": 7}},
    "photos": {
        "dataset": {"root": "../data"},  # the same for all campaigns
        "augmentation": {"resize": 72, "image_size": 64},
        "schedule": {"warmup_epochs": 2, "refresh_interval": 2, "total_epochs": 6},
        "training": {"batch_size": 16},
        "clustering": {"k": "3,5", "percentile": "50,80"},
    },
}
# The photographs' report would start a third more stages, of kinds that the digits have too.
TARGETS = {
    "digits-smoke": ["runs/digits-smoke/report.md", "runs/digits-smoke/gallery.html"],
    "photos": ["runs/photos/classes_epoch006.npz", "runs/photos/gallery.html"],
}
KINDS = ("stage", "loader", "group", "snakemake")
# After these kills, Snakemake continues; the other kinds kill Snakemake too.
_SEEN_TO = ("stage", "loader")
_LOADING = ("train", "features", "views")  # rules whose stages load images
_COMPUTING = (*_LOADING, "cluster", "cluster_final", "evaluate")
_PATIENCE = 10.0  # seconds to wait for a process to kill: loaders live for a second or two
_TIMED_TAGS = {"images_per_second"}  # differs between any two runs
_EPOCH = re.compile(r"epoch (\d+)/\d+  L_total")


@dataclass
class Tally:
    """Counts over all campaigns."""

    kills: Counter = field(default_factory=Counter)
    stages: Counter = field(default_factory=Counter)  # how often each was hit
    starts: int = 0
    finished: int = 0
    repeated_epochs: int = 0
    differences: list[str] = field(default_factory=list)


def command(directory: Path, *arguments: str) -> list[str]:
    """The command that runs the shipped workflow in a separate directory."""
    changes = directory / "changes.json"
    changes.write_text(json.dumps({"runs": RUNS}))
    configuration = [str(ROOT / "config" / "config.yaml"), str(changes)]
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(directory), "--configfile", *configuration),
        # One thread per stage: with more, the last bits of sums depend on the free processors.
        *("--cores", "2", "--set-threads", *(f"{rule}=1" for rule in _COMPUTING)),
        *("--set-resources", *(f"{rule}:num_workers=2" for rule in _LOADING)),
        *("--retries", "0"),  # this script repeats the command and counts the starts
        *arguments,
    ]


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}


def start(directory: Path, run: str, log: Path) -> subprocess.Popen:
    """Start or resume a run with the documented command."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command(directory, "--rerun-incomplete", "--", *TARGETS[run]),
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )


def unlock(directory: Path) -> None:
    """Remove Snakemake's lock with the documented command, needed after Snakemake was killed."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command(directory, "--unlock"), check=True, env=environment(), **quiet)


def kill(process: subprocess.Popen, kind: str, rng: random.Random, tally: Tally) -> bool:
    """Send SIGKILL to one or more processes, and count it; return False if there was none."""
    try:
        parent = psutil.Process(process.pid)
        if kind in _SEEN_TO:
            wanted: list[psutil.Process] = []
            deadline = time.monotonic() + _PATIENCE
            while not wanted and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                wanted = [p for p in parent.children(recursive=True) if _work(p)[0] == kind]
            if not wanted:
                return False
            victim = rng.choice(wanted)
            stages = {_work(victim)[1]}
            victim.kill()
        else:  # no stage outlives its Snakemake
            stages = {_work(p)[1] for p in parent.children(recursive=True)}
            if kind == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                parent.kill()
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False
    tally.kills[kind] += 1
    tally.stages.update(stages - {""})
    return True


def _work(process: psutil.Process) -> tuple[str, str]:
    """``stage`` or ``loader`` (which loads images for one), and the stage; or two empty texts."""
    try:
        for part in process.cmdline()[:2]:
            if "workflow_scripts/" in part:
                kind = "loader" if process.name() == PROCESS_NAME else "stage"
                return kind, Path(part).stem
    except psutil.Error:
        pass
    return "", ""


def campaign(
    directory: Path, run: str, rng: random.Random, tally: Tally, most_kills: int, deadline: float
) -> None:
    """Make a run to its end, with kills until their total is reached."""
    log = directory / "all.log"
    log.touch()
    while True:
        tally.starts += 1
        process = start(directory, run, log)
        while sum(tally.kills.values()) < most_kills and time.monotonic() < deadline:
            try:
                process.wait(timeout=rng.uniform(0.5, 9.0))
                break
            except subprocess.TimeoutExpired:
                kind = rng.choice(KINDS)
                # After a kill of one of its processes, Snakemake continues.
                if kill(process, kind, rng, tally) and kind not in _SEEN_TO:
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


def left_by(run: str, directory: Path) -> dict[str, object]:
    """What a run leaves in its own folder, and in those that runs share."""
    return {
        f"{folder}/{name}": content
        for folder in (f"runs/{run}", "views", "weights")
        for name, content in contents(directory / folder).items()
    }


def write_photographs(folder: Path) -> None:
    """Noisy pictures of 4 classes, two of them old, whose colour tells their class."""
    rng, lines = np.random.default_rng(0), ["path,label"]
    folder.mkdir(parents=True)
    for number in range(96):
        name, kind = f"{number:02d}.png", number % 4
        colour = np.random.default_rng(kind).integers(40, 216, 3)
        pixels = (colour + rng.normal(0, 25, (75, 100, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
        is_labelled = kind < 2 and number % 8 < 4
        lines.append(f"{name},{f'c{kind}' if is_labelled else ''}")
    (folder / "labels.csv").write_text("\n".join(lines))


def torture(run: str, most_kills: int, minutes: float, seed: int) -> Tally:
    """Make campaigns of a run until the number of kills is reached or the time is over."""
    rng, tally = random.Random(seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        write_photographs(Path(name) / "data" / "photos")
        calm = Path(name) / "calm"
        calm.mkdir()
        if start(calm, run, calm / "all.log").wait() != 0:
            raise RuntimeError((calm / "all.log").read_text())
        expected = left_by(run, calm)
        deadline = time.monotonic() + 60 * minutes
        while sum(tally.kills.values()) < most_kills and time.monotonic() < deadline:
            directory = Path(name) / f"campaign{tally.finished}"
            directory.mkdir()
            campaign(directory, run, rng, tally, most_kills, deadline)
            tally.differences += differences(expected, left_by(run, directory))
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
    parser.add_argument("--run", choices=RUNS, help="only this run")
    parser.add_argument("--kills", type=int, default=100, help="of each run")
    parser.add_argument("--minutes", type=float, default=60.0, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    is_lost = False
    for run in [arguments.run] if arguments.run else RUNS:
        began = time.monotonic()
        tally = torture(run, arguments.kills, arguments.minutes, arguments.seed)
        print(f"{run}: {sum(tally.kills.values())} kills: {dict(tally.kills)}")
        print(f"stages that were hit: {dict(tally.stages.most_common())}")
        print(f"{tally.starts} starts, {tally.finished} runs finished")
        print(f"{tally.repeated_epochs} epochs trained twice")
        print(f"{len(tally.differences)} differences: {', '.join(tally.differences) or 'none'}")
        print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}")
        is_lost |= bool(tally.differences or tally.repeated_epochs)
    sys.exit(is_lost)


if __name__ == "__main__":
    main()
