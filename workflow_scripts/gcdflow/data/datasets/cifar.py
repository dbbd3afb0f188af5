"""CIFAR-10, CIFAR-100 and single superclasses of CIFAR-100, from their official archives.

On disk: ``<root>/cifar-10-batches-py/`` with ``data_batch_1`` … ``data_batch_5``, ``test_batch``
and ``batches.meta``; ``<root>/cifar-100-python/`` with ``train``, ``test`` and ``meta``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.data.datasets.catalogue import Catalogue, old_class_ids, published_split
from gcdflow.data.datasets.cifar_files import (
    CHANNELS,
    LAYOUTS,
    SIDE,
    fetched,
    read_batch,
    read_class_names,
    read_labels,
)
from gcdflow.data.datasets.images import ArrayImages
from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.config.settings import CIFARSettings

_SUPERCLASSES = Path(__file__).parent / "data" / "cifar100_superclasses.json"


def catalogue(settings: CIFARSettings) -> Catalogue:
    """Samples, classes and split: the training batches in their order, then the test batch.

    If ``superclass`` is set, the catalogue has only the samples of its classes, which are numbered
    from 0 in ascending order of their number in CIFAR-100.

    Raises
    ------
    InputError
        If the folder is missing and cannot be downloaded, a file is not as expected, or the
        superclass does not exist.
    """
    layout = LAYOUTS[settings.name]
    folder = fetched(Path(settings.root), layout, settings.download)
    names = read_class_names(folder / layout.meta, layout)
    labels = {
        split: np.concatenate([read_labels(folder / file, layout) for file in files])
        for split, files in layout.files.items()
    }
    published = published_split(settings.name)
    known = published["known_classes"]
    chosen = list(range(layout.n_classes))
    if settings.superclass is not None:
        _check_class_names(folder / layout.meta, names, published["class_names"])
        chosen = _superclass_ids(settings, known)
    classes = np.concatenate(list(labels.values()))
    paths = [f"{split}/{i:05d}" for split, part in labels.items() for i in range(len(part))]
    taken = np.flatnonzero(np.isin(classes, chosen))
    class_names = [names[c] for c in chosen]
    return Catalogue(
        classes=np.searchsorted(chosen, classes[taken]).astype(np.int64),
        train_mask=taken < len(labels["train"]),
        class_names=class_names,
        old_classes=old_class_ids(
            settings.old_classes,
            class_names,
            {
                "known_classes": [i for i, c in enumerate(chosen) if c in known],
                "num_classes": len(chosen),
                "class_names": [published["class_names"][c] for c in chosen],
            },
        ),
        source={"dataset": settings.name, "root": str(folder)},
        paths=[paths[i] for i in taken],
    )


def open_images(source: dict, paths: np.ndarray) -> ArrayImages:
    """The images as uint8 (n, 32, 32, 3), without reading labels.

    Parameters
    ----------
    paths : ndarray of str, shape (n,)
        ``train/<number>`` or ``test/<number>``: positions in the files of that split.

    Raises
    ------
    InputError
        If a file is not as expected or lacks an image.
    """
    folder, files = Path(source["root"]), LAYOUTS[source["dataset"]].files
    parsed = [re.fullmatch(r"(train|test)/(\d+)", path) for path in paths]
    if None in parsed:
        wrong = paths[parsed.index(None)]
        raise InputError(f"image path '{wrong}': expected 'train/<number>' or 'test/<number>'")
    splits = np.array([match[1] for match in parsed], dtype=np.str_)
    positions = np.array([int(match[2]) for match in parsed], dtype=np.int64)
    pixels = np.empty((len(paths), CHANNELS * SIDE * SIDE), dtype=np.uint8)
    for split in np.unique(splits):
        there = np.concatenate([read_batch(folder / file)["data"] for file in files[split]])
        here = splits == split
        if positions[here].max() >= len(there):
            raise InputError(
                f"{folder}: the {split} split has {len(there)} images, expected number "
                f"{positions[here].max()} too; make split.npz again"
            )
        pixels[here] = there[positions[here]]
    planes = pixels.reshape(-1, CHANNELS, SIDE, SIDE)
    return ArrayImages(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)))


# -- superclasses ----------------------------------------------------------------------------------


def _check_class_names(path: Path, names: list[str], official: list[str]) -> None:
    """Refuse an unofficial order of names: the superclasses are lists of class numbers."""
    for i, (found, expected) in enumerate(zip(names, official, strict=True)):
        if found != expected:
            raise InputError(
                f"{path}: fine_label_names are not those of CIFAR-100, so it has no superclasses "
                f"(class {i} is '{found}', expected '{expected}')"
            )


def _superclass_ids(settings: CIFARSettings, known: list[int]) -> list[int]:
    """Class ids of the chosen superclass, ascending."""
    groups = _superclass_groups(settings.grouping)
    if settings.superclass not in groups:
        raise InputError(
            f"dataset.superclass: '{settings.superclass}' is not a {settings.grouping} superclass "
            f"of CIFAR-100 (expected one of {', '.join(groups)})"
        )
    usable = [name for name, ids in groups.items() if not set(ids) <= set(known)]
    if settings.old_classes is None and settings.superclass not in usable:
        raise InputError(
            f"dataset.superclass: all classes of '{settings.superclass}' are old, so none is left "
            f"to discover; choose one of {', '.join(usable)}, or list other old classes in "
            "dataset.old_classes"
        )
    return groups[settings.superclass]


def _superclass_groups(grouping: str) -> dict[str, list[int]]:
    table = json.loads(_SUPERCLASSES.read_text(encoding="utf-8"))
    if grouping == "15-way":
        return {name: sorted(entry["classes"]) for name, entry in table["superclasses15"].items()}
    groups: dict[str, list[int]] = {name: [] for name in table["coarse_names"]}
    for fine, coarse in enumerate(table["fine_to_coarse"]):
        groups[table["coarse_names"][coarse]].append(fine)
    return groups
