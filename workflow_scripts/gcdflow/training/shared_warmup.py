"""Take over the warm-up of another run."""

from __future__ import annotations

import shutil
from pathlib import Path

from gcdflow.config.settings import TrainSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write, sha256_file
from gcdflow.files.event_log import EventLog, event_file, remove_overlapping
from gcdflow.training.checkpoint import Checkpoint, frozen_sha256, identified


def take_warmup(
    path: Path, output: Path, *, settings: TrainSettings, split: Path, log_dir: Path | None = None
) -> int:
    """Copy a checkpoint that these settings and this split would give, and log its curves.

    Parameters
    ----------
    path, output : paths of the other run's checkpoint, and of the own one
    settings : TrainSettings
        Of the own warm-up, with the path of a weight file that they name.
    split : path of the own ``split.npz``
    log_dir : path or None
        The own directory of TensorBoard event files.

    Returns
    -------
    int
        Epoch of the checkpoint.

    Raises
    ------
    InputError
        If the checkpoint is of another split or other settings.
    """
    checkpoint = Checkpoint.load(path)
    split_sha256 = sha256_file(split)
    if checkpoint.split_sha256 != split_sha256:
        raise InputError(
            f"{path}: was trained on another split than {split}, although both runs have the same "
            "settings; if their images were listed at different times, `--forcerun dataset` at the "
            "end of the command lists them again for both; if that run has left the configuration, "
            "delete its folder"
        )
    identity = identified(settings, frozen_sha256(settings))
    checkpoint.check_continues(path, identity, split_sha256)
    with atomic_write(output) as file, open(path, "rb") as source:
        shutil.copyfileobj(source, file)
    if log_dir is not None and checkpoint.epoch > 0:  # no epoch has no curves
        remove_overlapping(log_dir, "train", 1, checkpoint.epoch)
        EventLog(event_file(log_dir, "train", 1, checkpoint.epoch), checkpoint.history).close()
    return checkpoint.epoch
