#!/usr/bin/env python
"""Time the shipped run `photos` on made pictures, from `dataset` to the gallery.

    python benchmarks/shipped_photos.py --images 2000
    python benchmarks/shipped_photos.py --images 400 --changes '{"training": {"views": null}}'
    python benchmarks/shipped_photos.py --changes \\
        '{"backbone": {"model": "vit_small_patch16_224", "weights": "random"},
          "augmentation": {"image_size": null}}'
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from made_pictures import write_images

ROOT = Path(__file__).resolve().parents[1]
TARGET = "runs/photos/gallery.html"
N_CLASSES = 10


def time_photos(n: int, cores: int, changes: dict) -> None:
    """Run it in a folder that is deleted afterwards, and print a table of its wall time.

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
        result = snakemake(folder, cores, changes)
        seconds = time.monotonic() - began
        if result.returncode != 0:
            sys.exit(result.stderr[-4000:])
        print(f"{n} pictures, {cores} cores; changed: {json.dumps(changes)}\n")
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


def snakemake(folder: Path, cores: int, changes: dict) -> subprocess.CompletedProcess:
    """The shipped workflow in a folder of its own."""
    changed = folder / "changes.json"
    changed.write_text(json.dumps({"runs": {"photos": changes}}))
    command = [
        *(sys.executable, "-m", "snakemake", TARGET, "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--cores", str(cores)),
        *("--configfile", str(ROOT / "config" / "config.yaml"), str(changed)),
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--changes", type=json.loads, default={}, help="other settings, as JSON")
    arguments = parser.parse_args()
    time_photos(arguments.images, arguments.cores, arguments.changes)
