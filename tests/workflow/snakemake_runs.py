"""Run Snakemake on the shipped workflow in a separate directory, and read its plans."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def snakemake(
    directory: Path,
    *arguments: str,
    changes: dict | None = None,
    project: Path = ROOT,
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run Snakemake with a project's configuration (if it exists) and changes; never raises."""
    configuration = project / "config" / "config.yaml"
    files = [str(configuration)] if configuration.exists() else []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as changed:
        if changes is not None:
            json.dump(changes, changed)
            changed.flush()
            files.append(changed.name)
        command = [sys.executable, "-m", "snakemake", f"--snakefile={project / 'Snakefile'}"]
        command += [f"--directory={directory}"]
        command += ["--configfile", *files] if files else []
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            # The rules call plain `python`, as in an activated environment. Downloads are off.
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HF_HUB_OFFLINE": "1",
                **(environment or {}),
            },
        )


def make(
    directory: Path, *targets: str, changes: dict | None = None, options: tuple[str, ...] = ()
) -> str:
    """Make targets with two cores; return the combined output. Fails if Snakemake fails."""
    result = snakemake(directory, "--cores", "2", *options, "--", *targets, changes=changes)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    return output


def planned(
    directory: Path, *targets: str, changes: dict | None = None, project: Path = ROOT
) -> dict[str, int]:
    """Number of jobs of each rule that Snakemake would run."""
    result = snakemake(directory, "--dry-run", "--", *targets, changes=changes, project=project)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
