"""Where the files of datasets lie, and what to do if they are missing.

The module needs neither NumPy nor Pillow: the workflow asks it before it starts anything.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.config.settings import BenchmarkSettings, DatasetSettings, ImageFolderSettings


_PUT = "put the images there"
# Usual folder in the root, what must be in it (empty: nothing particular), and what to do.
_PLACES = {
    "cub": ("CUB_200_2011", "images.txt", "unpack CUB_200_2011.tgz in {root}"),
    "scars": (
        "stanford_cars",
        "devkit/cars_meta.mat",
        "unpack car_devkit.tgz, cars_train.tgz and cars_test.tgz there",
    ),
    "aircraft": (
        "fgvc-aircraft-2013b",
        "data/images_variant_trainval.txt",
        "unpack fgvc-aircraft-2013b.tar.gz in {root}",
    ),
    "herbarium19": ("herbarium_19", "", _PUT),
    "imagenet100": ("imagenet", "", _PUT),
    "image_folder": ("images", "", _PUT),
}


def found_folder(settings: BenchmarkSettings | ImageFolderSettings) -> Path:
    """The folder of a dataset that lies in one.

    Raises
    ------
    InputError
        If it is missing, or the file in it that comes first.
    """
    usual, first, remedy = _PLACES[settings.name]
    folder = Path(settings.root, settings.folder or usual)
    if not (folder / first).exists() or not folder.is_dir():
        expected = f" (expected {folder / first})" if first else ""
        raise InputError(
            f"dataset.root: no images of dataset '{settings.name}' at {folder}{expected}; "
            f"{remedy.format(root=settings.root)}, or set dataset.root or dataset.folder to where "
            "they are"
        )
    return folder


def photographs_folder(folder: Path) -> Path:
    """The folder of a user's photographs itself (InputError if it does not exist)."""
    if not folder.is_dir():
        raise InputError(
            f"dataset.folder: no folder of photographs at {folder}; put them there, or set "
            "dataset.root and dataset.folder of the run to where they are"
        )
    return folder


def check_images(settings: DatasetSettings) -> None:
    """Refuse a dataset whose files are missing, as far as a look tells.

    Digits lie in a package, and CIFAR's stage fetches an archive, so nothing of these is missing.

    Raises
    ------
    InputError
        As the dataset itself says it.
    """
    if settings.name == "photos":
        check_table(photographs_folder(Path(settings.root, settings.folder)) / settings.labels)
    elif settings.name in _PLACES:
        found_folder(settings)


def check_table(table: Path) -> None:
    """Refuse a missing file of labels (InputError)."""
    if table.exists():
        return
    names = {table.name.casefold() + more for more in ("", ".txt", ".csv")}
    try:
        beside = os.listdir(table.parent)
    except OSError:
        beside = []
    found = sorted(n for n in beside if n.casefold() in names and n != table.name)
    hint = f"found {found[0]}: rename it" if found else "write one with the columns path and label"
    raise InputError(f"{table}: no such file; {hint}")
