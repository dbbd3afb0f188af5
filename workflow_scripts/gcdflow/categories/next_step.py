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

# Parts of the time that the features of an image take: to read it; to make a view of it, up to what
# is trained; and to train on two views in an epoch. Of EfficientNet-Lite0 on two idle cores they
# were 0.5, 0.4 to 0.5 and 0.18 to 0.22 (405 and 2,000 pictures of clip art).
_READ, _VIEW, _TRAIN = 0.5, 0.5, 0.2
# Jobs of a segment (train, features, cluster), and what two of them take for all jobs at the end.
_JOBS_OF_A_SEGMENT, _JOBS_AT_THE_END = 3, 2


@dataclass(frozen=True)
class NextStep:
    """A training that a first look may lead to.

    Attributes
    ----------
    command : str
        What trains, and then shows the categories again.
    seconds : float or None
        The time that it will take; None if nobody knows.
    """

    command: str
    seconds: float | None

    @property
    def time(self) -> str:
        """The time in words, and how it is known."""
        if self.seconds is None:
            return "which takes several times as long as this look"
        return f"which takes about {duration(self.seconds)} here, judging by the time of this look"


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


def seconds_of_training(settings: RunSettings, n: int, start: float, look: float) -> float:
    """How long the training of a run will take, with all that follows from it.

    Right within 6 % for the two folders that its constants were fitted to. It is too much if
    reading takes most of the time of the look (large photographs), since training from stored views
    reads them once.

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
    jobs = len(ends) * _JOBS_OF_A_SEGMENT + _JOBS_AT_THE_END
    if training.views is None:
        passes = epochs * (_READ + 2 * _VIEW + _TRAIN) + len(ends)
    else:
        passes, jobs = _READ + (training.views + 1) * _VIEW + epochs * _TRAIN, jobs + 1
    return jobs * start + passes * max(0, look - start)


def _seconds(benchmark: Path) -> float | None:
    """Seconds of a job, as Snakemake wrote them down; None if it did not."""
    try:
        with open(benchmark, encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        return float(row["s"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
