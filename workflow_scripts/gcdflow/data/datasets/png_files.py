"""Chunks of PNG files: the bit depth, which Pillow does not report, and removal of metadata."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHANNELS = 4
# The chunks that are needed to draw the picture upright.
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"sBIT", b"eXIf", b"IDAT", b"IEND"})


def significant_bits(file: BinaryIO) -> int | None:
    """Significant bits of a sample (``sBIT``, the largest of all channels); None if not given."""
    for name, length in _chunks(file):
        if name == b"sBIT":
            return max(file.read(min(length, _MOST_CHANNELS)), default=None)
        if name == b"IDAT":
            break
    return None


def without_metadata(file: BinaryIO) -> io.BytesIO | None:
    """A copy without texts, colour profiles and other metadata; None if the file has none.

    Pillow refuses a picture with a text of more than a mebibyte or a damaged profile. This function
    repairs nothing else. It returns None for files that are not PNG.
    """
    copy, is_other, size = io.BytesIO(), False, file.seek(0, io.SEEK_END)
    copy.write(_SIGNATURE)
    for name, length in _chunks(file):
        if name not in _KEPT:
            is_other = True
            continue
        # The content includes the checksum. The file may be shorter than the chunk declares.
        content = file.read(min(length + 4, size - file.tell()))
        copy.write(struct.pack(">I", length) + name + content)
        if len(content) < length + 4:
            break
    return copy if is_other else None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk; the file is positioned at the chunk's content."""
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return
    at = file.tell()
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        yield name, length
        at += 12 + length
        file.seek(at)
