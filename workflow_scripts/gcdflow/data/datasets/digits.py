"""Scikit-learn's handwritten digits: 1,797 real images of 8 × 8 pixels, part of the package.

Classes 0-4 are old, 5-9 are new. The dataset has no official test split, so a fixed seed draws a
fifth of the samples.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.data.datasets.catalogue import Catalogue, old_class_ids
from gcdflow.data.datasets.images import ArrayImages

if TYPE_CHECKING:
    from gcdflow.config.settings import DigitsSettings

TEST_SHARE = 0.2
TEST_SEED = 0
SPLIT = {"known_classes": list(range(5)), "num_classes": 10}


def catalogue(settings: DigitsSettings) -> Catalogue:
    """Classes and the train/test split of the digits."""
    classes = _table()[:, -1].astype(np.int64)
    n = len(classes)
    test = np.random.default_rng(TEST_SEED).permutation(n)[: round(TEST_SHARE * n)]
    train_mask = np.ones(n, dtype=bool)
    train_mask[test] = False
    names = [str(digit) for digit in range(10)]
    return Catalogue(
        classes=classes,
        train_mask=train_mask,
        class_names=names,
        old_classes=old_class_ids(settings.old_classes, names, SPLIT),
        source={"dataset": "digits"},
    )


def open_images(source: dict, paths: np.ndarray) -> ArrayImages:
    """The images as uint8 (1797, 8, 8, 1), their 17 grey levels stretched to 0…255."""
    pixels = _table()[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)
    return ArrayImages(pixels.round().astype(np.uint8))


def _table() -> np.ndarray:
    """64 grey levels 0…16 and the class of each image, float64 (1797, 65).

    It is read where scikit-learn keeps it: an import of scikit-learn takes seconds.
    """
    (folder,) = find_spec("sklearn").submodule_search_locations
    return np.loadtxt(Path(folder) / "datasets" / "data" / "digits.csv.gz", delimiter=",")
