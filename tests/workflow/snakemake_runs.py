"""Run Snakemake on the shipped workflow in a separate directory, and read its plans."""

from __future__ import annotations

import atexit
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from warm_stages import ENVIRONMENT

ROOT = Path(__file__).parents[2]
seen_stages = Path()  # conftest.py sets it


def snakemake(
    directory: Path,
    *arguments: str,
    changes: dict | None = None,
    project: Path = ROOT,
    environment: dict[str, str] | None = None,
    later: dict[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run Snakemake with a project's configuration (if it exists) and changes; never raises.

    Parameters
    ----------
    environment : dict, optional
        Variables with which a Python of its own starts.
    later : dict, optional
        Further ones, for all that Snakemake starts: they would slow down Snakemake's Python.
    """
    configuration = project / "config" / "config.yaml"
    files = [str(configuration)] if configuration.exists() else []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as changed:
        if changes is not None:
            json.dump(changes, changed)
            changed.flush()
            files.append(changed.name)
        command = [f"--snakefile={project / 'Snakefile'}", f"--directory={directory}"]
        command += ["--configfile", *files] if files else []
        # The rules call plain `python`, as in an activated environment. Downloads are off.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", **(environment or {})}
        if environment is None:
            variables["PATH"] = f"{_warm_stages(seen_stages)}:{path}"
            return _forked([*command, *arguments], variables)
        code = f"import os; os.environ |= {later or {}}; from snakemake.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", code, *command, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=variables,
        )


@cache
def _warm_snakemake() -> subprocess.Popen:
    """The process that forks for each call; it ends with this one."""
    script = Path(__file__).with_name("warm_snakemake.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, script], **pipes)
    atexit.register(process.communicate)
    return process


@cache
def _warm_stages(seen: Path) -> str:
    """The folder of a `python` that forks for each stage, from a process that ends with this one.

    Parameters
    ----------
    seen : Path
        A folder that all test processes share: what it names has had a Python of its own.
    """
    folder = Path(tempfile.mkdtemp())
    scripts = Path(__file__).parent
    pass_on = shlex.join(map(str, [sys.executable, "-IS", scripts / "pass_on.py", folder, seen]))
    (folder / "python").write_text(f'#!/bin/sh\nexec {pass_on} "$@"\n')
    (folder / "python").chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, scripts / "warm_stages.py", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **ENVIRONMENT},
    )
    process.stdout.readline()
    atexit.register(shutil.rmtree, folder)
    atexit.register(process.communicate)
    return str(folder)


def _forked(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
    process = _warm_snakemake()
    with tempfile.NamedTemporaryFile() as output, tempfile.NamedTemporaryFile() as errors:
        names = [output.name, errors.name]
        call = {"arguments": arguments, "environment": environment, "folder": os.getcwd()}
        print(json.dumps({**call, "output": names}), file=process.stdin, flush=True)
        status = int(process.stdout.readline())
        said = (Path(name).read_text() for name in names)
        return subprocess.CompletedProcess(arguments, status, *said)


def copied_workflow(project: Path) -> Path:
    """A copy of the workflow, in a new folder; tests may change it."""
    for name in ("config", "envs", "profiles", "rules", "workflow_scripts"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copy(ROOT / "Snakefile", project)
    return project


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
    return jobs_of(
        snakemake(directory, "--dry-run", "--", *targets, changes=changes, project=project)
    )


def jobs_of(result: subprocess.CompletedProcess) -> dict[str, int]:
    """Number of jobs of each rule in what a dry run printed. Fails if Snakemake failed."""
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
