"""Image sources: from sample positions to pixels, as NumPy arrays (no PyTorch here)."""

from __future__ import annotations

import functools
import logging
import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from gcdflow.errors import InputError
from gcdflow.listing import APPLE_SUFFIXES, RAW_SUFFIXES, suffix

log = logging.getLogger(__name__)

_SECONDS_BETWEEN_REPORTS = 10.0
_CHECKED_AT_A_TIME = 512
# A JPEG decoder can halve the sides at almost no cost. Twice the wanted side is left for the
# antialiased resizing that follows, so that nobody sees a difference (as Pillow's thumbnail does).
_DRAFT_MARGIN = 2
# Pillow would know a file by its content, whatever its name, and open some by programs (PostScript
# by Ghostscript). These are what photographs and datasets come in.
_FORMATS = ("JPEG", "PNG", "MPO", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")
# Enough for any camera (phones have 200 million; Pillow's own limit is 180). On its way to RGB a
# pixel takes up to 13 bytes: more would let a file of a kilobyte fill the memory.
_MOST_PIXELS = 201_000_000
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of what it mends in a damaged image; what is past mending is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
_NAMED = 10  # unreadable images that a sentence names


class Images(Protocol):
    """Pixels of the samples of a split, addressed by position (not by sample id).

    Attributes
    ----------
    needs_workers : bool
        Reading takes time that worker processes can share.
    """

    needs_workers: bool

    def __len__(self) -> int: ...

    def read(
        self, positions: Sequence[int], shortest_side: int | None = None
    ) -> Sequence[np.ndarray]:
        """Images as uint8 arrays (height, width, channels), in the order asked for.

        Parameters
        ----------
        shortest_side : int or None
            The caller will shrink larger images to this side; they may come smaller than they
            are, but never below it.
        """
        ...

    def check(self, threads: int) -> None:
        """Read everything once; :class:`InputError` that counts the images that cannot be read."""
        ...


class ArrayImages:
    """Images held in one array.

    Parameters
    ----------
    array : ndarray of uint8, shape (n, height, width, channels)
    """

    needs_workers = False

    def __init__(self, array: np.ndarray):
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def read(self, positions: Sequence[int], shortest_side: int | None = None) -> np.ndarray:
        """Images as one uint8 array (len(positions), height, width, channels)."""
        positions = np.asarray(positions, dtype=np.int64)
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(self):
            raise InputError(
                f"split.npz: asks for image {positions.max()} (from 0) of a dataset that has "
                f"{len(self)}; make it again"
            )
        return self._array[positions]

    def check(self, threads: int) -> None:
        """Nothing to do: the array was read when this was made."""


class FileImages:
    """RGB images decoded from files when they are asked for.

    Parameters
    ----------
    root : Path
        Folder that the paths are relative to.
    paths : sequence of str, shape (n,)
    """

    needs_workers = True

    def __init__(self, root: Path, paths: Sequence[str]):
        self._root = Path(root)
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, positions: Sequence[int], shortest_side: int | None = None) -> list[np.ndarray]:
        """Images as uint8 arrays (height, width, 3), each of its own size."""
        return [decode_image(self._root / self._paths[i], shortest_side) for i in positions]

    def check(self, threads: int) -> None:
        """Find every file and decode it, small where the format allows it.

        Raises
        ------
        InputError
            If files are missing, or are no readable images: with their number and the first.
        """
        absent = [path for path in self._paths if not (self._root / path).is_file()]
        if absent:
            raise InputError(
                f"{self._root}: {len(absent)} of {len(self)} listed images are missing "
                f"(first: {absent[0]})"
            )
        began = reported = time.monotonic()
        failures: list[str] = []
        with ThreadPoolExecutor(threads) as pool:  # decoders release the interpreter's lock
            for start in range(0, len(self), _CHECKED_AT_A_TIME):
                part = self._paths[start : start + _CHECKED_AT_A_TIME]
                failures += filter(None, pool.map(self._failure, part))
                if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                    reported = time.monotonic()
                    log.info("checked %d/%d images", start + len(part), len(self))
        if failures:
            more = len(failures) - _NAMED
            raise InputError(
                f"{self._root}: {len(failures)} of {len(self)} images cannot be read: "
                f"{'; '.join(failures[:_NAMED])}{f'; and {more} more' if more > 0 else ''}; "
                "put good copies in their place, or move them out of the folder"
            )
        log.info("checked %d images in %.0f s", len(self), time.monotonic() - began)

    def _failure(self, path: str) -> str | None:
        """Path of an image and why it cannot be read; None if it can."""
        try:
            _decoded(self._root / path, 1)
        except _UnreadableError as error:
            return f"{path}: {error}"
        return None


class _UnreadableError(Exception):
    """Why an image cannot be read, without its path."""


def decode_image(path: Path, shortest_side: int | None = None) -> np.ndarray:
    """Decode an image as a viewer shows it: upright, in RGB, transparent parts white.

    Parameters
    ----------
    shortest_side : int or None
        A JPEG may come smaller, but with no side below twice this (or as it is, if smaller).

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        16-bit values lose their lower half; integers and floats of 32 bits are stretched from their
        smallest to their largest (infinities and NaN left aside).

    Raises
    ------
    InputError
        If there is no such file, or it is not an image, not whole, or of over 201 million pixels.
    """
    try:
        return _decoded(path, shortest_side)
    except _UnreadableError as error:
        raise InputError(f"{path}: {error}") from None


def _decoded(path: Path, shortest_side: int | None) -> np.ndarray:
    """What :func:`decode_image` returns, or :class:`_UnreadableError`."""
    if suffix(path.name) in RAW_SUFFIXES:  # many are TIFF files with a thumbnail before all else
        raise _UnreadableError(_FOREIGN)
    try:
        with Image.open(path, formats=_formats()) as image:
            width, height = image.size
            if width * height <= _MOST_PIXELS:
                if shortest_side is not None:
                    image.draft(None, (_DRAFT_MARGIN * shortest_side,) * 2)
                # Pillow reads 16 bits of this format alone into 32, and a copy forgets the format.
                is_16_bit = image.format == "PPM" and image.mode == "I"
                return _rgb(ImageOps.exif_transpose(image), is_16_bit)
    except FileNotFoundError:
        raise _UnreadableError("no such image") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        if suffix(path.name) in APPLE_SUFFIXES:
            raise _UnreadableError(_FOREIGN) from None
        raise _UnreadableError(f"not a readable image ({_reason(error, path)})") from None
    raise _UnreadableError(
        f"not a readable image ({width} × {height} pixels, expected at most "
        f"{_MOST_PIXELS // 10**6} million)"
    )


_FOREIGN = "not a readable image (Pillow cannot read this format; export it as JPEG)"


def _reason(error: Exception, path: Path) -> str:
    """What an error says, without the path that the sentence begins with."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.replace(f" {os.fspath(path)!r}", "")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of the formats that this installation of Pillow has a decoder for."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _rgb(image: Image.Image, is_16_bit: bool = False) -> np.ndarray:
    if image.mode.startswith("I;16") or is_16_bit:
        grey = np.asarray(image).astype(np.uint16) >> 8
    elif image.mode in ("I", "F"):
        grey = _stretched(np.asarray(image, dtype=np.float64))
    else:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return np.array(image.convert("RGB"))
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _stretched(values: np.ndarray) -> np.ndarray:
    """Values from 0 (the smallest, and NaN) to 255 (the largest), rounded; all 0 if all equal."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("holds no finite values")
    low, high = finite.min(), finite.max()
    bounded = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    return np.rint((bounded - low) / max(high - low, np.finfo(np.float64).tiny) * 255)
