"""A folder of somebody's own photographs, of which a CSV file names the classes of some.

The CSV file has the columns ``path`` (relative to the folder) and ``label`` (blank: unlabelled),
and if wanted ``split`` (``train`` or ``test``; blank: ``train``) and ``truth`` (the class of a
sample whose label is hidden, to measure accuracy). Images of the folder that it does not list are
unlabelled training images. Spreadsheets write such files in many ways: any of their separators will
do, capital letters in the first line, and rows without their last cells.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.datasets.catalogue import UNKNOWN, Catalogue
from gcdflow.datasets.images import unreadable_images
from gcdflow.errors import InputError, one_line
from gcdflow.formats import UNLABELLED, Labels, Split, leaves_folder
from gcdflow.listing import files_below, photographs, report_left_out, suffix

if TYPE_CHECKING:
    from gcdflow.settings import PhotosSettings

COLUMNS = ("path", "label", "split", "truth")
REQUIRED = ("path", "label")
_EXPECTED = "expected the columns path and label, and optionally split and truth"
_DELIMITERS = ",;\t"
# Spaces of any width and tabs; line breaks in a name are an error.
_SPACES = re.compile(r"[ \t\u00a0\u2000-\u200a\u202f\u205f\u3000]+")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """A line of the CSV file; blank cells are empty texts, but ``split`` is never blank."""

    path: str
    label: str
    split: str = "train"
    truth: str = ""
    line: int = field(default=0, compare=False)


def catalogue(settings: PhotosSettings) -> Catalogue:
    """All images of the folder, with the labels of the CSV file.

    Old classes are the labels, in alphabetical order; new classes are what only ``truth`` names.

    Raises
    ------
    InputError
        If the folder or the CSV file is missing or wrong, or nothing is labelled or unlabelled.
    """
    folder = Path(settings.root) / settings.folder
    _check_folder(folder)
    table = folder / settings.labels
    rows = read_labels(table)
    files, left_out = files_below(folder)
    listed = _placed(rows, table, folder, files)
    unlisted = sorted(set(photographs(files)) - {row.path for row in listed})
    rows = [*listed, *(Row(path, "") for path in unlisted)]
    others = [path for path in set(files) - {row.path for row in rows} if folder / path != table]
    report_left_out(folder, left_out + Counter(suffix(path) or "no suffix" for path in others))
    return _catalogue_of(rows, folder, table)


def without(settings: PhotosSettings, found: Catalogue, unreadable: Mapping[str, str]) -> Catalogue:
    """The catalogue without photographs that cannot be read; its source lists them.

    Parameters
    ----------
    unreadable : mapping from str to str
        Path of each such photograph, and why it cannot be read.

    Raises
    ------
    InputError
        If they are more than half of all, or nothing is left that is labelled or unlabelled.
    """
    folder = Path(settings.root) / settings.folder
    table, n = folder / settings.labels, len(found.paths)
    said = unreadable_images(unreadable, n)
    if 2 * len(unreadable) > n:
        raise InputError(f"{folder}: {said}; that is too many to leave out, put good copies there")
    rows = []
    for i, path in enumerate(found.paths):
        name = "" if found.classes[i] == UNKNOWN else found.class_names[found.classes[i]]
        label = name if found.labelled_mask[i] else ""
        split = "train" if found.train_mask[i] else "test"
        rows.append(Row(path, label, split, name))
    try:
        kept = [row for row in rows if row.path not in unreadable]
        left = _catalogue_of(kept, folder, table, unreadable)
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
    rows: list[Row], folder: Path, table: Path, left_out: Mapping[str, str] | None = None
) -> Catalogue:
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
            **({"left_out": dict(left_out)} if left_out else {}),
        },
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
    rows = [_checked(row, table, row.line) for row in _rows(table, text)]
    _check_spelling(table, rows)
    return rows


def _rows(table: Path, text: str) -> list[Row]:
    """The lines of a table that are not blank, with nothing checked but the columns."""
    first, _, rest = text.partition("\n")
    said = re.fullmatch(rf'"?sep=([{_DELIMITERS}])"?', first, re.IGNORECASE)  # as Excel writes it
    if said:
        first, text = rest.partition("\n")[0], rest
    delimiter = said[1] if said else _delimiter(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num + bool(said), [cell.strip() for cell in line]) for line in reader]
    except csv.Error as error:
        raise InputError(f"{table}: not a CSV file ({error})") from None
    header = [cell.lower() for cell in lines[0][1]] if lines else []
    _check_columns(table, header)
    rows = []
    for number, cells in lines[1:]:
        if not any(cells):
            continue
        cell = dict(zip(header, cells, strict=False))  # cells at the end may be missing
        stray = [text for i, text in enumerate(cells) if text and not "".join(header[i : i + 1])]
        if stray:
            raise InputError(
                f"{table}, line {number}: '{stray[0]}' is in a column without a name, expected "
                f"cells for {', '.join(filter(None, header))}; put a text with a separator in it "
                "into quotation marks"
            )
        label, truth = (_tidy(cell.get(name, "")) for name in ("label", "truth"))
        split = cell.get("split") or "train"
        rows.append(Row(cell.get("path", ""), label, split, truth, number))
    return rows


def _delimiter(header: str) -> str:
    """What separates the cells; in many countries spreadsheets write semicolons."""
    for delimiter in _DELIMITERS:
        names = {cell.strip(' "').lower() for cell in header.split(delimiter)}
        if names.issuperset(REQUIRED):
            return delimiter
    return max(_DELIMITERS, key=header.count)


def _check_columns(table: Path, header: list[str]) -> None:
    """Spreadsheets leave empty columns at the end; all others must be known, and there once."""
    found = f"(found: {', '.join(filter(None, header)) or 'none'}); {_EXPECTED}"
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(f"{table}: the first line names no column '{missing[0]}' {found}")
    unknown = [name for name in header if name and name not in COLUMNS]
    if unknown:
        raise InputError(f"{table}: the column '{unknown[0]}' is not known {found}")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise InputError(f"{table}: the column '{twice[0]}' is there twice {found}, each once")


def _tidy(name: str) -> str:
    """A name as it looks: in composed characters, with single spaces."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", name))


