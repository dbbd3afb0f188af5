"""Which files lie below a folder, without NumPy: the workflow asks, to see whether one changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from gcdflow.errors import InputError

# Formats of cameras, phones and scanners. Those of Apple and the raw ones are here although Pillow
# does not read them: a sentence that says so is better than photographs that are silently left out.
RAW_SUFFIXES = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"})
APPLE_SUFFIXES = frozenset({".heic", ".heif"})
_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".jpe", ".jp2"})
_OTHER_SUFFIXES = frozenset(
    {".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".avif", ".ppm", ".pgm"}
)
PHOTO_SUFFIXES = RAW_SUFFIXES | APPLE_SUFFIXES | _JPEG_SUFFIXES | _OTHER_SUFFIXES
# Network storage keeps its own thumbnails of every photograph beside them.
_FOLDERS_OF_MACHINES = {"@eaDir"}


def files_below(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with ``/``; folder by folder, sorted.

    Links to folders are followed, but not back into a folder that is being listed. Files and
    folders that are hidden (begin with a dot), or made by a machine, are left out.

    Raises
    ------
    InputError
        If a folder cannot be read.
    """
    found: list[tuple[str, list[str]]] = []
    above = {str(folder): {_identity(folder)}}  # of each folder to come: itself and what it is in
    for parent, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        here, kept = above.pop(parent), []
        for name in folders:
            path = os.path.join(parent, name)
            if not _is_hidden(name) and (identity := _identity(path)) not in here:
                above[path] = here | {identity}
                kept.append(name)
        folders[:] = kept
        found.append((parent, sorted(name for name in files if not _is_hidden(name))))
    prefixes = (
        ("" if parent == str(folder) else f"{os.path.relpath(parent, folder)}/", files)
        for parent, files in sorted(found)
    )
    return [prefix + name for prefix, files in prefixes for name in files]


def photographs(files: list[str]) -> list[str]:
    """Those of the files that are photographs by their name, sorted."""
    return sorted(path for path in files if suffix(path) in PHOTO_SUFFIXES)


def suffix(path: str) -> str:
    """The end of a file's name from its last dot, in small letters."""
    return os.path.splitext(path)[1].lower()


def state_of_photographs(folder: Path, table: Path) -> str:
    """A text that changes with the CSV file and with the names of photographs in the folder.

    It never fails: what is missing is for the stage to say, which this text makes run.
    """
    try:
        names = "\0".join(photographs(files_below(folder)))
        listing = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
    except InputError:
        listing = "missing"
    return f"{state_of_files([table])} {listing}"


def state_of_files(paths: Iterable[Path]) -> str:
    """A text that changes with the content of files, and when one comes or goes."""

    def digest(path: Path) -> str:
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            return "missing"

    return " ".join(map(digest, paths))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _FOLDERS_OF_MACHINES


def _identity(folder: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        _fail(error)
    return status.st_dev, status.st_ino


def _fail(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
