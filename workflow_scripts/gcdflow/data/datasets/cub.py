"""Caltech-UCSD Birds 200-2011, with the old classes of the Semantic Shift Benchmark (SSB).

On disk (as its archive unpacks): ``<root>/CUB_200_2011/`` with ``images.txt``,
``image_class_labels.txt``, ``train_test_split.txt``, ``classes.txt`` and ``images/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gcdflow.data.datasets.catalogue import Catalogue, old_class_ids, published_split, read_pairs
from gcdflow.data.places import found_folder
from gcdflow.errors import InputError

if TYPE_CHECKING:
    from gcdflow.config.settings import BenchmarkSettings


def catalogue(settings: BenchmarkSettings) -> Catalogue:
    """Read samples, classes and split from the dataset's text files.

    Raises
    ------
    InputError
        If the folder or a text file is missing, or the text files disagree.
    """
    folder = found_folder(settings)
    image_path, image_class, is_train, class_names = (
        read_pairs(folder / f"{name}.txt", "id", "value", r"[0-9]{1,9}")
        for name in ("images", "image_class_labels", "train_test_split", "classes")
    )
    for name, table in (("image_class_labels", image_class), ("train_test_split", is_train)):
        if table.keys() != image_path.keys():
            raise InputError(f"{folder / name}.txt: lists other image ids than images.txt")
    ids = sorted(image_path, key=int)
    class_ids = sorted(class_names, key=int)
    rank = {class_id: position for position, class_id in enumerate(class_ids)}
    unknown = sorted(set(image_class.values()) - rank.keys())
    if unknown:
        raise InputError(
            f"{folder / 'image_class_labels.txt'}: class ids {unknown[:5]} are not in classes.txt"
        )
    strange = sorted(set(is_train.values()) - {"0", "1"})
    if strange:
        raise InputError(
            f"{folder / 'train_test_split.txt'}: expected 1 (training) or 0 (test), found "
            f"'{strange[0]}'"
        )
    names = [class_names[c] for c in class_ids]
    return Catalogue(
        classes=np.array([rank[image_class[i]] for i in ids], dtype=np.int64),
        train_mask=np.array([is_train[i] == "1" for i in ids]),
        class_names=names,
        old_classes=old_class_ids(settings.old_classes, names, published_split("cub")),
        source={"dataset": "cub", "root": str(folder / "images")},
        paths=[image_path[i] for i in ids],
    )