def _check_spelling(table: Path, rows: list[Row]) -> None:
    """Names that differ only in capital letters are one class to a person, and two to us."""
    spelling: dict[str, str] = {}
    for row in rows:
        for name in (row.label, row.truth):
            other = spelling.setdefault(name.casefold(), name)
            if other != name:
                raise InputError(
                    f"{table}, line {row.line}: the class '{name}' is '{other}' in another line; "
                    "write both alike, or give them names that differ in more"
                )


def _checked(row: Row, table: Path, number: int) -> Row:
    where, path = f"{table}, line {number}", PurePosixPath(row.path)
    if leaves_folder(row.path):
        raise InputError(
            f"{where}: the path '{row.path}' does not lie in the folder; expected one relative to "
            f"{table.parent}"
        )
    for column, name in (("label", row.label), ("truth", row.truth)):
        if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
            raise InputError(
                f"{where}: the {column} '{name}' holds a line break or another control character; "
                "expected a name in one line"
            )
    if row.split not in ("train", "test"):
        raise InputError(f"{where}: split is '{row.split}', expected train, test or nothing")
    if row.split == "test" and row.label:
        raise InputError(
            f"{where}: a test image carries the label '{row.label}'; move it to the column truth"
        )
    if row.label and row.truth and row.label != row.truth:
        raise InputError(f"{where}: label '{row.label}' and truth '{row.truth}' differ")
    return replace(row, path=str(path))


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(
            f"dataset.folder: no folder of photographs at {folder}; put them there, or set "
            "dataset.root and dataset.folder of the run to where they are"
        )


def _check_any_label(table: Path, rows: list[Row]) -> None:
    if not any(row.label for row in rows):
        raise InputError(f"{table}: no image has a label; write the class of some of each old kind")


