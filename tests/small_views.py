"""A training from stored views of a few seconds: pictures, a split of them, and settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gcdflow.config.runs import merged
from gcdflow.config.settings import ImageFolderSettings, RunSettings, TrainSettings
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.image_folder import catalogue
from gcdflow.training.views import make_views
from PIL import Image

N_VIEWS = 4
# A vision transformer of 0.3 million weights, and images that fit it.
RUN = {
    "augmentation": {"name": "crop", "resize": 40, "image_size": 32},
    "backbone": {"name": "timm", "model": "test_vit", "weights": "random"},
    "head": {"n_layers": 1, "bottleneck_dim": 16, "out_dim": 24},
    "schedule": {"warmup_epochs": 2, "refresh_interval": 1, "total_epochs": 4},
    "training": {"batch_size": 16, "lr": 0.02, "views": N_VIEWS},
}


def settings(guided: bool = False, **changes: object) -> TrainSettings:
    return RunSettings.model_validate(merged(RUN, changes)).train_settings(guided)


def write_pictures(folder: Path, n_classes: int = 4) -> Path:
    """Noisy pictures whose colour tells their class, in a tree of train and val."""
    rng = np.random.default_rng(0)
    for division, n in (("train", 9), ("val", 3)):
        for label in range(n_classes):
            place = folder / division / f"c{label}"
            place.mkdir(parents=True)
            colour = np.random.default_rng(label).integers(40, 216, 3)
            for number in range(n):
                pixels = (colour + rng.normal(0, 25, (45, 60, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def write_split(pictures: Path, path: Path, *, seed: int = 0) -> Path:
    """A split of the pictures in which classes 0 and 1 are old; the truth lies nowhere."""
    chosen = ImageFolderSettings(
        root=str(pictures.parent), folder=pictures.name, old_classes=["c0", "c1"], seed=seed
    )
    split, _ = split_catalogue(catalogue(chosen), chosen)
    split.save(path)
    return path


def make(split: Path, output: Path, chosen: TrainSettings | None = None, **options: object) -> Path:
    """Make stored views in this process, with one thread."""
    stored = (chosen or settings()).views_settings()
    make_views(stored, split, output, device="cpu", threads=1, num_workers=0, **options)
    return output
