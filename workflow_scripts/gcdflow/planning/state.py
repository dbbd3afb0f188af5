"""Texts that change with files which are no inputs of a rule: they are params of it instead."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from gcdflow.data.folder_scan import files_below, photographs
from gcdflow.errors import InputError


def state_of_photographs(folder: Path, table: Path) -> str:
    """A text that changes with the CSV file and with the names of photographs in the folder.

    It never fails: what is missing is for the stage to say, which this text makes run.
    """
    try:
        names = "\0".join(photographs(files_below(folder).files))
        listing = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
    except InputError:
        listing = "missing"
    return f"{state_of_files([table])} {listing}"


def state_of_files(paths: Iterable[str | Path]) -> str:
    """A text that changes with the content of files, and when one comes or goes."""

    def digest(path: str | Path) -> str:
        try:
            return hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            return "missing"

    return " ".join(map(digest, paths))
