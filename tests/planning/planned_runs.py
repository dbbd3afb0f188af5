"""Settings of a run with checkpoints at epochs 5, 7 and 8."""

from __future__ import annotations

from gcdflow.config.settings import RunSettings

SCHEDULE = {"warmup_epochs": 5, "refresh_interval": 2, "total_epochs": 8}  # epochs 5, 7, 8


def settings(**changes: object) -> RunSettings:
    return RunSettings.model_validate({"schedule": SCHEDULE, **changes})
