"""What Snakemake runs for a finished run: the stages and their arguments."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from snakemake_runs import snakemake

RUN = "runs/digits-smoke"
TARGETS = [
    *(f"{RUN}/{name}" for name in ("report.md", "gallery.html", "grid_epoch003.png")),
    f"{RUN}/curves.png",
    "results/summary.md",
]
LATE = ("assign", "gallery", "heatmap", "curves", "summary")  # the shared run has not made these
STAGES = ("dataset", "train", "features", "cluster", "evaluate", "report", *LATE)


def commands_of_stages(finished_run: Path) -> dict[str, list[str]]:
    """Arguments of each stage, as Snakemake would run it for one of the epochs."""
    result = snakemake(
        *(
            finished_run,
            "--cores",
            "2",
            "--dry-run",
            "--forceall",
            "--printshellcmds",
            "--",
            *TARGETS,
        ),
        changes={"default_runs": ["digits-smoke"]},
    )
    found = re.findall(
        r"^Shell command: .*; stage (\w+) (.*?) 2>&1", result.stdout + result.stderr, re.MULTILINE
    )
    # What the shell makes of the three digits of an epoch, and of the folder of an output.
    found = [(stage, re.sub(r"\$\(\(10#0*(\d+)\)\)", r"\1", flags)) for stage, flags in found]
    plain = [(s, re.sub(r"\$\(dirname (\S+)/[^/]+\)", r"\1", flags)) for s, flags in found]
    assert {stage for stage, _ in plain} == set(STAGES)
    return {stage: shlex.split(flags) for stage, flags in sorted(plain)}


def content(directory: Path) -> dict[str, bytes]:
    """All files of the run, but the event logs, and the seconds in the table of the grid."""
    files = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.parent.name not in ("log", "filled")
    }
    return {
        name: re.sub(rb"\t[^\t]*\n", b"\n", data) if "grid_epoch" in name else data
        for name, data in files.items()
    }
