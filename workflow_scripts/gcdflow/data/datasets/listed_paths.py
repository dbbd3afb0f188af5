"""Match the paths of a table to files: systems and programs spell the same path differently."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from gcdflow.data.class_names import path_look
from gcdflow.data.datasets.labels_table import LabelRow
from gcdflow.errors import InputError
from gcdflow.files.formats import leaves_folder
from gcdflow.wording import did_you_mean

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
        If a path fits two files, or two rows say different things of the same file.
    """
    exact = set(known_paths)
    alike: dict[str, list[str]] = {}
    for path in sorted(exact):
        alike.setdefault(path_look(path), []).append(path)
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
            if _is_file(folder, path):
                return path
    return None


def check_they_exist(
    rows: Iterable[LabelRow], table: Path, folder: Path, known_paths: Iterable[str]
) -> None:
    """Refuse paths of absent files.

    Parameters
    ----------
    rows : iterable of LabelRow
        Result of :func:`match_paths` with the same paths.

    Raises
    ------
    InputError
        The message names the first line with such a path, and the file that it may mean.
    """
    known = set(known_paths)
    absent = [row for row in rows if row.path not in known and not _is_file(folder, row.path)]
    if not absent:
        return
    more = f" (the first of {len(absent)} such lines)" if len(absent) > 1 else ""
    said = _what_is_wrong(absent[0].path, folder, known)
    raise InputError(f"{table}, line {absent[0].line}: {said}{more}")


def _is_file(folder: Path, path: str) -> bool:
    return not leaves_folder(path) and os.path.isfile(folder / path)


def _what_is_wrong(path: str, folder: Path, known: Collection[str]) -> str:
    if _OF_WINDOWS.match(path):
        return f"the path '{path}' is outside the folder; expected one relative to {folder}"
    by_look = {path_look(one).casefold(): one for one in sorted(known, reverse=True)}
    for delimiter in ",;\t":
        beginning, _, rest = path.partition(delimiter)
        if rest and path_look(beginning).casefold() in by_look:
            return (
                f"no file {path} in {folder}; separate the cells of this line as those of the "
                "first line"
            )
    look, above = (path_look(str(one)).casefold() for one in (path, folder.absolute()))
    meant = _meant([look, *_within(look, above.split("/"))], by_look)
    if meant:
        return f"no file {path} in {folder}; did you mean {' or '.join(meant)}?"
    hint = did_you_mean(path, known) or "; correct the path, or remove the line"
    return f"no file {path} in {folder}{hint}"


def _within(look: str, above: Sequence[str]) -> Iterator[str]:
    """What is left of a path without the last folders of ``above``, such as ``data/photos/``."""
    for i in range(len(above)):
        beginning = "/".join(above[i:]) + "/"
        if look.startswith(beginning):
            yield look.removeprefix(beginning)


def _meant(looks: Sequence[str], by_look: Mapping[str, str]) -> list[str]:
    """The one or two files with this path, or its name, perhaps with another suffix.

    Parameters
    ----------
    looks : sequence of str
        Some forms of a path.
    """
    for part in (str, _without_suffix, _name, lambda look: _without_suffix(_name(look))):
        named: dict[str, list[str]] = {}
        for one, path in by_look.items():
            named.setdefault(part(one), []).append(path)
        for look in looks:
            if 1 <= len(found := named.get(part(look), [])) <= 2:
                return found[::-1]
    return []


def _name(look: str) -> str:
    return look.rpartition("/")[2]


def _without_suffix(look: str) -> str:
    return os.path.splitext(look)[0]
