"""Where the files of datasets lie, and what to do if they are missing.

The module needs neither NumPy nor Pillow: the workflow asks it before it starts anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.config.settings import DatasetSettings


@dataclass(frozen=True)
class Place:
    """Where one of the field's datasets lies.

    Attributes
    ----------
    folder : str, its usual name in the root
    first : str, what must be in it; empty: nothing particular
    missing : str, the beginning of the sentence if it is missing
    remedy : str, what to do then; both with ``{folder}``, ``{root}`` and ``{name}``
    """

    folder: str
    first: str
    missing: str
    remedy: str


_SET_BOTH = "or set dataset.root or dataset.folder to where"
_OF_IMAGES = (
    "no folder {folder} for dataset '{name}'",
    f"put the images there, {_SET_BOTH} they are",
)
_PLACES = {
    "cub": Place(
        "CUB_200_2011",
        "images.txt",
        "no CUB images at {folder}",
        "unpack CUB_200_2011.tgz in {root}, or set dataset.root of the run to where it is",
    ),
    "scars": Place(
        "stanford_cars",
        "devkit/cars_meta.mat",
        "no Stanford Cars at {folder}",
        f"unpack car_devkit.tgz, cars_train.tgz and cars_test.tgz there, {_SET_BOTH} they are",
    ),
    "aircraft": Place(
        "fgvc-aircraft-2013b",
        "data/images_variant_trainval.txt",
        "no FGVC-Aircraft at {folder}",
        "unpack fgvc-aircraft-2013b.tar.gz in {root}, " + f"{_SET_BOTH} it is",
    ),
    "herbarium19": Place("herbarium_19", "", *_OF_IMAGES),
    "imagenet100": Place("imagenet", "", *_OF_IMAGES),
    "image_folder": Place("images", "", *_OF_IMAGES),
}


def found_folder(settings: DatasetSettings) -> Path:
    """The folder of a dataset that lies in one.

    Raises
    ------
    InputError
        If it is missing, or the file in it that comes first.
    """
    if settings.name == "photos":
        return photographs_folder(Path(settings.root, settings.folder))
    place = _PLACES[settings.name]
    folder = Path(settings.root, settings.folder or place.folder)
    if not (folder / place.first).exists() or not folder.is_dir():
        words = {"folder": folder, "root": settings.root, "name": settings.name}
        expected = f" (expected {folder / place.first})" if place.first else ""
        raise InputError(
            f"dataset.root: {place.missing.format(**words)}{expected}; "
            f"{place.remedy.format(**words)}"
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
        check_table(found_folder(settings) / settings.labels)
    elif settings.name in _PLACES:
        found_folder(settings)


def check_table(table: Path) -> None:
    """Refuse a missing file of labels (InputError)."""
    if not table.exists():
        raise InputError(f"{table}: no such file; write one with the columns path and label")
