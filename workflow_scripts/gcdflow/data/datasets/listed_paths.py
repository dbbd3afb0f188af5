"""Match the paths of a table to files: systems and programs spell the same path differently."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from gcdflow.data.class_names import path_look
from gcdflow.data.datasets.labels_table import LabelRow
from gcdflow.errors import InputError
from gcdflow.files.formats import leaves_folder

# The beginning of a Windows path: a drive or a shared folder.
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def match_paths(
    rows: list[LabelRow], table: Path, folder: Path, known_paths: Iterable[str]
) -> list[LabelRow]:
    """All rows with paths spelt as on the disk; paths of absent files are unchanged.

    Paths in a table may differ from those on the disk: in composed and decomposed characters (as
    on Apple's file systems), in the separator of folders (as on Windows), and in spaces, which
    spreadsheets remove or change.

    Parameters
    ----------
    known_paths : iterable of str
        Paths that exist; the paths of the rows are compared with them.

    Raises
    ------
    InputError
        If a path fits two files, differs from a file only in upper and lower case, or two rows say
        different things of the same file.
    """
    exact = set(known_paths)
    alike: dict[str, list[str]] = {}
    for path in sorted(exact):
        alike.setdefault(path_look(path), []).append(path)
    folded = {look.casefold(): paths[0] for look, paths in alike.items()}
    first: dict[str, LabelRow] = {}
    found = []
    for row in rows:
        where = f"{table}, line {row.line}"
        path = _spelt_as_there(row, exact, folder)
        if path is None:
            several = alike.get(path_look(row.path), [])
            if len(several) > 1:
                raise InputError(f"{where}: {row.path} may be '{several[0]}' or '{several[1]}'")
            path = several[0] if several else row.path
            if not several:
                _check_not_misspelt(where, path, folder, folded)
        row = replace(row, path=path)
        found.append(row)
        if (other := first.setdefault(path, row)) != row:
            raise InputError(
                f"{where}: {path} is listed a second time (first: line {other.line}), with another "
                f"{_difference(other, row)}; remove one of the lines"
            )
    return found


def each_once(rows: Iterable[LabelRow]) -> list[LabelRow]:
    """The first row of each path: others that :func:`match_paths` accepts say the same."""
    first: dict[str, LabelRow] = {}
    for row in rows:
        first.setdefault(row.path, row)
    return list(first.values())


def _difference(first: LabelRow, second: LabelRow) -> str:
    """The first cell that two lines of a file do not share, and what it holds in both."""
    name = next(n for n in ("label", "split", "truth") if getattr(first, n) != getattr(second, n))
    one, other = (getattr(row, name) or "nothing" for row in (first, second))
    return f"{name}: '{one}' and '{other}'"


def _spelt_as_there(row: LabelRow, exact: set[str], folder: Path) -> str | None:
    """The file with exactly this path, with or without outer spaces, or with ``\\`` as ``/``."""
    for written in (row.written, row.path):
        for candidate in (written, written.replace("\\", "/")):
            path = str(PurePosixPath(candidate))
            if path in exact:
                return path
            if not leaves_folder(path) and os.path.isfile(folder / path):
                return path
    return None


def _check_not_misspelt(where: str, path: str, folder: Path, folded: dict[str, str]) -> None:
    """Refuse the path of an absent file if the error in it is obvious."""
    if _OF_WINDOWS.match(path):
        raise InputError(
            f"{where}: the path '{path}' is outside the folder; expected one relative to {folder}"
        )
    look = path_look(path).casefold()
    meant = folded.get(look) or folded.get(
        look.removeprefix(f"{path_look(folder.name).casefold()}/")
    )
    if meant is not None:
        raise InputError(f"{where}: no file {path} in {folder}; did you mean {meant}?")
    for delimiter in ",;\t":
        beginning, _, rest = path.partition(delimiter)
        if rest and path_look(beginning).casefold() in folded:
            raise InputError(
                f"{where}: no file {path} in {folder}; separate the cells of this line as those of "
                "the first line"
            )
