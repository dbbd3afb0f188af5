"""The stages that Snakemake runs for a finished run, with their arguments."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from snakemake_runs import snakemake

RUN = "runs/digits-smoke"
OPTIONS = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds")
TWIN = "runs/twin"  # takes the warm-up of the run
FEW = f"{RUN}/few.npz"  # features of few samples, for stages whose time grows with their square
TARGETS = (
    f"{TWIN}/ckpt_epoch002.pt",
    f"{RUN}/report.md",
    f"{RUN}/gallery.html",
    f"{RUN}/grid_epoch003.png",
    f"{RUN}/curves.png",
    f"{RUN}/estimates_epoch003.json",
    f"{RUN}/baseline_hdbscan_epoch003.json",
    "results/summary.md",
)
LATE = (
    "share",
    "assign",
    "gallery",
    "heatmap",
    "curves",
    "summary",
    "estimate",
    "baseline",
)  # the shared run lacks these
STAGES = ("settings", "dataset", "train", "features", "cluster", "evaluate", "report", *LATE)


def commands_of_stages(finished_run: Path) -> dict[str, list[str]]:
    """Arguments of each stage, as Snakemake would run it for one epoch.

    But estimates and other methods get the features of few samples.
    """
    result = snakemake(
        finished_run,
        *OPTIONS,
        "--",
        *TARGETS,
        changes={"default_runs": ["digits-smoke"], "runs": {"twin": {"inherit": "digits-smoke"}}},
    )
    found = re.findall(
        r"^Shell command: .*; stage (\w+) (.*?) 2>&1", result.stdout + result.stderr, re.MULTILINE
    )
    assert {stage for stage, _ in found} == set(STAGES)
    found = {
        stage: flags.replace(f"{TWIN}/split.npz", f"{RUN}/split.npz")
        for stage, flags in sorted(found)
        if TWIN not in flags or stage == "share"
    }
    for stage in ("estimate", "baseline"):
        found[stage] = found[stage].replace(f"{RUN}/features_epoch003.npz", FEW)
        assert FEW in found[stage]
    return {stage: shlex.split(flags) for stage, flags in found.items()}


def content(directory: Path) -> dict[str, bytes]:
    """Content of all files of the run, without event logs and the seconds of clusterings."""
    files = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.parent.name not in ("log", "filled")
    }
    seconds = {"grid_epoch": rb"\t[^\t]*\n"}
    seconds |= dict.fromkeys(("estimates_", "baseline_"), rb'"seconds": [^,}]*')
    for name, data in files.items():
        for part, pattern in seconds.items():
            if part in name:
                files[name] = re.sub(pattern, b"", data)
    return files
