"""List the files below a folder, without NumPy, because the workflow looks for changes with it."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple, NoReturn

from gcdflow.errors import InputError
from gcdflow.wording import some_of

log = logging.getLogger(__name__)

# Formats of cameras, phones and scanners. Pillow reads no raw ones, and Apple's only with an
# optional package. They are listed so that the user gets an error instead of silently missing
# photographs.
RAW_SUFFIXES = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"})
APPLE_SUFFIXES = frozenset({".heic", ".heif"})
_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".jpe", ".jp2"})
_OTHER_SUFFIXES = frozenset(
    {".png", ".tif", ".tiff", ".webp", ".gif", ".bmp", ".avif", ".ppm", ".pgm"}
)
PHOTO_SUFFIXES = RAW_SUFFIXES | APPLE_SUFFIXES | _JPEG_SUFFIXES | _OTHER_SUFFIXES
# Folders that systems and programs make beside pictures: thumbnails, deleted pictures, old
# versions, metadata. The list has only names that no person gives to a class or an album, so not
# `Trash`, `Originals` or `thumbnails`. Names are compared in lower case. Folders that begin with a
# dot (.Trash-1000, .AppleDouble, .picasaoriginals, .git) are skipped anyway.
_FOLDERS_OF_MACHINES = frozenset(
    {
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin"),  # Synology
        *("@recycle", "@recently-snapshot", "@__thumb"),  # QNAP
        *(
            "~snapshot",
            "lost+found",
            "files_trashbin",
            "files_versions",
        ),  # NetApp, Linux, Nextcloud
        *("$recycle.bin", "system volume information", "found.000"),  # Windows
        *("__macosx", "network trash folder", "temporary items"),  # macOS
        *("captureone", "[originals]", "__pycache__"),  # Capture One, ACDSee, Python
    }
)
_OLD_RECYCLE_BINS = {"RECYCLER", "RECYCLED"}  # of old Windows; a class may be called `recycled`
# Folders that photo programs use as libraries, with previews and several versions of each picture.
_LIBRARIES = (".lrdata", ".lrcat-data", ".lrlibrary", ".photoslibrary", ".photolibrary")
_LIBRARIES += (".migratedphotolibrary", ".aplibrary", ".cocatalog")


class Listing(NamedTuple):
    """Files below a folder, and counts of skipped files and folders.

    Attributes
    ----------
    files : list of str, paths relative to the folder, with ``/``; folder by folder, sorted
    left_out : Counter of str, number of skipped files and folders of each kind, for
        :func:`report_left_out`
    """

    files: list[str]
    left_out: Counter[str]


def files_below(folder: Path) -> Listing:
    """All files below a folder that a person put there.

    Links to folders are followed unless they lead back to a folder above them. Hidden files and
    folders (their names begin with a dot) and folders that programs make are skipped.

    Raises
    ------
    InputError
        If a folder cannot be read.
    """
    found: list[tuple[str, list[str]]] = []
    left_out: Counter[str] = Counter()
    above = {str(folder): {_identity(folder)}}  # each folder to visit: itself and its parents
    for parent, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        here, kept = above.pop(parent), []
        for name in folders:
            path = os.path.join(parent, name)
            if is_of_machines(name):
                left_out[f"{name}/"] += 1
            elif (identity := _identity(path)) in here:
                left_out[f"{name}/ (a link back)"] += 1
            else:
                above[path] = here | {identity}
                kept.append(name)
        folders[:] = kept
        found.append((parent, sorted(name for name in files if not name.startswith("."))))
        left_out.update(filter(None, map(_hidden_photograph, files)))
    prefixes = (
        ("" if parent == str(folder) else f"{os.path.relpath(parent, folder)}/", files)
        for parent, files in sorted(found)
    )
    return Listing([prefix + name for prefix, files in prefixes for name in files], left_out)


def is_of_machines(name: str) -> bool:
    """Whether a folder with this name is hidden or made by a system or program."""
    small = name.lower()
    return (
        name.startswith(".")
        or small in _FOLDERS_OF_MACHINES
        or name in _OLD_RECYCLE_BINS
        or small.endswith(_LIBRARIES)
    )


def _hidden_photograph(name: str) -> str | None:
    """The kind of a hidden file with the suffix of a photograph; None for any other file."""
    if not name.startswith(".") or suffix(name) not in PHOTO_SUFFIXES:
        return None
    return f"{'._' if name.startswith('._') else '.'}*{suffix(name)}"


def report_left_out(folder: Path, left_out: Counter[str]) -> None:
    """Log in one line which kinds of files and folders were skipped."""
    if left_out:
        kinds = some_of(f"{n} × {kind}" for kind, n in left_out.most_common())
        log.info("%s: left out %s", folder, kinds)


def photographs(files: list[str]) -> list[str]:
    """The files with the suffix of a photograph, sorted."""
    return sorted(path for path in files if suffix(path) in PHOTO_SUFFIXES)


def suffix(path: str) -> str:
    """The suffix of a file name with its dot, in lower case."""
    return os.path.splitext(path)[1].lower()


def _identity(folder: str | Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        _fail(error)
    return status.st_dev, status.st_ino


def _fail(error: OSError) -> NoReturn:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
