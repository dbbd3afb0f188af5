"""FGVC-Aircraft 2013b by variant, with the old classes of the Semantic Shift Benchmark (SSB).

On disk (as its archive unpacks): ``<root>/fgvc-aircraft-2013b/data/`` with
``images_variant_trainval.txt``, ``images_variant_test.txt`` and ``images/``.
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
    """Read samples and split from the text files; classes are the variants, sorted by name.

    Raises
    ------
    InputError
        If the folder or a text file is missing, or the text files disagree.
    """
    folder = found_folder(settings) / "data"
    train_file, test_file = (folder / f"images_variant_{s}.txt" for s in ("trainval", "test"))
    train, test = (read_pairs(file, "image", "variant") for file in (train_file, test_file))
    names = sorted(set(train.values()))
    unknown = sorted(set(test.values()) - set(names))
    if unknown:
        raise InputError(f"{test_file}: variant '{unknown[0]}' is not in {train_file.name}")
    twice = sorted(train.keys() & test.keys())
    if twice:
        raise InputError(f"{test_file}: image {twice[0]} is in {train_file.name} too")
    rank = {name: i for i, name in enumerate(names)}
    return Catalogue(
        classes=np.array([rank[v] for v in (*train.values(), *test.values())], dtype=np.int64),
        train_mask=np.arange(len(train) + len(test)) < len(train),
        class_names=names,
        old_classes=old_class_ids(settings.old_classes, names, published_split("fgvc_aircraft")),
        source={"dataset": "aircraft", "root": str(folder / "images")},
        paths=[f"{image}.jpg" for image in (*train, *test)],
    )
