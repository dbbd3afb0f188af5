"""The step after a first look: the command that trains, and an estimate of its time.

The estimate uses two times of the look on the same computer, which Snakemake recorded: of a stage
that only started PyTorch and the model, and of the features of all images.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from gcdflow.config.settings import RunSettings
from gcdflow.wording import duration

# The features of an image take the time to read it, and that of a view, up to what is trained. Of
# EfficientNet-Lite0 with images of 160 pixels, two idle cores make a view in 10 ms. They read a
# JPEG of 500 × 375 in 3 ms, and a picture of clip art, some of which are huge, in 45 on average.
_LEAST_READ, _MOST_READ = 0.2, 0.85
_TRAIN_OF_VIEW = 0.54  # training on two views takes 5 ms
# Jobs of a segment (train, features, cluster), and what two of them take for all jobs at the end.
_JOBS_OF_A_SEGMENT, _JOBS_AT_THE_END = 3, 2


@dataclass(frozen=True)
class NextStep:
    """A training that a first look may lead to.

    Attributes
    ----------
    command : str
        What trains, and then shows the categories again.
    seconds : pair of float, or None
        The least and the most time that it will take; None if nobody knows.
    """

    command: str
    seconds: tuple[float, float] | None

    @property
    def time(self) -> str:
        """The time in words, and how it is known."""
        if self.seconds is None:
            return "which takes several times as long as this look"
        least, most = map(duration, self.seconds)
        how_long = f"about {most}" if least == most else f"between {least} and {most}"
        return f"which takes {how_long} here, judging by the time of this look"


def next_step(command: str, settings: RunSettings, n: int, started: Path, looked: Path) -> NextStep:
    """The training of a run, after a look at ``n`` images.

    Parameters
    ----------
    started, looked : Path
        What Snakemake measured (``benchmark:``) of a training of no epochs, and of the features of
        the pretrained network. They may be missing: a run may have come from another computer.
    """
    start, look = _seconds(started), _seconds(looked)
    if start is None or look is None:
        return NextStep(command, None)
    return NextStep(command, seconds_of_training(settings, n, start, look))


def seconds_of_training(
    settings: RunSettings, n: int, start: float, look: float
) -> tuple[float, float]:
    """How long the training of a run will take at least and at most, with all that follows from it.

    Training from stored views reads the images once. So it takes least if reading them took most of
    the time of the look, as it does with large photographs.

    Parameters
    ----------
    n : int
        Number of images.
    start : float
        Seconds of a stage that starts PyTorch and the model, and does nothing.
    look : float
        Seconds of the stage that extracts the features of all images.
    """
    training, schedule = settings.training, settings.schedule
    ends = [epoch for epoch in schedule.segment_ends() if epoch > 0]
    epochs = schedule.total_epochs * max(1, (training.min_steps or 0) * training.batch_size / n)
    jobs = len(ends) * _JOBS_OF_A_SEGMENT + _JOBS_AT_THE_END + (training.views is not None)

    def seconds(read: float) -> float:
        view = 1 - read
        train = _TRAIN_OF_VIEW * view
        if training.views is None:
            passes = epochs * (read + 2 * view + train) + len(ends)
        else:
            passes = read + (training.views + 1) * view + epochs * train
        return jobs * start + passes * max(0, look - start)

    return seconds(_MOST_READ), seconds(_LEAST_READ)


def _seconds(benchmark: Path) -> float | None:
    """Seconds of a job, as Snakemake wrote them down; None if it did not."""
    try:
        with open(benchmark, encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        return float(row["s"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
