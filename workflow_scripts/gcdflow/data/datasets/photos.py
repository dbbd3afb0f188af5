"""A folder of the user's own photographs; a CSV file names the classes of some of them.

Images that the CSV file (:mod:`gcdflow.data.datasets.labels_table`) does not list are unlabelled
training images.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.data.datasets.catalogue import UNKNOWN, Catalogue
from gcdflow.data.datasets.images import unreadable_images
from gcdflow.data.datasets.labels_table import LabelRow, read_labels
from gcdflow.data.datasets.labels_text import LabelsText, read_text
from gcdflow.data.datasets.listed_paths import match_paths
from gcdflow.data.folder_scan import files_below, photographs, report_left_out, suffix
from gcdflow.errors import InputError, one_line
from gcdflow.files.formats import UNLABELLED, Labels, Split, leaves_folder

if TYPE_CHECKING:
    from gcdflow.config.settings import PhotosSettings

log = logging.getLogger(__name__)


def catalogue(settings: PhotosSettings) -> Catalogue:
    """All images of the folder, with the labels of the CSV file.

    Old classes are the labels, in alphabetical order. New classes occur only in ``truth``.

    Raises
    ------
    InputError
        If the folder or the CSV file is missing or wrong, no image is labelled, or all are.
    """
    folder = Path(settings.root) / settings.folder
    _check_folder(folder)
    table = folder / settings.labels
    rows = read_labels(table, settings.real_classes)
    files, left_out = files_below(folder)
    listed = match_paths(rows, table, folder, files)
    unlisted = sorted(set(photographs(files)) - {row.path for row in listed})
    rows = [*listed, *(LabelRow(path, "") for path in unlisted)]
    others = [path for path in set(files) - {row.path for row in rows} if folder / path != table]
    report_left_out(folder, left_out + Counter(suffix(path) or "no suffix" for path in others))
    return _catalogue_of(rows, settings)


def without(settings: PhotosSettings, found: Catalogue, unreadable: Mapping[str, str]) -> Catalogue:
    """The catalogue without unreadable photographs; its source lists them.

    Parameters
    ----------
    unreadable : mapping from str to str
        Path of each unreadable photograph and the reason.

    Raises
    ------
    InputError
        If more than half of all photographs are unreadable, or no labelled or no unlabelled one is
        left.
    """
    folder = Path(settings.root) / settings.folder
    n = len(found.paths)
    said = unreadable_images(unreadable, n)
    if 2 * len(unreadable) > n:
        raise InputError(f"{folder}: {said}; that is too many to leave out, put good copies there")
    rows = []
    for i, path in enumerate(found.paths):
        name = "" if found.classes[i] == UNKNOWN else found.class_names[found.classes[i]]
        label = name if found.labelled_mask[i] else ""
        split = "train" if found.train_mask[i] else "test"
        rows.append(LabelRow(path, label, split, name))
    try:
        kept = [row for row in rows if row.path not in unreadable]
        left = _catalogue_of(kept, settings, unreadable)
    except InputError as error:
        raise InputError(f"{error} ({said})") from None
    lost = {row.label for row in rows if row.label} - {row.label for row in kept}
    log.warning(
        "warning: %s",
        one_line(
            f"{folder}: {len(unreadable)} of {n} photographs cannot be read and are left out"
            + (f"; no label is left of {', '.join(sorted(lost))}" if lost else "")
        ),
    )
    return left


def _catalogue_of(
    rows: list[LabelRow], settings: PhotosSettings, left_out: Mapping[str, str] | None = None
) -> Catalogue:
    folder = Path(settings.root) / settings.folder
    table = folder / settings.labels
    _check_any_label(table, rows)
    old = sorted({row.label for row in rows if row.label})
    new = sorted({row.truth for row in rows if row.truth} - set(old))
    if all(row.label or row.split == "test" for row in rows):
        raise InputError(f"{table}: every image has a label already; there is nothing to sort")
    ids = {name: i for i, name in enumerate([*old, *new])}
    return Catalogue(
        classes=np.array(
            [ids.get(row.label or row.truth, UNKNOWN) for row in rows], dtype=np.int64
        ),
        train_mask=np.array([row.split == "train" for row in rows]),
        class_names=[*old, *new],
        old_classes=list(range(len(old))),
        source={
            **{"dataset": "photos", "root": str(folder)},
            **_real_classes(settings),
            **({"left_out": dict(left_out)} if left_out else {}),
        },
        paths=[row.path for row in rows],
        labelled_mask=np.array([row.label != "" for row in rows]),
    )


def _real_classes(settings: PhotosSettings) -> dict[str, list[str]]:
    """The ``real_classes`` that the split records, so that the table can be read again later."""
    return {"real_classes": settings.real_classes} if settings.real_classes else {}


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(
            f"dataset.folder: no folder of photographs at {folder}; put them there, or set "
            "dataset.root and dataset.folder of the run to where they are"
        )


def _check_any_label(table: Path, rows: list[LabelRow]) -> None:
    if not any(row.label for row in rows):
        raise InputError(f"{table}: no image has a label; label some of each old class")


def present_labels(table: Path, split: Split, run: str) -> tuple[Labels, str]:
    """The current labels of the CSV file, for the samples of an earlier split.

    Classes of the split keep their numbers; new names follow in alphabetical order. Photographs
    that were added since then are not sorted; the log counts them.

    Parameters
    ----------
    run : str
        Name of the run, for the command that trains again.

    Returns
    -------
    labels : Labels
    changes : str
        The changes since the split was made, in words.

    Raises
    ------
    InputError
        If the folder or the file is missing or wrong, photographs of the split are gone, no
        photograph is labelled, or the file lists a path that does not exist or moved between train
        and test.
    """
    folder = _folder_of(split)
    # The target comes first, because --forcerun takes all words after it as names of rules.
    again = f"snakemake --cores all runs/{run}/gallery.html --forcerun dataset"
    rows, files = read_labels(table, real_classes_of(split)), files_below(folder).files
    known, there = split.paths.tolist(), set(files)
    gone = [path for path in known if path not in there and not os.path.isfile(folder / path)]
    if gone:
        raise InputError(
            f"{folder}: {len(gone)} of {len(known)} photographs of the run are gone (first: "
            f"{gone[0]}); put them back, or train again without them: {again}"
        )
    position = {path: i for i, path in enumerate(known)}
    rows = match_paths(rows, table, folder, [*files, *known])
    others = {row.path for row in rows} - position.keys()
    nowhere = sorted(
        path
        for path in others - there - split.left_out.keys()
        if leaves_folder(path) or not os.path.isfile(folder / path)
    )
    if nowhere:
        raise InputError(
            f"{table}: {len(nowhere)} listed paths are not among the photographs of {folder} "
            f"(first: {nowhere[0]}); correct them, or remove the lines"
        )
    new = sorted((others | set(photographs(files))) - position.keys() - split.left_out.keys())
    if new:
        log.warning(
            "warning: %s",
            one_line(
                f"{folder}: {len(new)} photographs were added since training began (first: "
                f"{new[0]}) and are not sorted; to include them, train again: {again}"
            ),
        )
    rows = [row for row in rows if row.path in position]
    for row in rows:
        before = "train" if split.train_mask[position[row.path]] else "test"
        if row.split != before:
            raise InputError(
                f"{table}, line {row.line}: the split of {row.path} is {row.split}, but was "
                f"{before} when training began; change it back, or train again: {again}"
            )
    _check_any_label(table, rows)
    return _labels(split, {position[row.path]: row.label for row in rows if row.label})


def labels_text(table: Path, split: Split) -> LabelsText:
    """The text of the CSV file, ready for changes of the labels of a split's training samples.

    Raises
    ------
    InputError
        As :func:`present_labels`, if the folder or the file is missing or wrong.
    """
    folder = _folder_of(split)
    rows = read_labels(table, real_classes_of(split))
    found = match_paths(rows, table, folder, [*files_below(folder).files, *split.paths.tolist()])
    path_of = {row.written: row.path for row in found}
    return read_text(table, [replace(row, path=path_of[row.written]) for row in rows])


def _folder_of(split: Split) -> Path:
    if split.source.get("dataset") != "photos" or "root" not in split.source:
        raise InputError("split.npz: is not of a folder of photographs; make it again")
    folder = Path(split.source["root"])
    _check_folder(folder)
    return folder


def real_classes_of(split: Split) -> list[str]:
    """The ``real_classes`` that a split records.

    Raises
    ------
    InputError
        If they are no list of names.
    """
    names = split.source.get("real_classes", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError("split.npz: 'source' has no list of names as real_classes; make it again")
    return names


def _labels(split: Split, names_at: dict[int, str]) -> tuple[Labels, str]:
    """Labels from the class names by position, and the changes in words."""
    old = split.old_class_names.tolist()
    names = [*old, *sorted(set(names_at.values()) - set(old))]
    ids = {name: i for i, name in enumerate(names)}
    labels = np.full(len(split.indices), UNLABELLED, dtype=np.int64)
    for i, name in names_at.items():
        labels[i] = ids[name]
    before = split.labels
    added = int(((before == UNLABELLED) & (labels != UNLABELLED)).sum())
    removed = int(((before != UNLABELLED) & (labels == UNLABELLED)).sum())
    changed = int((before != labels).sum()) - added - removed
    words = f"{added} added, {changed} changed, {removed} removed since training began"
    return Labels(split.indices, labels, np.array(names, dtype=np.str_)), words
