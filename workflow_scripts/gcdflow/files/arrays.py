"""Read plain arrays from ``.npz`` and ``.npy`` files that may be broken or hostile.

They are read with ``allow_pickle=False``, and nothing is allocated for what a header only declares.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.lib.format import (
    MAGIC_PREFIX,
    read_array,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)

from gcdflow.errors import InputError
from gcdflow.files.declared import Field

# Archives may expand to this many bytes, or to this multiple of their own size, if that is more:
# labels of one class compress a thousandfold, but no real file of features does.
_MOST_EXPANDED = 64 * 2**20
_MOST_RATIO = 32

# Kinds of fields as those of NumPy's dtypes, and these in words.
_KINDS = {"bool": "b", "int64": "i", "float32": "f", "text": "U", "JSON": "U"}
_IN_WORDS = {"b": "bool", "i": "integer", "f": "float", "U": "text"}
_LARGEST_CHARACTER = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)  # halves of characters, which no text file can hold


def read_npz(path: str | Path, fields: Iterable[Field]) -> dict[str, np.ndarray]:
    """Read declared arrays from an ``.npz`` file and check their kind and number of dimensions.

    Nothing is allocated for an array before its header is found to agree with its size in the
    archive, and no other member of the archive is looked at.

    Returns
    -------
    dict of name to ndarray; integers as int64, all in the machine's byte order

    Raises
    ------
    InputError
        If the file is missing, is no npz, or an array is missing or of another kind.
    """
    with _reading(path, "an .npz archive", "not a readable .npz file of plain arrays") as file:
        if file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
            raise InputError(f"{path}: expected an .npz archive, found a single .npy array")
        with zipfile.ZipFile(file) as archive:
            members = _members(path, archive)
            present = []
            for field in sorted(fields, key=attrgetter("optional")):
                if field.name in members:
                    present.append((field, members[field.name]))
                elif not field.optional:
                    found = ", ".join(members)
                    raise InputError(f"{path}: array '{field.name}' is missing (found: {found})")
            _check_expansion(path, [member for _, member in present])
            arrays = {}
            for field, member in present:
                with archive.open(member) as content:
                    array = _read_array(content, member.file_size)
                arrays[field.name] = _checked(path, field, array)
    return arrays


def read_npy(path: str | Path, field: Field) -> np.ndarray:
    """Read a single array from a ``.npy`` file; otherwise as :func:`read_npz`."""
    with _reading(path, "an .npy file", "not a readable .npy file of a plain array") as file:
        if file.read(4) == b"PK\3\4":
            raise InputError(f"{path}: expected a single .npy array, found an .npz archive")
        file.seek(0)
        array = _read_array(file, os.fstat(file.fileno()).st_size)
    return _checked(path, field, array)


@contextlib.contextmanager
def _reading(path: str | Path, expected: str, broken: str) -> Iterator[BinaryIO]:
    """Open a file; whatever then goes wrong in it becomes one sentence."""
    if not Path(path).exists():
        raise InputError(f"{path}: no such file")
    if not Path(path).is_file():  # a pipe would make us wait for ever
        raise InputError(f"{path}: {broken} (expected {expected}, found no regular file)")
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers as Python 2 wrote them, or as nobody does
            yield file
    except InputError:
        raise
    except Exception as error:  # damaged headers fail in whatever they are taken for
        raise InputError(f"{path}: {broken} ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _members(path: str | Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name in members:
            raise InputError(f"{path}: holds array '{name}' more than once")
        members[name] = info
    return members


def _check_expansion(path: str | Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse archives that are small on the disk and huge in memory."""
    total, size = sum(member.file_size for member in members), Path(path).stat().st_size
    if total > max(_MOST_EXPANDED, _MOST_RATIO * size):
        raise InputError(
            f"{path}: its arrays declare {total} bytes in a file of {size}; expected at most "
            f"{_MOST_RATIO} times as many"
        )


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    """Read the array that a file of a known size holds, and nothing else.

    Raises
    ------
    ValueError, and others from NumPy
        If it holds Python objects, or the header declares another size.
    """
    version = read_magic(file)
    if version == (1, 0):
        shape, _, dtype = read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = read_array_header_2_0(file)
    else:  # 3.0 is for names of fields, which no array here has
        raise ValueError(f"version {version} of the .npy format, expected 1.0 or 2.0")
    if dtype.kind not in _IN_WORDS and dtype.kind != "u":
        raise ValueError(f"holds {dtype}, expected plain numbers or text")
    if any(n < 0 for n in shape):
        raise ValueError(f"declares the shape {shape}")
    declared, found = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != found:
        raise ValueError(f"declares {declared} bytes of data (shape {shape}), found {found}")
    file.seek(0)
    return read_array(file, allow_pickle=False)


def _checked(path, field: Field, array: np.ndarray) -> np.ndarray:
    """The array in the machine's byte order, integers as int64; InputError if it is another."""
    name, kind, n_dimensions = field.name, _KINDS[field.kind], len(field.axes)
    found = "i" if array.dtype.kind == "u" else array.dtype.kind
    if found != kind or array.ndim != n_dimensions:
        raise InputError(
            f"{path}: array '{name}' is {array.dtype} with {array.ndim} dimensions, "
            f"expected {_IN_WORDS[kind]} with {n_dimensions}"
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if kind == "i":
        if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
            raise InputError(f"{path}: array '{name}' holds {array.max()}, too large for an id")
        return array.astype(np.int64)
    if kind == "f" and array.dtype.itemsize > 8:
        raise InputError(f"{path}: array '{name}' is {array.dtype}, expected float64 or smaller")
    if kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise InputError(f"{path}: array '{name}' holds bytes that are neither true nor false")
    if kind == "U" and not _is_text(array):
        raise InputError(f"{path}: array '{name}' holds invalid characters")
    return array


def _is_text(array: np.ndarray) -> bool:
    """All code points are characters that a file in UTF-8 can hold."""
    if array.size == 0 or array.dtype.itemsize == 0:
        return True
    points = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
    low, high = _SURROGATES
    return points.max() <= _LARGEST_CHARACTER and not ((points >= low) & (points <= high)).any()
