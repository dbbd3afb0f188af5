"""What the plan needs to know of the current call of Snakemake.

Snakemake's own workflow object knows it; this module does not import Snakemake.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CALL = "GCDFLOW_CALL"
_SNAKEFILES = ("Snakefile", "snakefile", "workflow/Snakefile", "workflow/snakefile")


def starts_jobs(workflow: Any) -> bool:
    """Whether all jobs of the plan are to run: no dry run, no list of files, no ``--keep-going``.

    Of several runs, ``--keep-going`` makes those that can be made. The Snakemake of a job has no
    plan of its own: what its stage says stands in the log of the job.
    """
    if not workflow.is_main_process:
        return False
    if workflow.executor_plugin is None or workflow.dryrun or workflow.touch:
        return False
    return not workflow.execution_settings.keep_going


def remember(workflow: Any, arguments: Sequence[str]) -> None:
    """Keep the options of this call for :func:`command`, in the environment.

    They are those that decide what a run is and where it lies: without them a command would make
    another run under the same name. The jobs of a cluster inherit them: the command line of a
    job's own Snakemake has other ones, and no profile.

    Parameters
    ----------
    arguments : sequence of str
        The command line of this call.
    """
    if not workflow.is_main_process and _CALL in os.environ:
        return
    settings = workflow.config_settings
    profile = _value("--profile", arguments)
    where = ["--profile", profile] if profile else ["--cores", "all"]
    options: list[str] = []
    if workflow.overwrite_workdir is not None:
        options += ["--directory", str(workflow.overwrite_workdir)]
    if _is_named(workflow):
        options += ["--snakefile", str(workflow.main_snakefile)]
    if settings.configfiles:
        options += ["--configfile", *(_shown(path, workflow) for path in settings.configfiles)]
    if given := settings.config_args:
        options += ["--config", *([given] if isinstance(given, str) else given)]
    if methods := sorted(method.name.lower() for method in _deployment(workflow)):
        options += ["--sdm", *(name.replace("_", "-") for name in methods)]
    os.environ[_CALL] = json.dumps([where, options])


def command(target: str, *more: str) -> str:
    """A call of Snakemake for a target, of the same runs as the call that is remembered.

    Options that take several values come after the target.

    Parameters
    ----------
    more : str
        Options at the end.
    """
    where, options = json.loads(os.environ[_CALL])
    return shlex.join(["snakemake", *where, target, *options, *more])


def _value(option: str, arguments: Sequence[str]) -> str | None:
    """The value of an option on a command line; None if it is not there."""
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == option:
            return following
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _is_named(workflow: Any) -> bool:
    """Whether Snakemake would not find the Snakefile by itself, where this call was made."""
    usual = [Path(name).resolve() for name in _SNAKEFILES]
    elsewhere = workflow.overwrite_workdir is not None
    return elsewhere or Path(workflow.main_snakefile).resolve() not in usual


def _shown(path: Path, workflow: Any) -> str:
    """A path as it is in the folder of the call, where that is known."""
    if workflow.overwrite_workdir is not None:
        return str(path)
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)


def _deployment(workflow: Any) -> set[Any]:
    settings = workflow.deployment_settings
    return set() if settings is None else set(settings.deployment_method)
