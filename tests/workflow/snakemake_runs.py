"""Run Snakemake on the shipped workflow, in a directory of its own, and see what it plans."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def snakemake(directory: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run Snakemake with the shipped configuration; never raises."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(directory)),
            *("--configfile", str(ROOT / "config" / "config.yaml")),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def make(directory: Path, *targets: str, config: tuple[str, ...] = ()) -> str:
    """Make targets with two cores; the combined output. Fails if Snakemake does."""
    result = snakemake(directory, "--cores", "2", *_overrides(config), "--", *targets)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


def planned(directory: Path, *targets: str, config: tuple[str, ...] = ()) -> dict[str, int]:
    """Number of jobs of each rule that Snakemake would run."""
    result = snakemake(directory, "--dry-run", *_overrides(config), "--", *targets)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def _overrides(config: tuple[str, ...]) -> tuple[str, ...]:
    return ("--config", *config) if config else ()
