"""The shipped run `photos` on pictures that are made for it, from `dataset` to the gallery."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from loading_benchmark import write_images

ROOT = Path(__file__).resolve().parents[1]
TARGET = "runs/photos/gallery.html"
N_CLASSES = 10


def time_photos(n: int, cores: int, changes: dict) -> None:
    """Run it in a folder that is deleted afterwards, and print a table of its wall time.

    Weights are random where none are to be had.

    Parameters
    ----------
    changes : dict
        Settings that differ from those of the shipped run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "data" / "photos", n)
        write_labels(folder / "data" / "photos")
        began = time.monotonic()
        has_weights = snakemake(folder, cores, changes, "--until", "weights").returncode == 0
        if not has_weights:
            backbone = {**changes.get("backbone", {}), "weights": "random"}
            changes = {**changes, "backbone": backbone}
            began = time.monotonic()
        result = snakemake(folder, cores, changes)
        seconds = time.monotonic() - began
        if result.returncode != 0:
            sys.exit(result.stderr[-4000:])
        weights = "pretrained" if has_weights else "random, since none can be had"
        print(f"{n} pictures, {cores} cores, weights {weights}; changed: {json.dumps(changes)}\n")
        print("| stage | jobs | seconds |\n| --- | --- | --- |")
        for stage, jobs, spent in by_stage(folder / "logs"):
            print(f"| {stage} | {jobs} | {spent:.0f} |")
        print(f"| everything, start of Snakemake and small stages too | | {seconds:.0f} |")


def write_labels(folder: Path) -> None:
    """A table in which half of the pictures of half of the classes have a label."""
    with open(folder / "labels.csv", "w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "label"])
        for i, path in enumerate(sorted(folder.glob("*/*.jpg"))):
            label = i % N_CLASSES
            shown = label < N_CLASSES // 2 and i // N_CLASSES % 2 == 0
            lines.writerow([path.relative_to(folder), f"class{label}" if shown else ""])


def snakemake(
    folder: Path, cores: int, changes: dict, *arguments: str
) -> subprocess.CompletedProcess:
    """The shipped workflow in a folder of its own."""
    changed = folder / "changes.json"
    changed.write_text(json.dumps({"runs": {"photos": changes}}))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--cores", str(cores)),
        *("--configfile", str(ROOT / "config" / "config.yaml"), str(changed)),
        *(*arguments, TARGET),
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def by_stage(logs: Path) -> list[tuple[str, int, float]]:
    """Name, number of jobs and seconds of the stages that Snakemake timed."""
    jobs, seconds = Counter(), Counter()
    for path in sorted(logs.rglob("*.benchmark.tsv")):
        stage = "views" if path.parent.name == "views" else path.name.split("_")[0].split(".")[0]
        with open(path) as file:
            for line in csv.DictReader(file, delimiter="\t"):
                jobs[stage] += 1
                seconds[stage] += float(line["s"])
    return [(stage, jobs[stage], seconds[stage]) for stage in seconds]
