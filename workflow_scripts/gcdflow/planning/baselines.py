"""What a run compares its clusterings with: paths and parameters of other methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gcdflow.config.settings import BASELINES, NUMBER_FINDERS, RunSettings
from gcdflow.files import declared
from gcdflow.planning.plan import Inputs, checked_epoch, last_epoch

METHOD = "|".join(BASELINES)  # pattern of a method in the name of a file


def estimate_inputs(settings: RunSettings, run: str, epoch: int) -> Inputs:
    """The input of estimates of the number of clusters: features, not the truth."""
    return {"features": declared.FEATURES.of(run, checked_epoch(settings, run, epoch))}


def baseline_inputs(settings: RunSettings, run: str, epoch: int, method: str) -> Inputs:
    """Inputs of another clustering, which is measured against the truth at once."""
    found = {**estimate_inputs(settings, run, epoch), "truth": declared.TRUTH.of(run)}
    if method not in NUMBER_FINDERS:
        found["estimates"] = declared.ESTIMATES.of(run, epoch)
    return found


def baselines(settings: RunSettings, run: str) -> list[str]:
    """What the methods that a run names have found, at all checkpoint epochs."""
    epochs = settings.checkpoint_epochs()
    return [path for epoch in epochs for path in _of_epoch(settings, run, epoch)]


def compared_grids(settings: RunSettings, run: str) -> list[str]:
    """Tables of the run's own searches, whose seconds are compared; none without baselines."""
    epochs = settings.checkpoint_epochs() if settings.baselines else []
    return [declared.GRID.of(run, epoch) for epoch in epochs]


def summary_baselines(
    runs: Mapping[str, RunSettings], names: Iterable[str], placed: Callable[[str], str]
) -> list[str]:
    """What the methods that some runs name have found, at the last epoch of each.

    Parameters
    ----------
    placed : callable
        Puts a path below the prefix of all files, where there is one.
    """
    named = {run: runs[run] for run in names}
    return [
        placed(path)
        for run, settings in named.items()
        for path in _of_epoch(settings, run, last_epoch(settings))
    ]


def _of_epoch(settings: RunSettings, run: str, epoch: int) -> list[str]:
    return [declared.BASELINE.of(run, epoch, method) for method in settings.baselines]


def baseline_flags(settings: RunSettings) -> list[str]:
    """How the rows are that another method sees: as SSDDBC sees them."""
    return [] if settings.clustering.normalize else ["--no-normalize"]
