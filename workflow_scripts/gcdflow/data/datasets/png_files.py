"""PNG files: what their chunks say that Pillow does not, and a file without its metadata."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHANNELS = 4
# All that a picture needs to be drawn and to stand upright.
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"sBIT", b"eXIf", b"IDAT", b"IEND"})


def significant_bits(file: BinaryIO) -> int | None:
    """Bits of a sample that mean something (``sBIT``, the most of all channels); None if unsaid."""
    for name, length in _chunks(file):
        if name == b"sBIT":
            return max(file.read(min(length, _MOST_CHANNELS)), default=None)
        if name == b"IDAT":
            break
    return None


def without_metadata(file: BinaryIO) -> io.BytesIO | None:
    """A copy without texts, colour profiles and the like; None if the file is no PNG or has none.

    Pillow reads them all, and refuses a picture for a text of more than a mebibyte or a damaged
    profile. Nothing else is mended: pixels that are damaged stay so.
    """
    copy, is_other, size = io.BytesIO(), False, file.seek(0, io.SEEK_END)
    copy.write(_SIGNATURE)
    for name, length in _chunks(file):
        if name not in _KEPT:
            is_other = True
            continue
        # With the checksum; and no more than there is, whatever the file declares.
        content = file.read(min(length + 4, size - file.tell()))
        copy.write(struct.pack(">I", length) + name + content)
        if len(content) < length + 4:
            break
    return copy if is_other else None


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk, the file standing at its content."""
    file.seek(0)
    if file.read(len(_SIGNATURE)) != _SIGNATURE:
        return
    at = file.tell()
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        yield name, length
        at += 12 + length
        file.seek(at)
