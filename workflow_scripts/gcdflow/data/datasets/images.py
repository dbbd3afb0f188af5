"""Image sources: they return the pixels of samples as NumPy arrays, without PyTorch."""

from __future__ import annotations

import errno
import functools
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
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from gcdflow.data.datasets.bit_depth import levels
from gcdflow.data.folder_scan import APPLE_SUFFIXES, RAW_SUFFIXES, suffix
from gcdflow.errors import InputError, one_line
from gcdflow.progress import Progress
from gcdflow.wording import counted, duration

log = logging.getLogger(__name__)

_CHECKED_AT_A_TIME = 512
_CONVERTED_AT_A_TIME = 2**18  # pixels, few enough for the cache of a processor
# A JPEG decoder can halve the sides at almost no cost. It keeps at least twice the wanted side, so
# that the antialiased resizing afterwards shows no difference (as in Pillow's thumbnail).
_DRAFT_MARGIN = 2
# Pillow recognises a file by its content, and starts other programs for some formats (Ghostscript
# for PostScript). Only these formats of photographs and datasets are allowed.
_FORMATS = ("JPEG", "PNG", "MPO", "TIFF", "WEBP", "GIF", "BMP", "AVIF", "JPEG2000", "PPM")
# Enough for any camera (phones have 200 million; Pillow's own limit is 180). Decoding takes up to 8
# bytes per pixel (16 of floats), so without a limit a file of a kilobyte could fill the memory.
_MOST_PIXELS = 201_000_000
Image.MAX_IMAGE_PIXELS = None
# Editors write long histories; Pillow accepts a mebibyte for a text or profile, 64 for all texts.
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 64 * 2**20, 256 * 2**20
# Pillow warns when it repairs a damaged image; an image that it cannot repair is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
_NAMED = 10  # unreadable images that a message names at most


class Images(Protocol):
    """Pixels of the samples of a split, addressed by position (not by sample id).

    Attributes
    ----------
    needs_workers : bool
        Whether reading is slow enough for worker processes.
    """

    needs_workers: bool

    def __len__(self) -> int: ...

    def read(
        self, positions: Sequence[int], shortest_side: int | None = None
    ) -> Sequence[np.ndarray]:
        """Images as uint8 arrays (height, width, channels), in the order of the positions.

        Parameters
        ----------
        shortest_side : int or None
            The caller will resize images to this shorter side, so larger images may be returned
            smaller, but never below it.
        """
        ...

    def check(self, threads: int) -> None:
        """Read all images; raise :class:`InputError` if some cannot be read."""
        ...

    def unreadable(self, threads: int) -> dict[str, str]:
        """Read all images; return the path of each unreadable one and the reason."""
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
        """Do nothing: the array is in memory already."""

    def unreadable(self, threads: int) -> dict[str, str]:
        """Return an empty dict: the array is in memory already."""
        return {}


