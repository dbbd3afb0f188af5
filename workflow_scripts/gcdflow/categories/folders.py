"""A folder for each category with its images, for programs that know only files."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from gcdflow.categories.assignments import load_assignments
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_folder
from gcdflow.files.formats import Split
from gcdflow.wording import counted

# What some system or shell does not take in a name: separators, control characters, wildcards.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)  # Windows
_LONGEST = 200  # bytes of a name without its ending, of the 255 that file systems take
_ENDING = re.compile(r"(?<=.)\.[^\s.]{1,10}$")  # not what follows the dot of "St. Gallen"


def write_folders(
    split_path: Path, assignments_path: Path, output: Path, *, copies: bool = False
) -> str:
    """Write a folder that has a folder for each category, with links to its images.

    Links are relative, so that images and runs can move together. The folder appears whole or not
    at all, and images are only read.

    Parameters
    ----------
    output : Path
        Does not exist yet.
    copies : bool
        Copy the images instead.

    Returns
    -------
    str
        Summary.

    Raises
    ------
    InputError
        If a file is not valid, the run has no image files, an image is missing, or the folder
        cannot be written.
    """
    split = split_of_files(split_path, "to sort into folders")
    assignments = load_assignments(assignments_path, split_path, split)
    root = Path(split.source["root"])
    names = sorted(set(assignments.categories))
    folders = dict(zip(names, distinct_names(names), strict=True))
    members: dict[str, list[str]] = {name: [] for name in names}
    for path, category in zip(assignments.paths, assignments.categories, strict=True):
        members[category].append(path)
    with atomic_folder(output) as part:
        for category, paths in members.items():
            folder = part / folders[category]
            folder.mkdir()
            # Links in the way to the folder do not count when one of its own is followed.
            place = part.parent.resolve() / output.name / folder.name
            for path, name in zip(
                paths, distinct_names(list(map(os.path.basename, paths))), strict=True
            ):
                image = root / path
                if not image.is_file():
                    raise InputError(
                        f"{image}: no such image; put it back, or make assignments.csv again"
                    )
                if copies:
                    shutil.copy2(image, folder / name)
                else:
                    (folder / name).symlink_to(os.path.relpath(image.resolve(), place))
    n = len(assignments.paths)
    kind = counted(n, "copy", "copies") if copies else counted(n, "link")
    return f"{kind} in {counted(len(folders), 'folder')}"


def split_of_files(path: Path, purpose: str) -> Split:
    """Read a split whose images are files (InputError, which says for what they would be)."""
    split = Split.load(path)
    if not len(split.paths):
        dataset = split.source.get("dataset")
        raise InputError(f"{path}: dataset '{dataset}' has no image files {purpose}")
    return split


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names for files or folders, one for each name, which differ on every file system.

    Some take capitals for small letters, and some do not take all characters. Of equal names all
    but the first get a number.
    """
    taken: set[str] = set()
    found = []
    for name in map(_safe, names):
        stem, ending = _parts(name)
        chosen, number = name, 1
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{stem} ({number}){ending}"
        taken.add(chosen.casefold())
        found.append(chosen)
    return found


def _safe(name: str) -> str:
    """A name that every file system takes; names that begin with a dot would be hidden."""
    name = _FORBIDDEN.sub("_", name).lstrip(".").strip().rstrip(". ")
    stem, ending = _parts(name)
    stem = stem.encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "ignore")
    cut = (stem + ending).rstrip(". ")
    return f"_{cut}" if not stem or _DEVICES.match(name) else cut


def _parts(name: str) -> tuple[str, str]:
    """A name without its ending, and the ending with its dot; empty if there is none."""
    ending = _ENDING.search(name)
    at = ending.start() if ending else len(name)
    return name[:at], name[at:]
