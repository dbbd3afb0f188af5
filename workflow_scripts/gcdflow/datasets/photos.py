"""A folder of somebody's own photographs, of which a CSV file names the classes of some.

The CSV file has the columns ``path`` (relative to the folder) and ``label`` (blank: unlabelled),
and if wanted ``split`` (``train`` or ``test``; blank: ``train``) and ``truth`` (the class of a
sample whose label is hidden, to measure accuracy). Images of the folder that it does not list are
unlabelled training images.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.datasets.catalogue import UNKNOWN, Catalogue
from gcdflow.errors import InputError
from gcdflow.formats import UNLABELLED, Labels, Split

if TYPE_CHECKING:
    from gcdflow.settings import PhotosSettings

COLUMNS = ("path", "label", "split", "truth")
REQUIRED = ("path", "label")
# Formats of cameras, phones and scanners. Those of Apple are here although Pillow does not read
# them: a sentence that says so is better than photographs that are silently left out.
SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".avif", ".jp2"),
    *(".ppm", ".pgm", ".heic", ".heif"),
}


@dataclass(frozen=True)
class Row:
    """A line of the CSV file; blank cells are empty texts, but ``split`` is never blank."""

    path: str
    label: str
    split: str = "train"
    truth: str = ""


def catalogue(settings: PhotosSettings) -> Catalogue:
    """All images of the folder, with the labels of the CSV file.

    Old classes are the labels, in alphabetical order; new classes are what only ``truth`` names.

    Raises
    ------
    InputError
        If the folder or the CSV file is missing or wrong, or nothing is labelled or unlabelled.
    """
    folder = Path(settings.root) / settings.folder
    if not folder.is_dir():
        raise InputError(
            f"dataset.folder: no folder of photographs at {folder}; put them there, or set "
            "dataset.root and dataset.folder of the run to where they are"
        )
    table = folder / settings.labels
    listed = read_labels(table)
    unlisted = sorted(set(_images_below(folder)) - {row.path for row in listed})
    rows = [*listed, *(Row(path, "") for path in unlisted)]
    old = sorted({row.label for row in rows if row.label})
    new = sorted({row.truth for row in rows if row.truth} - set(old))
    if not old:
        raise InputError(f"{table}: no image has a label; write the class of some of each old kind")
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
        source={"dataset": "photos", "root": str(folder)},
        paths=[row.path for row in rows],
        labelled_mask=np.array([row.label != "" for row in rows]),
    )


def read_labels(table: Path) -> list[Row]:
    """Read and check the CSV file of labels.

    Raises
    ------
    InputError
        Naming the line and what is wrong with it.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")  # spreadsheets like to begin with a mark
    except FileNotFoundError:
        raise InputError(
            f"{table}: no such file; write one with the columns path and label"
        ) from None
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{table}: not UTF-8 text; save it as CSV in UTF-8") from None
    first = text.partition("\n")[0].strip()
    # In many countries spreadsheets write semicolons.
    delimiter = ";" if ";" in first and "," not in first else ","
    try:
        cells = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(f"{table}: not a CSV file ({error})") from None
    header = [cell.strip() for cell in cells[0]] if cells else []
    unknown = [column for column in header if column not in COLUMNS]
    missing = [column for column in REQUIRED if column not in header]
    if unknown or missing or len(set(header)) != len(header):
        raise InputError(
            f"{table}: the first line is '{first}', expected the columns path "
            "and label, and optionally split and truth, each once"
        )
    rows: list[Row] = []
    seen: set[str] = set()
    for number, line in enumerate(cells[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        if len(line) != len(header):
            raise InputError(
                f"{table}, line {number}: {len(line)} cells, expected {len(header)} "
                f"({', '.join(header)})"
            )
        cell = {name: text.strip() for name, text in zip(header, line, strict=True)}
        rows.append(_checked(Row(**{**cell, "split": cell.get("split") or "train"}), table, number))
        if rows[-1].path in seen:
            raise InputError(f"{table}, line {number}: {rows[-1].path} is listed a second time")
        seen.add(rows[-1].path)
    return rows


def _checked(row: Row, table: Path, number: int) -> Row:
    where, path = f"{table}, line {number}", PurePosixPath(row.path)
    if not row.path or path.is_absolute() or ".." in path.parts or "\0" in row.path:
        raise InputError(
            f"{where}: the path '{row.path}' does not lie in the folder; expected one relative to "
            f"{table.parent}"
        )
    if row.split not in ("train", "test"):
        raise InputError(f"{where}: split is '{row.split}', expected train, test or nothing")
    if row.split == "test" and row.label:
        raise InputError(
            f"{where}: a test image carries the label '{row.label}'; move it to the column truth"
        )
    if row.label and row.truth and row.label != row.truth:
        raise InputError(f"{where}: label '{row.label}' and truth '{row.truth}' differ")
    return Row(str(path), row.label, row.split, row.truth)


def _images_below(folder: Path) -> list[str]:
    """Paths of all images below a folder, relative to it; hidden files are left out."""
    return [
        str(path.relative_to(folder).as_posix())
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]


def present_labels(table: Path, split: Split) -> tuple[Labels, str]:
    """The labels that the CSV file holds now, for the samples of an earlier split.

    Classes of the split keep their numbers; names that are new follow in alphabetical order.

    Returns
    -------
    labels : Labels
    changes : str
        What a person changed since the split was made, in words.

    Raises
    ------
    InputError
        If the file is wrong, or lists a path that the split does not have.
    """
    rows = read_labels(table)
    position = {path: i for i, path in enumerate(split.paths.tolist())}
    strangers = [row.path for row in rows if row.path not in position]
    if strangers:
        raise InputError(
            f"{table}: {len(strangers)} paths are not among the photographs of split.npz (first: "
            f"{strangers[0]}); to take them in and train anew, run with --forcerun dataset"
        )
    old = split.old_class_names.tolist()
    names = [*old, *sorted({row.label for row in rows if row.label} - set(old))]
    ids = {name: i for i, name in enumerate(names)}
    labels = np.full(len(split.indices), UNLABELLED, dtype=np.int64)
    for row in rows:
        if row.label:
            labels[position[row.path]] = ids[row.label]
    before = split.labels
    added = int(((before == UNLABELLED) & (labels != UNLABELLED)).sum())
    removed = int(((before != UNLABELLED) & (labels == UNLABELLED)).sum())
    changed = int((before != labels).sum()) - added - removed
    words = f"{added} added, {changed} changed, {removed} removed since training began"
    return Labels(split.indices, labels, np.array(names, dtype=np.str_)), words