class FileImages:
    """RGB images, decoded from files on request.

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
        """Decode every file, at reduced size if the format allows it.

        The log names each unreadable file, and counts the images whose black and white are guessed
        (see :mod:`gcdflow.data.datasets.bit_depth`).

        Returns
        -------
        dict
            Path of each unreadable image and the reason, in the order of the paths.

        Raises
        ------
        InputError
            If files are missing; the message gives their number and names the first.
        """
        absent = [path for path in self._paths if not os.path.lexists(self._root / path)]
        if absent:
            raise InputError(
                f"{self._root}: {len(absent)} of {len(self)} listed images are missing "
                f"(first: {absent[0]})"
            )
        began, progress = time.monotonic(), Progress(len(self))
        reasons: dict[str, str] = {}
        guessed: list[str] = []
        with ThreadPoolExecutor(threads) as pool:  # decoders release the interpreter's lock
            for start in range(0, len(self), _CHECKED_AT_A_TIME):
                part = self._paths[start : start + _CHECKED_AT_A_TIME]
                for path, found in zip(part, pool.map(self._examined, part), strict=True):
                    if isinstance(found, str):
                        reasons[path] = found
                        # gcdflow.predict has no log of a stage, which would escape names.
                        log.warning(one_line(f"{self._root / path}: {found}"))
                    elif found:
                        guessed.append(path)
                if progress.is_due(done := start + len(part)):
                    log.info("checked %d/%d images, %s", done, len(self), progress.left(done))
        if guessed:
            found = (
                f"{self._root}: {len(guessed)} of {len(self)} images hold small values in 16 bits "
                f"and do not say what is white (first: {guessed[0]}); each is stretched from its "
                "smallest to its largest value"
            )
            log.warning(one_line(found))
        log.info(
            "checked %s in %s",
            *(counted(len(self), "image"), duration(time.monotonic() - began)),
        )
        return reasons

    def check(self, threads: int) -> None:
        """Find and decode every file, as :meth:`unreadable` does.

        Raises
        ------
        InputError
            If files are missing or unreadable; the message gives their number and names the first.
        """
        reasons = self.unreadable(threads)
        if reasons:
            raise InputError(
                f"{self._root}: {unreadable_images(reasons, len(self))}; "
                "put good copies in their place, or move them out of the folder"
            )

    def _examined(self, path: str) -> str | bool:
        """The reason why an image cannot be read; or whether its black and white are guessed."""
        try:
            return _decoded(self._root / path, 1, is_whole=False).is_guessed
        except _UnreadableError as error:
            return str(error)


def unreadable_images(reasons: Mapping[str, str], how_many: int) -> str:
    """Part of a sentence that counts the unreadable images and names the first ones.

    Parameters
    ----------
    reasons : mapping from str to str, result of :meth:`Images.unreadable`
    how_many : int, number of images that were checked
    """
    named = "; ".join(f"{path}: {reason}" for path, reason in islice(reasons.items(), _NAMED))
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    return f"{len(reasons)} of {how_many} images cannot be read: {named}{more}"


class _UnreadableError(Exception):
    """The reason why an image cannot be read, without its path."""


def decode_image(path: Path, shortest_side: int | None = None) -> np.ndarray:
    """Decode an image as a viewer shows it: upright, in RGB, transparent parts white.

    Parameters
    ----------
    shortest_side : int or None
        A large JPEG may be decoded at reduced size; no side is then shorter than twice this.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        :mod:`gcdflow.data.datasets.bit_depth` converts images of more than 8 bits per sample.

    Raises
    ------
    InputError
        If the file does not exist, is no image, is incomplete, or has over 201 million pixels.
    """
    try:
        return _decoded(path, shortest_side).pixels
    except _UnreadableError as error:
        raise InputError(f"{path}: {error}") from None


class _Decoded(NamedTuple):
    """Pixels, uint8 (height, width, 3), and whether black and white are guessed."""

    pixels: np.ndarray
    is_guessed: bool = False


def _decoded(path: Path, shortest_side: int | None, *, is_whole: bool = True) -> _Decoded:
    """Do the work of :func:`decode_image`; raise :class:`_UnreadableError` if that fails.

    If it is not whole, the image is decoded, but one pixel alone is converted to RGB: conversion of
    a large image takes longer than decoding it, and four times the memory. Images of more than 8
    bits are converted whole.
    """
    if suffix(path.name) in RAW_SUFFIXES:  # many are TIFF files that begin with a thumbnail
        raise _UnreadableError(_FOREIGN)
    is_apple = suffix(path.name) in APPLE_SUFFIXES
    formats = (*_formats(), "HEIF") if is_apple and _reads_heif() else _formats()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block
            raise OSError("no file, but a folder, a pipe or a device")
        return _read(path, shortest_side, formats, is_whole)
    except _UnreadableError:
        raise
    except FileNotFoundError:
        raise _UnreadableError("no such image") from None
    except Exception as error:  # decoders may raise anything on damaged files
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise InputError(f"{path}: cannot be read now ({_reason(error, path)})") from None
        if is_apple and not _reads_heif():
            raise _UnreadableError(_APPLE) from None
        if isinstance(error, UnidentifiedImageError):
            raise _UnreadableError(_NO_IMAGE if path.stat().st_size else _EMPTY) from None
        raise _UnreadableError(f"not a readable image ({_reason(error, path)})") from None


def _read(
    path: Path, shortest_side: int | None, formats: Sequence[str], is_whole: bool
) -> _Decoded:
    with Image.open(path, formats=formats) as image:
        width, height = image.size
        if width * height > _MOST_PIXELS:
            raise _UnreadableError(
                f"not a readable image ({width} × {height} pixels, expected at most "
                f"{_MOST_PIXELS // 10**6} million)"
            )
        if shortest_side is not None:
            image.draft(None, (_DRAFT_MARGIN * shortest_side,) * 2)
        deep = levels(image, path)
        if deep is None:
            if not is_whole:
                image = image.crop((0, 0, 1, 1))
            ImageOps.exif_transpose(image, in_place=True)  # copies nothing if it is upright
            return _Decoded(_rgb(image))
    pixels, is_guessed = deep
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] == 4:
        pixels = _rgb(Image.fromarray(pixels))
    return _Decoded(pixels, is_guessed)


# Errors of the machine, which may occur for any file: they are no reason to leave an image out.
_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT}
_OF_THE_MACHINE |= {errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN, errno.ENODEV}
_FOREIGN = "not a readable image (Pillow cannot read this format; export it as JPEG)"
_NO_IMAGE = "not a readable image (whatever its name says, its content is no known image format)"
_EMPTY = "not a readable image (the file is empty)"
_APPLE = (
    "not a readable image (HEIC needs an optional package: pip install --constraint "
    "constraints.txt -e '.[heif]' in the folder of gcdflow; or export it as JPEG)"
)


def _reason(error: Exception, path: Path) -> str:
    """The text of an error without the path, because the sentence begins with it."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return said.replace(f" {os.fspath(path)!r}", "")


@functools.cache
def _formats() -> tuple[str, ...]:
    """The formats that this installation of Pillow can decode."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@functools.cache
def _reads_heif() -> bool:
    """Whether Pillow reads Apple's format: an optional package, loaded here, teaches it to."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(decode_threads=1)  # images are decoded side by side already
    return True


def _rgb(image: Image.Image) -> np.ndarray:
    """Convert some rows at a time: copies of a whole large image would fill the memory."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _CONVERTED_AT_A_TIME // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image.crop((0, top, width, bottom))
        if strip.has_transparency_data:
            white = Image.new("RGBA", strip.size, "white")
            strip = Image.alpha_composite(white, strip.convert("RGBA"))
        pixels[top:bottom] = strip.convert("RGB")
    return pixels
