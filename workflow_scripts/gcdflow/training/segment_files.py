"""Files of one training segment, and what earlier calls of it have left.

A killed call leaves a rolling checkpoint. A finished one leaves a second name (hard link) of its
result beside it: if Snakemake is killed before it notes the end of a job, it deletes the job's
output and requests it again. Only the same segment uses either file; a key identifies it.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from gcdflow.config.settings import TrainSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_link
from gcdflow.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentFiles:
    """Files of one segment.

    Attributes
    ----------
    split : path of ``split.npz``
    output : path of the checkpoint to write
    log_dir : directory of TensorBoard event files, or None
    resume_from : path of the checkpoint to resume from, or None to begin
    pseudo_labels : path of ``pseudo_epoch*.npz``, or None in the warm-up
    views : path of stored views, or None where views are fresh
    """

    split: Path
    output: Path
    log_dir: Path | None = None
    resume_from: Path | None = None
    pseudo_labels: Path | None = None
    views: Path | None = None

    @property
    def rolling(self) -> Path:
        """Path of the rolling checkpoint, which is deleted when the segment is done."""
        return self.output.parent / ".rolling" / self.output.name

    def starting_checkpoint(
        self, settings: TrainSettings, split_sha256: str, stop_at_epoch: int
    ) -> Checkpoint | None:
        """The checkpoint to resume from; None to begin.

        Raises
        ------
        InputError
            If it is of other settings or another split, not of an earlier epoch, or of one before
            the end of the warm-up although pseudo labels are taken.
        """
        path = self.resume_from
        if path is None:
            return None
        checkpoint = Checkpoint.load(path)
        checkpoint.check_continues(path, settings, split_sha256)
        if checkpoint.epoch >= stop_at_epoch:
            raise InputError(
                f"{path}: is of epoch {checkpoint.epoch}; there is nothing to train up to epoch "
                f"{stop_at_epoch}"
            )
        warmup_epochs = settings.warmup_epochs or 0  # None where no pseudo labels are taken
        if checkpoint.epoch < warmup_epochs:
            raise InputError(
                f"{path}: is of epoch {checkpoint.epoch}, expected {warmup_epochs} or more: pseudo "
                "labels are only taken after the warm-up"
            )
        return checkpoint

    def rolling_checkpoint(self, key: str) -> Checkpoint | None:
        """The rolling checkpoint of this very segment, if there is one; others are refused."""
        path = self.rolling
        if not path.exists():
            return None
        try:
            checkpoint = Checkpoint.load(path)
        except InputError as error:
            log.warning("ignoring the rolling checkpoint: %s", error)
            return None
        if checkpoint.rolling.get("key") != key:
            log.warning("ignoring %s: it was left by a segment with other settings or inputs", path)
            return None
        step = checkpoint.rolling.get("step", 0)
        within = f" and step {step} of the next" if step else ""
        log.info("resuming after epoch %d%s from %s", checkpoint.epoch, within, path)
        return checkpoint

    def finished_checkpoint(self, key: str) -> Checkpoint | None:
        """The result of this very segment, if an earlier call got as far."""
        path = self._finished(key)
        if not path.exists():
            return None
        try:
            return Checkpoint.load(path)
        except InputError as error:
            log.warning("ignoring a finished checkpoint: %s", error)
            return None

    def restore_finished(self, key: str) -> None:
        """Give that result the name of the output again, and forget what else is left."""
        atomic_link(self._finished(key), self.output)
        self.remember_finished(key)

    def remember_finished(self, key: str) -> None:
        """Keep a second name of the output, and forget the segment before and the way here."""
        with contextlib.suppress(OSError):  # a file system without hard links
            atomic_link(self.output, self._finished(key))
        for path in self.rolling.parent.glob("*.done"):
            if path != self._finished(key):
                path.unlink(missing_ok=True)
        self.rolling.unlink(missing_ok=True)

    def _finished(self, key: str) -> Path:
        return self.rolling.with_name(f"{self.rolling.name}.{key[:16]}.done")
