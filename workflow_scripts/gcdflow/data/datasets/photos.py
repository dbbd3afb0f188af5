"""A folder of the user's own photographs; a CSV file names the classes of some of them.

Images that the CSV file (:mod:`gcdflow.data.datasets.labels_table`) does not list are unlabelled
training images.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gcdflow.data.datasets.catalogue import UNKNOWN, Catalogue
from gcdflow.data.datasets.images import decode_image, unreadable_images
from gcdflow.data.datasets.labels_table import LabelRow, read_labels
from gcdflow.data.datasets.labels_text import LabelsText, read_text
from gcdflow.data.datasets.listed_paths import check_they_exist, each_once, match_paths
from gcdflow.data.folder_scan import files_below, photographs, report_left_out, suffix
from gcdflow.data.places import photographs_folder
from gcdflow.errors import InputError
from gcdflow.files.formats import UNLABELLED, Labels, Photographs, Split
from gcdflow.wording import counted

if TYPE_CHECKING:
    from gcdflow.config.settings import PhotosSettings

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)
_NOWHERE: Mapping[str, str | None] = {}


def catalogue(settings: PhotosSettings, places: Mapping[str, str | None] = _NOWHERE) -> Catalogue:
    """All images of the folder, with the labels of the CSV file.

    Old classes are the labels, in alphabetical order. New classes occur only in ``truth``.

    Parameters
    ----------
    places : mapping from str to str or None
        Where photographs are now that were at a path before; None: they are gone. A line with the
        former path counts, as in :func:`present_labels`, or is ignored.

    Raises
    ------
    InputError
        If the folder or the CSV file is missing or wrong, or lists a file that does not exist, no
        image is labelled, or all are.
    """
    folder = photographs_folder(Path(settings.root, settings.folder))
    table = folder / settings.labels
    rows = read_labels(table, settings.real_classes)
    files, left_out = files_below(folder)
    rows = each_once(match_paths(rows, table, folder, {*files, *places}))
    check_they_exist(rows, table, folder, {*files, *places})
    listed = _where_they_are(rows, places, table)
    unlisted = sorted(set(photographs(files)) - {row.path for row in listed})
    rows = [*listed, *(LabelRow(path, "") for path in unlisted)]
    others = [path for path in set(files) - {row.path for row in rows} if folder / path != table]
    report_left_out(folder, left_out + Counter(suffix(path) or "no suffix" for path in others))
    return _catalogue_of(rows, settings)


def _where_they_are(
    rows: list[LabelRow], places: Mapping[str, str | None], table: Path
) -> list[LabelRow]:
    """The rows with present paths, each once, without those of photographs that are gone."""
    gone = [row for row in rows if row.path in places and places[row.path] is None]
    if gone:
        log.info(
            f"{table}: {counted(len(gone), 'line')} of photographs that are gone: ignored "
            f"(first: line {gone[0].line}, {gone[0].path})"
        )
    known = {row.path: path for row in rows if (path := places.get(row.path, row.path))}
    named: dict[str, LabelRow] = {}
    for now in (True, False):
        here = [row for row in rows if row.path in known and (row.path not in places) is now]
        _name(here, known, named, now, table)
    return [replace(row, path=path) for path, row in named.items()]


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
        f"{folder}: {len(unreadable)} of {n} photographs cannot be read and are left out"
        + (f"; no label is left of {', '.join(sorted(lost))}" if lost else "")
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
    source = {"dataset": "photos", "root": str(folder)}
    if settings.real_classes:
        source["real_classes"] = settings.real_classes
    if left_out:
        source["left_out"] = dict(left_out)
    return Catalogue(
        classes=np.array(
            [ids.get(row.label or row.truth, UNKNOWN) for row in rows], dtype=np.int64
        ),
        train_mask=np.array([row.split == "train" for row in rows]),
        class_names=[*old, *new],
        old_classes=list(range(len(old))),
        source=source,
        paths=[row.path for row in rows],
        labelled_mask=np.array([row.label != "" for row in rows]),
    )


def _check_any_label(table: Path, rows: list[LabelRow]) -> None:
    if not any(row.label for row in rows):
        raise InputError(
            f"{table}: no photograph in the folder has a label; write the class of a few "
            "photographs into the column label, a few of each class that you know"
        )


def folder_of_photographs(split: Split) -> Path:
    """The folder of the user's photographs that a split is of.

    Raises
    ------
    InputError
        If it is the split of another dataset, or the folder is missing.
    """
    if split.source.get("dataset") != "photos" or "root" not in split.source:
        raise InputError("split.npz: is not of a folder of photographs; make it again")
    return photographs_folder(Path(split.source["root"]))


def present_labels(
    table: Path, split: Split, again: str, seen: Photographs | None = None
) -> tuple[Labels, str]:
    """The current labels of the CSV file, for the samples of a split and added photographs.

    A line names the photograph that is at its path now or, if there is none, the one that was. If
    both mean the same one, the line of its present path counts. Classes of the split keep their
    numbers; new names follow in alphabetical order.

    Parameters
    ----------
    again : str
        The command that trains again.
    seen : Photographs or None
        Where the photographs are now; None: where they were when training began.

    Returns
    -------
    labels : Labels
        Of all samples of the split, and of those added photographs that have one.
    changes : str
        The changes since the split was made, in words.

    Raises
    ------
    InputError
        If the folder or the file is missing or wrong, no photograph is labelled, two lines name one
        photograph differently, or the file lists a path that never existed or moved between train
        and test.
    """
    folder = folder_of_photographs(split)
    known = dict(zip(split.paths.tolist(), split.indices.tolist(), strict=True))
    present, others = set(known), set(split.left_out)
    if seen is not None:
        known |= seen.ids
        present, others = set(seen.paths[seen.present].tolist()), others | set(seen.left_out)
    rows = read_labels(table, split.real_classes)
    rows = each_once(match_paths(rows, table, folder, {*known, *others}))
    _check_listed(rows, table, folder, known.keys() | others, again)
    rows = [row for row in rows if row.path in known]
    position = {number: i for i, number in enumerate(split.indices.tolist())}
    _check_same_split(rows, table, [position.get(known[row.path]) for row in rows], split, again)
    _check_any_label(table, rows)
    named: dict[int, LabelRow] = {}
    for now in (True, False):
        _name([row for row in rows if (row.path in present) is now], known, named, now, table)
    return _labels(split, {number: row.label for number, row in named.items() if row.label})


def _check_listed(
    rows: list[LabelRow], table: Path, folder: Path, known: Collection[str], again: str
) -> None:
    """Refuse paths that no photograph ever had; warn of files that are none for the run."""
    check_they_exist(rows, table, folder, known)
    strangers = sorted({row.path for row in rows} - set(known))
    readable = [path for path in strangers if _is_picture(folder / path)]
    if others := sorted(set(strangers) - set(readable)):
        log.warning(
            f"{table}: {counted(len(others), 'line')} of files that are no pictures (first: "
            f"{others[0]}), which are not sorted; remove them from it"
        )
    if readable:
        log.warning(
            f"{folder}: {counted(len(readable), 'listed file')} not named like photographs, or in "
            f"hidden folders (first: {readable[0]}), not sorted; to include them, train again: "
            f"{again}"
        )


def _is_picture(path: Path) -> bool:
    try:
        decode_image(path, 1)
    except InputError:
        return False
    return True


def _check_same_split(
    rows: list[LabelRow], table: Path, positions: list[int | None], split: Split, again: str
) -> None:
    for row, i in zip(rows, positions, strict=True):
        if i is None:  # it was added
            continue
        before = "train" if split.train_mask[i] else "test"
        if row.split != before:
            raise InputError(
                f"{table}, line {row.line}: the split of {row.path} is {row.split}, but was "
                f"{before} when training began; change it back, or train again: {again}"
            )


def _name(
    rows: list[LabelRow],
    known: Mapping[str, Key],
    named: dict[Key, LabelRow],
    now: bool,
    table: Path,
) -> None:
    """Add to ``named`` the line of each photograph, unless a line of its present path is there.

    Parameters
    ----------
    known : mapping
        What stands for the photograph of a path.
    """
    earlier = dict(named)
    for row in rows:
        number = known[row.path]
        other = named.setdefault(number, row)
        if number not in earlier and other.label != row.label:
            what = "has the same content as" if now else "is now the same photograph as"
            raise InputError(
                f"{table}, line {row.line}: {row.path} {what} {other.path} of line {other.line}, "
                f"but their labels differ ('{row.label}' and '{other.label}'); write both alike, "
                "or remove one of the lines"
            )


def labels_text(table: Path, split: Split) -> LabelsText:
    """The text of the CSV file, ready for changes of the labels of photographs.

    Raises
    ------
    InputError
        As :func:`present_labels`, if the folder or the file is missing or wrong.
    """
    folder = folder_of_photographs(split)
    rows = read_labels(table, split.real_classes)
    files = [*files_below(folder).files, *split.paths.tolist()]
    return read_text(table, match_paths(rows, table, folder, files))


def _labels(split: Split, names: Mapping[int, str]) -> tuple[Labels, str]:
    """Labels from the class names by sample id, and the changes of the split's in words."""
    old = split.old_class_names.tolist()
    class_names = [*old, *sorted(set(names.values()) - set(old))]
    ids = {name: i for i, name in enumerate(class_names)}
    samples = split.indices.tolist()
    added = sorted(names.keys() - set(samples))
    labels = np.array(
        [ids[names[i]] if i in names else UNLABELLED for i in [*samples, *added]], dtype=np.int64
    )
    before, now = split.labels, labels[: len(samples)]
    new = int(((before == UNLABELLED) & (now != UNLABELLED)).sum())
    removed = int(((before != UNLABELLED) & (now == UNLABELLED)).sum())
    changed = int((before != now).sum()) - new - removed
    words = f"{new} added, {changed} changed, {removed} removed since training began"
    words += f"; {len(added)} of added photographs" if added else ""
    indices = np.array([*samples, *added], dtype=np.int64)
    return Labels(indices, labels, np.array(class_names, dtype=np.str_)), words
