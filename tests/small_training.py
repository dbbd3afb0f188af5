"""A training of a few seconds, for tests that need one."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import signal
from collections.abc import Container
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.runs import merged
from gcdflow.config.settings import RunSettings, TrainSettings
from gcdflow.files.formats import PseudoLabels, Split

# It learns (a test checks this): collapsed trainings would have equal bytes in any case.
TINY = {
    "augmentation": {"name": "affine"},
    "backbone": {"name": "small_convnet", "width": 4},
    "head": {"n_layers": 1, "bottleneck_dim": 32, "out_dim": 24},
    "schedule": {"warmup_epochs": 3, "refresh_interval": 3, "total_epochs": 9},
    "training": {
        "batch_size": 64,
        "lr": 0.003,
        "contrast_temperature": 0.3,
        "sup_con_temperature": 0.2,
    },
    "pseudo": {"pseudo_loss_weight": 0.3},  # of labels that are random here
}


def settings(guided: bool = False, **changes: object) -> TrainSettings:
    return RunSettings.model_validate(merged(TINY, changes)).train_settings(guided)


def train(split: Path, output: Path, stop: int, **options: object) -> Path:
    """Train a segment in this process, with one thread."""
    from gcdflow.training.segment import train_segment  # imports torch
    from gcdflow.training.segment_files import SegmentFiles

    guided = options.get("pseudo_labels") is not None
    chosen = options.pop("settings", None) or settings(guided)
    workers = options.pop("num_workers", 0)
    files = SegmentFiles(split, output, **options)
    train_segment(chosen, files, stop_at_epoch=stop, device="cpu", threads=1, num_workers=workers)
    return output


def pseudo_labels(split_path: Path, path: Path, n_clusters: int = 7, seed: int = 0) -> Path:
    """Arbitrary pseudo labels of the training samples."""
    split = Split.load(split_path)
    rng = np.random.default_rng(seed)
    n = int(split.train_mask.sum())
    labels = np.concatenate([np.arange(n_clusters), rng.integers(n_clusters, size=n - n_clusters)])
    PseudoLabels(
        indices=rng.permutation(split.indices[split.train_mask]),
        labels=labels,
        core_mask=rng.random(n) < 0.7,
        densities=rng.random(n).astype(np.float32),
        neighbours=rng.integers(-1, n, (n, 10)),
        best_params={"k": 5},
        metadata={},
    ).save(path)
    return path


def signal_at(
    patch: pytest.MonkeyPatch,
    wanted: Container[int],
    signum: int = signal.SIGTERM,
    loss: str = "gcdflow.training.objective.info_nce",
) -> list[int]:
    """Send this process a signal at some calls of a loss, counted from 1; the calls so far."""
    calls: list[int] = []
    original = pkgutil.resolve_name(loss)

    def signalling(*arguments: object, **options: object):
        calls.append(len(calls) + 1)
        if calls[-1] in wanted:
            os.kill(os.getpid(), signum)
        return original(*arguments, **options)

    patch.setattr(loss, signalling)
    return calls


def failing_at(monkeypatch, wanted: set[int], value: float = float("nan")) -> list[int]:
    """Make InfoNCE ``value`` at some of its calls, counted from 1; the calls so far."""
    from gcdflow.losses.infonce import info_nce  # imports torch

    calls: list[int] = []

    def loss(*arguments, **options):
        calls.append(len(calls) + 1)
        found = info_nce(*arguments, **options)
        return found * value if calls[-1] in wanted else found

    monkeypatch.setattr("gcdflow.training.objective.info_nce", loss)
    return calls


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
