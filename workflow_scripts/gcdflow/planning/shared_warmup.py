"""Which runs take the warm-up of another run, instead of training the same again.

Settings of pseudo labels and of clustering change nothing before the first guided segment. Runs
that agree in all other settings train their warm-up once: the first of them trains it, and the
others copy its checkpoint. An existing warm-up stays, even if the order of runs in the
configuration changes: otherwise, adding or removing a run would make finished ones outdated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from gcdflow.config.settings import RunSettings
from gcdflow.files import declared
from gcdflow.files.records import made_from
from gcdflow.planning.parameters import as_json, dataset_settings

Owners = dict[str, str]  # run that takes a warm-up to the run that it is taken from


def warmup_owners(runs: Mapping[str, RunSettings], placed: Callable[[str], str]) -> Owners:
    """The run that each run takes its warm-up from; those that train their own are not in it.

    Parameters
    ----------
    placed : callable
        Puts a path below the prefix of all files, where there is one.
    """
    groups: dict[tuple[str, str, int], list[str]] = {}
    for run, settings in runs.items():
        groups.setdefault(_depends_on(settings), []).append(run)
    owners: Owners = {}
    for (*_, epoch), names in groups.items():
        kept = _kept(names, epoch, runs, placed)
        givers = {run for run in names if kept.get(run, run) not in names} | {*kept.values()}
        first = next((run for run in names if run in givers), names[0])
        owners |= {run: owner for run in names if (owner := kept.get(run, first)) != run}
    return owners


def _kept(
    names: list[str], epoch: int, runs: Mapping[str, RunSettings], placed: Callable[[str], str]
) -> Owners:
    """The runs of a group whose warm-ups exist, with the run whose training made each of them."""

    def checkpoint(run: str) -> Path:
        return Path(placed(declared.CHECKPOINT.of(run, epoch)))

    return {
        run: maker
        for run in names
        if (maker := _maker(run, checkpoint(run))) is not None
        # One that has left the configuration still gives its checkpoint, if that exists.
        and (maker in names or (maker not in runs and checkpoint(maker).exists()))
    }


def _depends_on(settings: RunSettings) -> tuple[str, str, int]:
    """All that a warm-up depends on; a weight file that the run names counts by its path."""
    trained = as_json(settings.train_settings(guided=False))
    return trained, dataset_settings(settings), settings.schedule.warmup_epochs


def _maker(run: str, checkpoint: Path) -> str | None:
    """The run whose training made a run's checkpoint; None if none did yet."""
    inputs = made_from(checkpoint)
    if inputs is None:
        return run if checkpoint.exists() else None
    taken = [path.parent.name for path in map(Path, inputs) if path.name == checkpoint.name]
    return taken[0] if taken else run


def taken_checkpoint(owners: Owners, run: str, epoch: int) -> str:
    """The checkpoint that a run takes as its own."""
    return declared.CHECKPOINT.of(owners[run], epoch)


def taking_runs(owners: Owners, runs: Mapping[str, RunSettings]) -> str:
    """A pattern of the names of runs in paths of checkpoints that are taken from another run."""
    taken = []
    for run in owners:
        file = Path(declared.CHECKPOINT.of(run, runs[run].schedule.warmup_epochs)).name
        taken.append(f"{re.escape(run)}(?=/{re.escape(file)})")
    return f"(?:{'|'.join(taken)})" if taken else "(?!)"  # which matches nothing


def training_runs(owners: Owners, runs: Mapping[str, RunSettings], names: str) -> str:
    """A pattern of the names of runs in paths of all other checkpoints.

    Parameters
    ----------
    names : str
        A pattern of the names of all runs.
    """
    return f"(?!{taking_runs(owners, runs)}){names}"
