"""Settings of a training in which all parts of the loss count."""

from __future__ import annotations

from gcdflow.config.runs import merged
from gcdflow.config.settings import RunSettings, TrainSettings
from small_training import TINY


def settings(guided: bool = False, **training: object) -> TrainSettings:
    """Settings in which all parts of the loss count from the first step."""
    pseudo = {"temperature": 0.2, "points": "all", "weights": "density", "gamma_ramp_epochs": 0}
    changes = {"training": training, "pseudo": pseudo}
    return RunSettings.model_validate(merged(TINY, changes)).train_settings(guided)
