"""Shared by all rules: the validated configuration and the epochs of a run."""

import json
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SCRIPTS_DIR = Path(workflow.basedir) / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS_DIR))

from gcdflow.config import RUN_NAME, find_run, resolve_default_runs, resolve_runs
from gcdflow.errors import InputError

SCRIPTS = shlex.quote(str(SCRIPTS_DIR))

# A change of code re-runs nothing by itself. Whoever changes what a stage computes from the same
# input raises its number here; that stage, and all that follows from it, then runs again.
RESULT_VERSIONS = {"dataset": 1, "train": 1, "features": 1, "cluster": 1, "evaluate": 1}

try:
    RUNS = resolve_runs(config)
    DEFAULT_RUNS = resolve_default_runs(config, RUNS)
except InputError as error:
    raise WorkflowError(str(error))


wildcard_constraints:
    run=RUN_NAME.pattern,
    epoch=r"\d{3}",


def run_settings(wildcards):
    """Settings of the run in the wildcards; an unknown run is an error that lists the known ones."""
    try:
        return find_run(RUNS, wildcards.run)
    except InputError as error:
        raise WorkflowError(str(error))


def checked_epoch(wildcards):
    """The epoch in the wildcards; one without a checkpoint is an error that lists those with one."""
    epoch, epochs = int(wildcards.epoch), run_settings(wildcards).schedule.checkpoint_epochs()
    if epoch not in epochs:
        listed = ", ".join(f"{e:03d}" for e in epochs)
        raise WorkflowError(
            f"run '{wildcards.run}' has no checkpoint at epoch {wildcards.epoch}; its checkpoint "
            f"epochs are {listed} (warmup_epochs, then every refresh_interval, and total_epochs)"
        )
    return epoch


def previous_epoch(wildcards):
    """The checkpoint epoch before the one in the wildcards; None at the end of the warm-up."""
    epochs = run_settings(wildcards).schedule.checkpoint_epochs()
    position = epochs.index(checked_epoch(wildcards))
    return epochs[position - 1] if position > 0 else None


def run_file(wildcards, name, epoch):
    """Path of a file of a run at an epoch: `run_file(wildcards, "ckpt_epoch{}.pt", 50)`."""
    return f"runs/{wildcards.run}/" + name.format(f"{epoch:03d}")


def as_json(settings):
    """Settings as JSON text with sorted keys: plain, so that only a real change re-runs a rule."""
    return json.dumps(settings.model_dump(), sort_keys=True)
