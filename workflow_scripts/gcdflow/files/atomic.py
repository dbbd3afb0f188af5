"""Atomic writing: a file appears complete or not at all.

Every output is written to a temporary file beside its destination, flushed to the disk, and
renamed. After a crash, the old file (or none) remains, and perhaps a ``.tmp`` file, which the next
writer removes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from gcdflow.errors import InputError
from gcdflow.files.processes import private_file, remove_orphans

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Counting(io.RawIOBase):
    """A file that continues to count bytes when the disk is full, for the error message.

    Attributes
    ----------
    size : int, bytes that the complete file needs
    written : int, bytes that were written before the disk was full
    error : OSError or None, the error of writing
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._position = self.size = self.written = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        length = memoryview(data).nbytes
        if self.error is None:
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                self.error = error
                self.written = os.fstat(self._file.fileno()).st_size
                if error.errno not in _NO_ROOM:
                    raise
        self._position += length
        self.size = max(self.size, self._position)
        return length

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._position, self.size)[whence]
        self._position = base + offset
        if self.error is None:
            self._file.seek(self._position)
        return self._position

    def tell(self) -> int:
        return self._position


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike, mode: str = "wb", *, is_one_of_many: bool = False
) -> Iterator[IO]:
    """Open a temporary file that becomes ``path`` when the block ends without an exception.

    The temporary file is in the same folder, and its name contains the number of this process, so
    that two writers do not disturb each other. Temporary files of dead processes are removed.

    Parameters
    ----------
    mode : str
        ``wb``, or ``w`` for text in UTF-8.
    is_one_of_many : bool
        Of thousands of small files in a folder, each would take most of its time to look for
        temporary files and to flush. One of them does neither: a power cut may leave it damaged,
        and the caller calls :func:`~gcdflow.files.processes.remove_orphans_in`.

    Raises
    ------
    InputError
        If the file cannot be written. If the disk is full, the message says how many bytes are
        missing.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: cannot be written (is a directory)")
    if not is_one_of_many:
        remove_orphans(path, "tmp")
    temporary = private_file(path, "tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(temporary, "wb")  # noqa: SIM115
    except OSError as error:
        raise unwritable(path, error) from None
    counting, is_complete = _Counting(opened), False
    try:
        with opened:
            file = _buffered(counting, mode)
            yield file
            is_complete = True
            file.flush()
            if counting.error is not None:
                raise counting.error
            if not is_one_of_many:
                os.fsync(opened.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (is_complete or error is counting.error):
            missing = counting.size - counting.written
            raise unwritable(path, error, counting.size, missing) from None
        raise
    if not is_one_of_many:
        fsync_directory(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``path`` at the end; after an error, it is removed.

    Parameters
    ----------
    path : Path
        Does not exist yet.

    Raises
    ------
    InputError
        If something cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def atomic_link(existing: Path, path: Path) -> None:
    """Give a file a second name (a hard link), which replaces any file with that name.

    Raises
    ------
    OSError
        If the file system has no hard links, or the folder is not writable.
    """
    remove_orphans(path, "tmp")
    # os.replace does nothing if both names are links to the same file.
    if path.exists() and path.samefile(existing):
        return
    temporary = private_file(path, "tmp")
    os.link(existing, temporary)
    os.replace(temporary, path)
    fsync_directory(path.parent)


def _buffered(raw: _Counting, mode: str) -> IO:
    buffered = io.BufferedWriter(raw, 1 << 20)
    return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8", newline="")


def unwritable(
    path: str | os.PathLike, error: OSError, needed: int = 0, missing: int = 0
) -> InputError:
    """The error for a file that could not be written.

    Parameters
    ----------
    needed, missing : int
        Bytes of the complete file, and bytes that did not fit; used if the disk is full.
    """
    reason = error.strerror or str(error)
    if error.errno in _NO_ROOM and needed:
        reason += (
            f": it needs {needed} bytes, {missing} of them found no room; free some and run again"
        )
    return InputError(f"{path}: cannot be written ({reason})")


def fsync_directory(directory: Path) -> None:
    """Flush a directory, so that a rename in it survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write plain arrays atomically; equal arrays give equal bytes in any memory order."""
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
    """JSON text with sorted keys, without spaces and NaN; equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_file(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def sha256_text(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()
