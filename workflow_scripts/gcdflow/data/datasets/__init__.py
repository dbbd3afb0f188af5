"""Datasets: the files on the disk, the old classes, and how to open the images.

A dataset is a module of this package with an entry in :data:`DATASETS` and a function that finds
and checks the samples::

    catalogue(settings: DatasetSettings) -> Catalogue

Images are files below ``Catalogue.source["root"]``, unless the module defines::

    open_images(source: dict, paths: ndarray) -> Images

An image that cannot be read is an error, unless the module defines a function that removes such
images::

    without(settings: DatasetSettings, found: Catalogue, unreadable: dict) -> Catalogue

``catalogue`` runs once, in the dataset rule, and knows the true classes. Training and feature
extraction open the images and see only ``split.npz``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np

from gcdflow.data.datasets.images import FileImages, Images
from gcdflow.errors import InputError
from gcdflow.wording import did_you_mean

DATASETS = {
    "aircraft": "gcdflow.data.datasets.aircraft",
    "cifar10": "gcdflow.data.datasets.cifar",
    "cifar100": "gcdflow.data.datasets.cifar",
    "cub": "gcdflow.data.datasets.cub",
    "digits": "gcdflow.data.datasets.digits",
    "herbarium19": "gcdflow.data.datasets.image_folder",
    "image_folder": "gcdflow.data.datasets.image_folder",
    "imagenet100": "gcdflow.data.datasets.image_folder",
    "photos": "gcdflow.data.datasets.photos",
    "scars": "gcdflow.data.datasets.scars",
}


def dataset_module(name: str) -> ModuleType:
    """The module of a dataset.

    Raises
    ------
    InputError
        If the dataset does not exist.
    """
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS)
        raise InputError(f"unknown dataset '{name}'{hint} (known: {', '.join(sorted(DATASETS))})")
    return importlib.import_module(DATASETS[name])


def open_images(source: dict, paths: np.ndarray) -> Images:
    """Open the image source that a ``split.npz`` names.

    Parameters
    ----------
    source : dict
        ``Split.source``; its ``dataset`` names the module that reads it.
    paths : ndarray of str, shape (n,) or (0,)
        ``Split.paths``.
    """
    module = dataset_module(str(source.get("dataset")))
    if hasattr(module, "open_images"):
        return module.open_images(source, paths)
    if "root" not in source:
        raise InputError(f"split.npz: source '{source['dataset']}' has no root; make it again")
    return FileImages(Path(source["root"]), paths.tolist())
