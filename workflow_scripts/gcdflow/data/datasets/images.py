"""Image sources: from sample positions to pixels, as NumPy arrays (no PyTorch here)."""

from __future__ import annotations

import errno
import functools
import io
import logging
import os
import stat
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageOps

from gcdflow.data.datasets.bit_depth import Source, levels
from gcdflow.data.datasets.png_files import without_metadata
from gcdflow.data.folder_scan import APPLE_SUFFIXES, RAW_SUFFIXES, suffix
from gcdflow.errors import InputError, one_line

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
# pixel takes up to 20 bytes: more would let a file of a kilobyte fill the memory.
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

    def unreadable(self, threads: int) -> dict[str, str]:
        """Read everything once: path of each image that cannot be read, and why."""
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

    def unreadable(self, threads: int) -> dict[str, str]:
        """None: the array was read when this was made."""
        return {}


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

    def unreadable(self, threads: int) -> dict[str, str]:
        """Decode every file, small where the format allows it.

        What is found is in the log: each file that cannot be read, and how many have a black and
        white that had to be guessed (see :mod:`gcdflow.data.datasets.bit_depth`).

        Returns
        -------
        dict
            Path of each image that cannot be read, and why, in their order.

        Raises
        ------
        InputError
            If files are missing, with their number and the first.
        """
        absent = [path for path in self._paths if not os.path.lexists(self._root / path)]
        if absent:
            raise InputError(
                f"{self._root}: {len(absent)} of {len(self)} listed images are missing "
                f"(first: {absent[0]})"
            )
        began = reported = time.monotonic()
        reasons: dict[str, str] = {}
        guessed: list[str] = []
        with ThreadPoolExecutor(threads) as pool:  # decoders release the interpreter's lock
            for start in range(0, len(self), _CHECKED_AT_A_TIME):
                part = self._paths[start : start + _CHECKED_AT_A_TIME]
                for path, found in zip(part, pool.map(self._examined, part), strict=True):
                    if isinstance(found, str):
                        reasons[path] = found
                        log.warning("warning: %s", one_line(f"{self._root / path}: {found}"))
                    elif found:
                        guessed.append(path)
                if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                    reported = time.monotonic()
                    log.info("checked %d/%d images", start + len(part), len(self))
        if guessed:
            log.warning(
                "warning: %s",
                one_line(
                    f"{self._root}: {len(guessed)} of {len(self)} images hold small values in 16 "
                    f"bits and do not say what is white (first: {guessed[0]}); each is spread from "
                    "its smallest to its largest value"
                ),
            )
        log.info("checked %d images in %.0f s", len(self), time.monotonic() - began)
        return reasons

    def check(self, threads: int) -> None:
        """Find every file and decode it, as :meth:`unreadable` does.

        Raises
        ------
        InputError
            If files are missing, or are no readable images: with their number and the first.
        """
        reasons = self.unreadable(threads)
        if reasons:
            raise InputError(
                f"{self._root}: {unreadable_images(reasons, len(self))}; "
                "put good copies in their place, or move them out of the folder"
            )

    def _examined(self, path: str) -> str | bool:
        """Why an image cannot be read; or whether its black and white had to be guessed."""
        try:
            return _decoded(self._root / path, 1).is_guessed
        except _UnreadableError as error:
            return str(error)


def unreadable_images(reasons: Mapping[str, str], how_many: int) -> str:
    """The first of the images that cannot be read, in words.

    Parameters
    ----------
    reasons : mapping from str to str, what :meth:`Images.unreadable` gives
    how_many : int, images that were looked at
    """
    named = "; ".join(f"{path}: {reason}" for path, reason in islice(reasons.items(), _NAMED))
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} of {how_many} images cannot be read: {named}{more}"


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
        What is black and white of more than 8 bits a sample:
        :mod:`gcdflow.data.datasets.bit_depth`.

    Raises
    ------
    InputError
        If there is no such file, or it is not an image, not whole, or of over 201 million pixels.
    """
    try:
        return _decoded(path, shortest_side).pixels
    except _UnreadableError as error:
        raise InputError(f"{path}: {error}") from None


class _Decoded(NamedTuple):
    """Pixels, uint8 (height, width, 3), and whether black and white had to be guessed."""

    pixels: np.ndarray
    is_guessed: bool = False


def _decoded(path: Path, shortest_side: int | None) -> _Decoded:
    """What :func:`decode_image` returns, or :class:`_UnreadableError`."""
    if suffix(path.name) in RAW_SUFFIXES:  # many are TIFF files with a thumbnail before all else
        raise _UnreadableError(_FOREIGN)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise OSError("no file, but a folder, a pipe or a device")
        try:
            return _read(path, shortest_side)
        except _UnreadableError:
            raise
        except Exception:
            bare = _without_metadata(path)  # texts and profiles that Pillow refuses
            if bare is None:
                raise
            return _read(bare, shortest_side)
    except _UnreadableError:
        raise
    except FileNotFoundError:
        raise _UnreadableError("no such image") from None
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise InputError(f"{path}: cannot be read now ({_reason(error, path)})") from None
        if suffix(path.name) in APPLE_SUFFIXES:
            raise _UnreadableError(_FOREIGN) from None
        raise _UnreadableError(f"not a readable image ({_reason(error, path)})") from None


def _without_metadata(path: Path) -> io.BytesIO | None:
    with open(path, "rb") as file:
        return without_metadata(file)


def _read(source: Source, shortest_side: int | None) -> _Decoded:
    with Image.open(source, formats=_formats()) as image:
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise _UnreadableError(
                f"not a readable image ({width} × {height} pixels, expected at most "
                f"{_MOST_PIXELS // 10**6} million)"
            )
        if shortest_side is not None:
            image.draft(None, (_DRAFT_MARGIN * shortest_side,) * 2)
        deep = levels(image, source)
        if deep is None:
            return _Decoded(_rgb(ImageOps.exif_transpose(image)))
    pixels, is_guessed = deep
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] == 4:
        pixels = _rgb(Image.fromarray(pixels))
    return _Decoded(pixels, is_guessed)


# What the system may say of any file: it is no reason to leave an image out.
_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
_OF_THE_MACHINE |= {errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.ENODEV}
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


def _rgb(image: Image.Image) -> np.ndarray:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))
