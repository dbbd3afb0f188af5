"""Tables of the categories of a few images, and the split that belongs to one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from gcdflow.categories.assignments import Assignments
from gcdflow.files.formats import Split


def table_of(
    paths: Sequence[str], categories: Sequence[str], confidences: object, **others: object
) -> Assignments:
    """A table; the images are core points for training without labels, unless ``others`` differ."""
    n = len(paths)
    plain = {"core_mask": np.ones(n, dtype=bool), "train_mask": np.ones(n, dtype=bool)}
    plain |= {"labels": [""] * n, "suggested": [""] * n, "clusters": np.zeros(n, dtype=np.int64)}
    return Assignments(list(paths), list(categories), np.array(confidences), **plain | others)


def split_of(table: Assignments, root: Path, dataset: str, old_class: str) -> Split:
    """The split of a table's images in a folder; those with a label are of the only old class."""
    return Split(
        indices=np.arange(len(table.paths)),
        train_mask=table.train_mask,
        labelled_mask=table.labelled_mask,
        labels=np.where(table.labelled_mask, 0, -1),
        source={"dataset": dataset, "root": str(root)},
        paths=np.array(table.paths),
        old_class_names=np.array([old_class]),
    )


def run_of(folder: Path, table: Assignments, dataset: str, old_class: str) -> Path:
    """The folder ``runs/mine`` of a table and its split; each image holds its path."""
    for path in table.paths:
        image = folder / "images" / path
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_text(path)
    run = folder / "runs" / "mine"
    run.mkdir(parents=True)
    split_of(table, folder / "images", dataset, old_class).save(run / "split.npz")
    table.save(run / "a.csv")
    return run


def assignments(categories: list[str], confidences: list[float], labels=None) -> Assignments:
    paths = [f"a/{i}.png" for i in range(len(categories))]
    return table_of(paths, categories, confidences, labels=labels or [""] * len(paths))
