"""Texts that change with files that are not inputs of a rule: the texts are params instead."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from gcdflow.data.class_names import path_look
from gcdflow.data.folder_scan import files_below, photographs
from gcdflow.errors import InputError


def state_of_photographs(folder: Path, table: Path) -> str:
    """A text that changes with the names, sizes and times of the photographs in the folder.

    These are also files in hidden folders or with other suffixes, if the CSV file lists them.

    It never fails: what is missing is for the stage to say, which this text makes run. That stage
    compares contents where times differ, so a folder that was copied without them costs one look.
    """
    return _digest(_stamps(folder, _cells(table)))


def state_of_labels(folder: Path, table: Path) -> str:
    """A text that changes with the CSV file, and with the photographs that it lists.

    So other photographs may come and go without a new clustering. What counts as listed are the
    paths that occur in the file as a cell, and those that its marks could cut in two.
    """
    cells = _cells(table)
    stamps = _stamps(folder, cells)
    # A look takes time; most cells are written as a path is.
    looks = set(map(path_look, cells.difference(path for path, *_ in stamps)))
    listed = [
        (path, *stamp)
        for path, *stamp in stamps
        if path in cells or re.search(r"[,;\t\r\n\"]", path) or path_look(path) in looks
    ]
    return f"{state_of_files([table])} {_digest(listed)}"


def _cells(table: Path) -> set[str]:
    """What stands between the marks of a CSV file, without spaces around it."""
    try:
        text = table.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    return set(map(str.strip, re.split(r"[,;\t\r\n\"]+", text)))


def _stamps(folder: Path, cells: set[str]) -> list[tuple[str, int, int]]:
    """Path, bytes and time of change (ns) of each photograph, sorted by path.

    Both are -1 for what cannot be looked at. An orientation that is changed within a JPEG, for
    instance, leaves its size as it is.
    """
    try:
        paths = photographs(files_below(folder).files)
    except InputError:
        return []
    others = cells.difference(paths)
    listed = {str(PurePosixPath(cell.replace("\\", "/"))) for cell in others}
    elsewhere = {path for path in listed.difference(paths) if os.path.isfile(folder / path)}
    found = []
    for path in sorted({*paths, *elsewhere}):
        try:
            status = os.stat(folder / path)
            found.append((path, status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((path, -1, -1))
    return found


def _digest(stamps: list[tuple[str, int, int]]) -> str:
    text = "\0".join(f"{path}\0{size}\0{time}" for path, size, time in stamps)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def state_of_files(paths: Iterable[str | Path]) -> str:
    """A text that changes with the content of files, and when one comes or goes."""

    def digest(path: str | Path) -> str:
        try:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            return "missing"

    return " ".join(map(digest, paths))
