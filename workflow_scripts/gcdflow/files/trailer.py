"""A JSON text at the end of a large file, which says what the file holds.

A reader of the file itself (such as NumPy's of ``.npy``) ignores what follows the data. The text
has checksums of the data, so that its digest stands for the whole file.
"""

from __future__ import annotations

import os
from typing import BinaryIO

_MAGIC = b"GCDFLOW1"
_END = 8 + len(_MAGIC)  # length of the text, little-endian, and the magic bytes
_LONGEST = 2**28


def trailer(text: str) -> bytes:
    """The bytes that stand at the end of a file with this text."""
    content = text.encode()
    return content + len(content).to_bytes(8, "little") + _MAGIC


def read_trailer(file: BinaryIO) -> bytes | None:
    """The text at the end of an open file, undecoded; None if it has none."""
    size = file.seek(0, os.SEEK_END)
    if size < _END:
        return None
    file.seek(size - _END)
    end = file.read(_END)
    length = int.from_bytes(end[:8], "little")
    if end[8:] != _MAGIC or length > min(size - _END, _LONGEST):
        return None
    file.seek(size - _END - length)
    return file.read(length)
