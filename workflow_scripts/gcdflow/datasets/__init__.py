"""Datasets: what is on the disk, which classes are old, and how to get at the images.

A dataset is a module of this package with two functions::

    catalogue(settings: DatasetSettings) -> Catalogue     # what there is; checks it all
    open_images(source: dict, paths: ndarray) -> Images   # reads it, from Catalogue.source

and an entry in :data:`DATASETS`. ``catalogue`` runs once, in the dataset rule, and sees the truth;
``open_images`` runs in training and feature extraction and sees only ``split.npz``.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.datasets.images import Images

DATASETS = {"cub": "gcdflow.datasets.cub", "digits": "gcdflow.datasets.digits"}


def dataset_module(name: str) -> ModuleType:
    """The module of a dataset.

    Raises
    ------
    InputError
        If there is no such dataset.
    """
    if name not in DATASETS:
        raise InputError(f"unknown dataset '{name}' (known: {', '.join(sorted(DATASETS))})")
    return importlib.import_module(DATASETS[name])


def open_images(source: dict, paths: np.ndarray) -> Images:
    """Open the image source that a ``split.npz`` names.

    Parameters
    ----------
    source : dict
        ``Split.source``; its ``dataset`` says who reads it.
    paths : ndarray of str, shape (n,) or (0,)
        ``Split.paths``.
    """
    return dataset_module(str(source.get("dataset"))).open_images(source, paths)