def _placed(rows: list[Row], table: Path, folder: Path, there: Sequence[str]) -> list[Row]:
    """The rows with their paths spelt as on the disk; those of absent files as they are.

    Parameters
    ----------
    there : sequence of str
        Paths that are taken to exist, and that others are compared with.
    """
    exact = set(there)
    composed = {unicodedata.normalize("NFC", path): path for path in there}
    folded = {path.casefold(): composed[path] for path in composed}
    line_of: dict[str, int] = {}
    placed = []
    for row in rows:
        path = _spelt_as_there(row.path, exact, composed, folder)
        if path is None:
            path = row.path
            alike = unicodedata.normalize("NFC", path.replace("\\", "/")).casefold()
            if alike in folded:
                raise InputError(
                    f"{table}, line {row.line}: no file {path} in {folder}; did you mean "
                    f"{folded[alike]}?"
                )
        if path in line_of:
            raise InputError(
                f"{table}, line {row.line}: {path} is listed a second time (first: line "
                f"{line_of[path]})"
            )
        line_of[path] = row.line
        placed.append(replace(row, path=path))
    return placed


def _spelt_as_there(
    path: str, exact: set[str], composed: dict[str, str], folder: Path
) -> str | None:
    """The path of the file that is meant; None if there is none.

    The same letters may be written in composed characters or not (as Apple's file systems do), and
    folders may be separated as on Windows.
    """
    for candidate in (path, str(PurePosixPath(path.replace("\\", "/")))):
        if candidate in exact:
            return candidate
        if (other := composed.get(unicodedata.normalize("NFC", candidate))) is not None:
            return other
        if not leaves_folder(candidate) and os.path.isfile(folder / candidate):
            return candidate
    return None


def present_labels(table: Path, split: Split, run: str) -> tuple[Labels, str]:
    """The labels that the CSV file holds now, for the samples of an earlier split.

    Classes of the split keep their numbers; names that are new follow in alphabetical order.
    Photographs that came to the folder since are not sorted: a line of the log counts them.

    Parameters
    ----------
    run : str
        Name of the run, for the command that trains anew.

    Returns
    -------
    labels : Labels
    changes : str
        What a person changed since the split was made, in words.

    Raises
    ------
    InputError
        If the folder or the file is missing or wrong, photographs of the split are gone, nothing
        is labelled any more, or the file lists a path that is nowhere or in another split.
    """
    if split.source.get("dataset") != "photos" or "root" not in split.source:
        raise InputError("split.npz: is not of a folder of photographs; make it again")
    folder = Path(split.source["root"])
    _check_folder(folder)
    # The target first: what follows --forcerun are names of rules, and all of them are forced.
    anew = f"snakemake --cores all runs/{run}/gallery.html --forcerun dataset"
    rows, files = read_labels(table), files_below(folder).files
    known, there = split.paths.tolist(), set(files)
    gone = [path for path in known if path not in there and not os.path.isfile(folder / path)]
    if gone:
        raise InputError(
            f"{folder}: {len(gone)} of {len(known)} photographs of the run are gone (first: "
            f"{gone[0]}); put them back, or train anew without them: {anew}"
        )
    position = {path: i for i, path in enumerate(known)}
    rows = _placed(rows, table, folder, [*files, *known])
    others = {row.path for row in rows} - position.keys()
    nowhere = sorted(
        path
        for path in others - there - split.left_out.keys()
        if leaves_folder(path) or not os.path.isfile(folder / path)
    )
    if nowhere:
        raise InputError(
            f"{table}: {len(nowhere)} listed paths are not among the photographs of {folder} "
            f"(first: {nowhere[0]}); correct them, or take the lines out"
        )
    new = sorted((others | set(photographs(files))) - position.keys() - split.left_out.keys())
    if new:
        log.warning(
            "warning: %s",
            one_line(
                f"{folder}: {len(new)} photographs came since training began (first: {new[0]}) and "
                f"are not sorted; to take them in, train anew: {anew}"
            ),
        )
    rows = [row for row in rows if row.path in position]
    for row in rows:
        before = "train" if split.train_mask[position[row.path]] else "test"
        if row.split != before:
            raise InputError(
                f"{table}, line {row.line}: the split of {row.path} is {row.split}, but was "
                f"{before} when training began; change it back, or train anew: {anew}"
            )
    _check_any_label(table, rows)
    return _labels(split, {position[row.path]: row.label for row in rows if row.label})


def _labels(split: Split, names_at: dict[int, str]) -> tuple[Labels, str]:
    """Labels from the name at each position that has one, and what changed, in words."""
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
