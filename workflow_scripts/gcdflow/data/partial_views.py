"""Writing a file of stored views chunk by chunk, so that a kill costs one chunk.

The chunks go into a hidden file beside the output, ``.<name>.part``, and the checksum of each is
noted in ``.<name>.chunks`` when its data have reached the disk. The finished file is a second name
(hard link) of the first: if Snakemake is killed before it notes the end of a job, it deletes the
job's output and requests it again.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
from pathlib import Path

import numpy as np

from gcdflow.data.view_files import DTYPE, Layout, Origin, data_header, end_of_file
from gcdflow.errors import InputError
from gcdflow.files.atomic import (
    atomic_link,
    atomic_write,
    canonical_json,
    fsync_directory,
    sha256_text,
    unwritable,
)
from gcdflow.files.lease import Lease


def hidden_files(output: Path) -> tuple[Path, Path]:
    """Where the data and the checksums of an output lie while it is made."""
    return output.with_name(f".{output.name}.part"), output.with_name(f".{output.name}.chunks")


class PartialViews:
    """The part of a file of stored views that is done.

    Parameters
    ----------
    output : Path
        The file that is to be made.
    lease : Lease
        The right to write it.
    origin, layout : what it is made of, and what lies where
    shape : tuple of int, of a row
    result_version : int
        A part is gone on from only if it had the same number.

    Attributes
    ----------
    n_done : int, chunks that are done, from the first on

    Raises
    ------
    InputError
        If there is not enough room, or nothing can be written there; also by :meth:`add` and
        :meth:`finish`.
    """

    def __init__(
        self,
        output: Path,
        lease: Lease,
        origin: Origin,
        layout: Layout,
        shape: tuple[int, ...],
        result_version: int,
    ):
        self._output, self._lease = output, lease
        self._origin, self._layout, self._result_version = origin, layout, result_version
        self._header = data_header(layout.n_rows, shape)
        self._row_bytes = math.prod(shape) * DTYPE.itemsize
        self._data, self._notes = hidden_files(output)
        # What a part must agree on to be one of this very file.
        key = [vars(origin), vars(layout), list(shape), result_version]
        self._key = sha256_text(canonical_json(key))
        self._checksums = self._found()
        self._check_room()
        try:
            if not self._checksums:  # the old files may be other names of what somebody uses
                self._data.unlink(missing_ok=True)
                self._data.write_bytes(self._header)
            with atomic_write(self._notes, "w") as notes:
                notes.writelines(f"{line}\n" for line in [self._key, *self._checksums])
            self._file = os.open(self._data, os.O_RDWR)
        except OSError as error:
            raise unwritable(output, error) from None

    @property
    def n_done(self) -> int:
        """Chunks that are done."""
        return len(self._checksums)

    def add(self, rows: np.ndarray) -> None:
        """Write the next chunk, float16 (rows of the chunk, …), to the disk."""
        first, end = self._layout.rows(self.n_done)
        data = np.ascontiguousarray(rows, dtype=DTYPE)
        if len(data) != end - first:
            raise ValueError(f"chunk {self.n_done} has {len(data)} rows, expected {end - first}")
        self._lease.check()
        self._write(data.reshape(-1).view(np.uint8).data, len(self._header) + self._at(first))
        checksum = hashlib.sha256(data).hexdigest()
        self._note(checksum)
        self._checksums.append(checksum)

    def finish(self) -> None:
        """Write what stands behind the data, and give the file its name."""
        self._lease.check()
        end = end_of_file(self._origin, self._result_version, self._checksums)
        self._write(end, self._size)
        try:
            os.truncate(self._data, self._size + len(end))
            os.utime(self._data)  # it is as new as its inputs, also where no chunk was to be made
            try:
                atomic_link(self._data, self._output)
            except OSError:  # a file system without hard links
                os.replace(self._data, self._output)
            fsync_directory(self._output.parent)
        except OSError as error:
            raise unwritable(self._output, error) from None

    def close(self) -> None:
        """Close the file; what is done stays."""
        os.close(self._file)

    @property
    def _size(self) -> int:
        return len(self._header) + self._at(self._layout.n_rows)

    def _at(self, row: int) -> int:
        return row * self._row_bytes

    def _found(self) -> list[str]:
        """Checksums of the chunks that an earlier call has left as they should be."""
        try:
            key, *checksums = self._notes.read_text(encoding="ascii").split("\n")[:-1]
            with open(self._data, "rb") as file:
                if key != self._key or file.read(len(self._header)) != self._header:
                    return []
                for number, checksum in enumerate(checksums[: self._layout.n_chunks]):
                    first, end = self._layout.rows(number)
                    chunk = file.read(self._at(end - first))
                    if hashlib.sha256(chunk).hexdigest() != checksum:
                        # Of a finished file this is the other name: it must not be written to.
                        return [] if os.fstat(file.fileno()).st_nlink > 1 else checksums[:number]
        except (OSError, ValueError):
            return []
        return checksums[: self._layout.n_chunks]

    def _check_room(self) -> None:
        """Refuse to begin what the disk cannot hold."""
        missing = self._at(self._layout.n_rows)
        if self._checksums:
            missing -= self._at(self._layout.rows(self.n_done - 1)[1])
        else:
            missing -= _room_of(self._data)
        free = shutil.disk_usage(self._output.parent).free
        if missing > free:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise unwritable(self._output, full, self._size, missing - free)

    def _note(self, checksum: str) -> None:
        """Note that a chunk is done; a line that is torn by a kill is not read again."""
        try:
            with open(self._notes, "a", encoding="ascii") as notes:
                notes.write(f"{checksum}\n")
                notes.flush()
                os.fsync(notes.fileno())
        except OSError as error:
            raise unwritable(self._output, error, self._size, len(checksum)) from None

    def _write(self, data: memoryview | bytes, at: int) -> None:
        """Write to the disk, and wait until it is there."""
        left = memoryview(data)
        try:
            while left:
                n = os.pwrite(self._file, left, at)
                left, at = left[n:], at + n
            os.fdatasync(self._file)
        except OSError as error:
            raise unwritable(self._output, error, self._size, self._size - at) from None


def _room_of(path: Path) -> int:
    """Bytes that deleting a file makes free; 0 for one that has other names too."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if status.st_nlink == 1 else 0


def delete_views(output: Path) -> int:
    """Delete a file of stored views and what lies beside it; the bytes that the file had.

    Raises
    ------
    InputError
        If it is being made, or cannot be deleted.
    """
    with Lease(output):
        try:
            size = output.stat().st_size
            for path in (output, *hidden_files(output)):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{output}: cannot be deleted ({error.strerror})") from None
    return size
