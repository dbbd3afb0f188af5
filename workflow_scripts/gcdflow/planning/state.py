"""Texts that change with files that are not inputs of a rule: the texts are params instead."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from gcdflow.data.folder_scan import files_below, photographs
from gcdflow.errors import InputError


def state_of_photographs(folder: Path) -> str:
    """A text that changes with the names, sizes and times of the photographs in the folder.

    It never fails: what is missing is for the stage to say, which this text makes run. That stage
    compares contents where times differ, so a folder that was copied without them costs one look.
    """
    return _digest(_stamps(folder))


def state_of_labels(folder: Path, table: Path) -> str:
    """A text that changes with the CSV file, and with the photographs that it lists.

    So other photographs may come and go without a new clustering. What counts as listed are the
    paths that occur in the file as a cell, and those that its marks could cut in two.
    """
    try:
        text = table.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    cells = set(map(_look, re.split(r"[,;\t\r\n\"]+", text)))
    listed = [
        (path, *stamp)
        for path, *stamp in _stamps(folder)
        if re.search(r"[,;\t\r\n\"]", path) or _look(path) in cells
    ]
    return f"{state_of_files([table])} {_digest(listed)}"


def _look(path: str) -> str:
    """A path as it is compared: parts in composed characters without spaces around them."""
    parts = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    return "/".join(stripped for part in parts if (stripped := part.strip()) not in ("", "."))


def _stamps(folder: Path) -> list[tuple[str, int, int]]:
    """Path, bytes and time of change (ns) of each photograph, sorted by path.

    Both are -1 for what cannot be looked at. An orientation that is changed within a JPEG, for
    instance, leaves its size as it is.
    """
    try:
        paths = photographs(files_below(folder).files)
    except InputError:
        return []
    found = []
    for path in paths:
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
