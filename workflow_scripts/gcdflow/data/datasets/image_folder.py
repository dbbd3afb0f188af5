"""Folders of images with one folder per class: any such dataset, Herbarium 19 and ImageNet-100.

On disk: ``<root>/<folder>/<split>/<class>/…/<image>``. Classes and images are in the order of
torchvision's ``ImageFolder``, because the published class ids and label draws depend on it.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.data.class_names import position_of
from gcdflow.data.datasets.catalogue import Catalogue, old_class_ids, published_split
from gcdflow.data.folder_scan import files_below, is_of_machines, report_left_out
from gcdflow.data.places import found_folder
from gcdflow.errors import InputError
from gcdflow.wording import did_you_mean

if TYPE_CHECKING:
    from gcdflow.config.settings import BenchmarkSettings, ImageFolderSettings

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_IMAGENET_CLASSES = 1000
# Folders of the training and the test split.
_SPLITS = {"herbarium19": ("small-train", "small-validation"), "imagenet100": ("train", "val")}


def catalogue(settings: BenchmarkSettings | ImageFolderSettings) -> Catalogue:
    """Samples and classes from the names of folders and files: training split, then test split.

    Raises
    ------
    InputError
        If a folder is missing, the folder of a class has no images, a class is only in the test
        split, a chosen class does not exist, or the number of classes differs from the published
        list.
    """
    train_folder, test_folder = _SPLITS.get(settings.name) or (settings.train, settings.test)
    if train_folder == test_folder:
        raise InputError(
            f"dataset.test: '{test_folder}' is dataset.train too; expected another folder, or null "
            "if there is no test split"
        )
    folder = found_folder(settings)
    left_out: Counter[str] = Counter()
    found = _class_folders(folder / train_folder, left_out)
    names, published = _chosen(settings, found, folder / train_folder)
    train = _samples(folder, train_folder, names, left_out)
    test = []
    if test_folder is not None:
        there = _class_folders(folder / test_folder, left_out)
        extra = sorted(set(there) - set(found))
        if extra and names == found:
            raise InputError(
                f"{folder / test_folder}: class '{extra[0]}' is not in {folder / train_folder}"
            )
        names_there = [name for name in names if name in set(there)]
        test = _samples(folder, test_folder, names_there, left_out)
    report_left_out(folder, left_out)
    rank = {name: i for i, name in enumerate(names)}
    samples = train + test
    return Catalogue(
        classes=np.array([rank[name] for _, name in samples], dtype=np.int64),
        train_mask=np.arange(len(samples)) < len(train),
        class_names=names,
        old_classes=old_class_ids(settings.old_classes, names, published),
        source={"dataset": settings.name, "root": str(folder)},
        paths=[path for path, _ in samples],
    )


# -- classes ---------------------------------------------------------------------------------------


def _chosen(
    settings: BenchmarkSettings | ImageFolderSettings, found: list[str], path: Path
) -> tuple[list[str], dict | None]:
    """Names of the classes to use, sorted, and their published split, if one exists."""
    if settings.name == "image_folder":
        return _listed(settings.classes, found, path), None
    if settings.name == "herbarium19":
        return found, published_split("herbarium_19")
    published = published_split("imagenet_100")
    if len(found) == _IMAGENET_CLASSES:
        found = [found[i] for i in published["imagenet1k_indices"]]
    return found, published


def _listed(classes: list[str] | None, found: list[str], path: Path) -> list[str]:
    if classes is None:
        return found
    positions = [position_of(name, found) for name in classes]
    if None in positions:
        missing = classes[positions.index(None)]
        raise InputError(
            f"dataset.classes: '{missing}' is not a folder in {path} (found {len(found)}: "
            f"{', '.join(found[:3])} …){did_you_mean(missing, found)}"
        )
    if not classes or len(set(positions)) != len(positions):
        what = "lists a class twice" if classes else "is empty"
        raise InputError(f"dataset.classes {what}")
    return [found[i] for i in sorted(positions)]


# -- files -----------------------------------------------------------------------------------------


def _class_folders(split: Path, left_out: Counter[str]) -> list[str]:
    """Sorted names of the class folders of a split; ``left_out`` counts the other folders."""
    try:
        with os.scandir(split) as entries:
            folders = sorted(entry.name for entry in entries if os.path.isdir(entry))
    except OSError as error:
        raise InputError(
            f"{split}: cannot be read ({error.strerror}); expected a folder with one folder of "
            "images for each class"
        ) from None
    names = []
    for name in folders:
        if is_of_machines(name):
            left_out[f"{name}/"] += 1
        elif split.resolve().is_relative_to((split / name).resolve()):
            left_out[f"{name}/ (a link back)"] += 1
        else:
            names.append(name)
    if not names:
        raise InputError(f"{split}: has no folders, expected one with images for each class")
    return names


def _samples(
    folder: Path, split: str, names: list[str], left_out: Counter[str]
) -> list[tuple[str, str]]:
    """Path (relative to the folder) and class of each image of the named classes of a split."""
    samples = []
    for name in names:
        listing = files_below(folder / split / name)
        left_out.update(listing.left_out)
        paths = [path for path in listing.files if path.lower().endswith(SUFFIXES)]
        if not paths:
            raise InputError(
                f"{folder / split / name}: a class without images (expected files that end in "
                f"{', '.join(SUFFIXES)})"
            )
        relative = os.path.relpath(folder / split / name, folder)
        samples += [(f"{relative}/{path}", name) for path in paths]
    return samples
