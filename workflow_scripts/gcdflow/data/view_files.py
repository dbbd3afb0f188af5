"""Files of stored views: their layout, their description of themselves, and the checks of both.

Such a file is an ``.npy`` file of float16, which any NumPy can map. Its rows are what the frozen
part of a backbone gives: for each training image its augmented views and then its evaluation view,
then for each test image its evaluation view. Rows are made and checked in chunks. A JSON text
behind the data says what they were made of.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_magic, write_array_header_1_0

from gcdflow.config.settings import ViewsSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import canonical_json, sha256_text
from gcdflow.files.formats import Split
from gcdflow.files.json_text import parse_json_object
from gcdflow.files.trailer import read_trailer, trailer

FORMAT = 1
DTYPE = np.dtype("<f2")
_ROWS_OF_A_CHUNK = 64  # enough to keep processors busy, and made in seconds
_MOST_DIMENSIONS = 8


@dataclass(frozen=True)
class Layout:
    """Which row belongs to which image, and to which chunk.

    Attributes
    ----------
    n_train, n_test : int, images
    n_views : int, augmented views of each training image
    """

    n_train: int
    n_test: int
    n_views: int

    @classmethod
    def of(cls, split: Split, n_views: int) -> Layout:
        """The layout of a split's images."""
        n_train = int(split.train_mask.sum())
        return cls(n_train, len(split.train_mask) - n_train, n_views)

    @property
    def rows_of_an_image(self) -> int:
        """Rows of a training image; a test image has one."""
        return self.n_views + 1

    @property
    def n_rows(self) -> int:
        """Rows of the file."""
        return self.n_train * self.rows_of_an_image + self.n_test

    @property
    def images_of_a_chunk(self) -> int:
        """Training images of a chunk; the last one may have fewer."""
        return max(1, _ROWS_OF_A_CHUNK // self.rows_of_an_image)

    @property
    def rows_of_a_chunk(self) -> int:
        """Rows of a chunk, which are as many test images."""
        return self.images_of_a_chunk * self.rows_of_an_image

    @property
    def n_train_chunks(self) -> int:
        """Chunks of training images, which come first; no chunk has images of both kinds."""
        return -(-self.n_train // self.images_of_a_chunk)

    @property
    def n_chunks(self) -> int:
        """Chunks of the file."""
        return self.n_train_chunks + -(-self.n_test // self.rows_of_a_chunk)

    def rows(self, chunk: int) -> tuple[int, int]:
        """First row of a chunk, and the first behind it."""
        border, size = self.n_train * self.rows_of_an_image, self.rows_of_a_chunk
        if chunk < self.n_train_chunks:
            return chunk * size, min((chunk + 1) * size, border)
        first = border + (chunk - self.n_train_chunks) * size
        return first, min(first + size, self.n_rows)

    def chunks_of(self, rows: np.ndarray) -> np.ndarray:
        """Chunk of each row, int64."""
        border, size = self.n_train * self.rows_of_an_image, self.rows_of_a_chunk
        of_test = self.n_train_chunks + (rows - border) // size
        return np.where(rows < border, rows // size, of_test)


@dataclass(frozen=True)
class Origin:
    """What stored views were made of; equal origins give the same views.

    Attributes
    ----------
    views : int, augmented views of each training image
    images_sha256 : str, of sample ids, division, and source and paths of the images
    weights_sha256 : str, of the weight file, or of the seed of random weights
    backbone, augmentation : dict, settings
    """

    views: int
    images_sha256: str
    weights_sha256: str
    backbone: dict[str, Any]
    augmentation: dict[str, Any]

    @classmethod
    def of(cls, settings: ViewsSettings, split: Split, weights_sha256: str | None) -> Origin:
        """What views with these settings are made of.

        Parameters
        ----------
        weights_sha256 : str or None
            Of the weight file; None for random weights.
        """
        return cls(
            settings.views,
            images_sha256(split),
            weights_sha256 or sha256_text(f"random weights of seed {settings.seed}"),
            settings.backbone.model_dump(exclude={"weights"}),
            settings.augmentation.model_dump(),
        )

    def check(self, path: Path, found: dict[str, Any]) -> None:
        """Refuse a file that was made of something else (InputError)."""
        for name, kind in (
            ("views", "number of views"),
            ("images_sha256", "split"),
            ("backbone", "backbone"),
            ("weights_sha256", "weight file"),
            ("augmentation", "augmentation"),
        ):
            wanted, has = getattr(self, name), found.get(name)
            if canonical_json(wanted) != canonical_json(has):
                raise InputError(
                    f"{path}: holds views made with another {kind} (expected "
                    f"{canonical_json(wanted)}, found {canonical_json(has)}); delete it to have it "
                    "made again"
                )


def images_sha256(split: Split) -> str:
    """SHA-256 of which images a split has, under which ids, and which are for training.

    Labels do not count: splits that differ only in them share their views.
    """
    digest = hashlib.sha256(canonical_json(split.source).encode())
    for array in (split.indices.astype("<i8"), split.train_mask):
        digest.update(array.tobytes())
    digest.update(canonical_json(split.paths.tolist()).encode())
    return digest.hexdigest()


def data_header(n_rows: int, shape: tuple[int, ...]) -> bytes:
    """The beginning of the file, up to the data."""
    header = io.BytesIO()
    description = {"descr": DTYPE.str, "fortran_order": False, "shape": (n_rows, *shape)}
    write_array_header_1_0(header, description)
    return header.getvalue()


def end_of_file(origin: Origin, result_version: int, chunks: list[str]) -> bytes:
    """The end of the file, behind the data; ``chunks`` are the SHA-256 of all chunks."""
    values = {**vars(origin), "format": FORMAT, "result_version": result_version, "chunks": chunks}
    return trailer(canonical_json(values))


@dataclass(frozen=True)
class Described:
    """What a file says of itself.

    Attributes
    ----------
    offset : int, where the data begin
    shape : tuple of int, of a row
    chunks : list of str, SHA-256 of each chunk
    sha256 : str, of all that the file says, with the checksums
    """

    offset: int
    shape: tuple[int, ...]
    chunks: list[str]
    sha256: str


def described(path: Path, file: BinaryIO, origin: Origin, layout: Layout) -> Described:
    """Read and check all of an open file but the data.

    Raises
    ------
    InputError
        If it is no such file, was made of something else, or is not of the size that it says.
    """
    text = read_trailer(file)
    again = "delete it to have it made again"
    if text is None:
        raise InputError(
            f"{path}: not a file of stored views, or cut off (no description at its end); {again}"
        )
    try:
        values = parse_json_object(text.decode())
        chunks = values["chunks"]
        if type(values["format"]) is not int or values["format"] != FORMAT:
            raise ValueError(f"format {values['format']!r}, expected {FORMAT}")
        if not isinstance(chunks, list) or not all(isinstance(one, str) for one in chunks):
            raise ValueError("no list of checksums")
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: its description cannot be read ({error}); {again}") from None
    origin.check(path, values)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        if read_magic(file) != (1, 0):
            raise ValueError("another version of the .npy format")
        shape, is_fortran, dtype = read_array_header_1_0(file)
        if is_fortran or dtype != DTYPE or not 1 <= len(shape) <= _MOST_DIMENSIONS:
            raise ValueError(f"{dtype} of shape {shape}")
    except Exception as error:  # damaged headers fail in whatever they are taken for
        raise InputError(f"{path}: not an .npy file of float16 ({error}); {again}") from None
    offset = file.tell()
    n_bytes = math.prod(shape) * DTYPE.itemsize
    found = (shape[0], len(chunks), offset + n_bytes + len(text) + len(trailer("")))
    if found != (layout.n_rows, layout.n_chunks, size) or min(shape) < 1:
        raise InputError(
            f"{path}: declares the shape {shape} in {len(chunks)} chunks and {size} bytes, "
            f"expected {layout.n_rows} rows in {layout.n_chunks} chunks; {again}"
        )
    return Described(offset, shape[1:], chunks, hashlib.sha256(text).hexdigest())
