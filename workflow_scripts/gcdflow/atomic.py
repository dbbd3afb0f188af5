"""Files that appear whole or not at all.

Every output is written beside its destination, flushed to the disk, and renamed over it. A crash
leaves the old file or none, and perhaps a ``.tmp`` file that the next writer replaces.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from gcdflow.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "wb") -> Iterator[IO]:
    """Open a temporary file that becomes ``path`` when the block ends without an exception.

    The temporary file has a fixed name (``.<name>.tmp`` in the same directory), so a killed writer
    leaves at most one, which the next attempt overwrites.

    Raises
    ------
    InputError
        If the path is a directory, or no file can be opened there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: cannot be written (is a directory)")
    temporary = path.with_name(f".{path.name}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(temporary, mode, encoding=encoding)  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        with opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def fsync_directory(directory: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write plain arrays atomically; equal arrays give equal bytes, whatever their memory order."""
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects, which would need unpickling")
    with atomic_write(path) as file:
        np.savez(file, **plain)


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write indented JSON with sorted keys atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, sort_keys=True, allow_nan=False)
        file.write("\n")


def canonical_json(value: object) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
