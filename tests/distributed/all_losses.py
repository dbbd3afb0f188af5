"""Settings of a training in which all parts of the loss count."""

from __future__ import annotations

import small_training
from gcdflow.config.settings import TrainSettings


def settings(guided: bool = False, **training: object) -> TrainSettings:
    """Settings in which all parts of the loss count from the first step."""
    pseudo = {"temperature": 0.2, "points": "all", "weights": "density", "gamma_ramp_epochs": 0}
    return small_training.settings(guided, training=training, pseudo=pseudo)
