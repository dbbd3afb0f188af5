"""Convert images of more than 8 bits per sample to 8 bits.

Cameras, microscopes and scanners write values of 10, 12 or 14 bits into 16-bit files. Read as 16
bits, such images would be almost black. For each file, this module chooses the values of black and
white by the first rule that applies:

1. The file declares them: PNG ``sBIT``, the largest value of a PGM or PPM, the bit depth of a JPEG
   2000, the TIFF tags WhiteLevel, MaxSampleValue, SMaxSampleValue (and their counterparts for
   black) and BitsPerSample. A declaration of all 16 bits, or of less than the largest value, is
   ignored.
2. All values lie below 2¹⁴: black and white are the smallest and the largest value. This is a
   guess; the dataset stage counts such images in a warning.
3. Otherwise, white is the largest 16-bit value.

In files of 32-bit integers, floats or signed 16-bit integers, black and white are always the
smallest and the largest value.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps

T = TypeVar("T")

_ALL = 2**16 - 1
_FEW = 2**14  # a 16-bit file whose values are all smaller does not use its full range
_PIXELS_AT_A_TIME = 2**20  # block size of computations in wider types than the image's
_TIFF_WHITE = (50717, 281, 341)  # WhiteLevel, MaxSampleValue, SMaxSampleValue
_TIFF_BLACK = (50714, 280, 340)
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _PHOTOMETRIC = 258, 339, 262
_UNSIGNED, _WHITE_IS_ZERO = 1, 0
_PNG_SIGNATURE, _MOST_PNG_CHANNELS = b"\x89PNG\r\n\x1a\n", 4
_JPEG2000_HEAD, _JPEG2000_START, _JPEG2000_BITS_AT = 2**20, b"\xff\x4f\xff\x51", 42
# Pillow keeps only the upper 8 bits of 16-bit colours. With the opposite byte order in the raw
# mode, it keeps the lower 8 bits.
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_WIDE = {f"{channels};16" for channels in ("RGB", "RGBA", "RGBX", "LA", *"RGBA")}


class _Declared(NamedTuple):
    """Black and white as a file declares them.

    Attributes
    ----------
    black, white : int
    unused_bits : int
        Number of lower bits. If they are 0 everywhere, the values use all 16 bits, as PNG demands.
    """

    black: int
    white: int
    unused_bits: int = 0


def levels(image: Image.Image, path: Path) -> tuple[np.ndarray, bool] | None:
    """Convert an image of more than 8 bits per sample to 8 bits, upright.

    Parameters
    ----------
    image : Image
        Opened by Pillow, not yet decoded.
    path : Path, the file that it was opened from

    Returns
    -------
    pixels : ndarray of uint8, shape (height, width), (height, width, 3) or (height, width, 4)
    is_guessed : bool
        Whether black and white are a guess (rule 2 above).

    None for an image that Pillow converts to 8 bits well enough by itself.
    """
    # Pillow reads 16-bit values as 32-bit ones only in PPM.
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        declared = _declared(image, path)
        values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
        table, is_guessed = _table([values], declared)
        grey = table[values]
    elif image.mode in ("I", "F"):
        grey, is_guessed = _stretched(_signed_or_not(image)), False
    else:
        return _colours(image, path)
    # Pillow inverts negatives only in 8 bits.
    is_negative = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    return (255 - grey if is_negative else grey), is_guessed


def _colours(image: Image.Image, path: Path) -> tuple[np.ndarray, bool] | None:
    """Colours (and alpha, if present) from the upper and lower bytes of 16-bit values.

    All colours share one black and one white. If alpha also uses few bits, its largest value is
    opaque.
    """
    tiles = _wide_tiles(image)
    if tiles is None:
        return None
    declared = _declared(image, path)
    if image.format == "TIFF":
        image.tile = tiles
    largest = max(high for _, high in image.getextrema()[:3])  # of the upper bytes
    if 256 * largest >= _FEW:
        return None
    if _raw_mode(tiles[0]) == "LA;16B":  # no mode for the other byte order; RGBA has as many bytes
        both = _decoded(_with_raw_modes(tiles, lambda _: "RGBA"), image, path)
        upper, lower = both[..., [0, 0, 0, 2]], both[..., [1, 1, 1, 3]]
    else:
        swapped = _with_raw_modes(tiles, lambda mode: mode[:-1] + _OTHER_ORDER[mode[-1]])
        upper, lower = (_decoded(order, image, path) for order in (tiles, swapped))

    def values(rows: slice, channels: slice) -> np.ndarray:
        part = upper[rows, :, channels].astype(np.uint16) << 8
        return part | lower[rows, :, channels]

    pixels, blocks = np.empty(upper.shape, dtype=np.uint8), list(_blocks(upper))
    colours, alpha = slice(0, 3), slice(3, 4)
    table, is_guessed = _table((values(rows, colours) for rows in blocks), declared)
    for rows in blocks:
        pixels[rows, :, colours] = table[values(rows, colours)]
    if upper.shape[2] == 4:
        largest = max(int(values(rows, alpha).max()) for rows in blocks)
        table = _level_of_value(0, largest if largest < _FEW else _ALL)
        for rows in blocks:
            pixels[rows, :, alpha] = table[values(rows, alpha)]
    return pixels, is_guessed


def _wide_tiles(image: Image.Image) -> list | None:
    """Tiles that decode 16-bit colours; None if Pillow cannot return both bytes."""
    tiles = image.tile
    if not tiles:
        return None
    if image.format == "PPM" and (image.mode, tiles[0].codec_name) == ("RGB", "ppm"):
        if _ppm_white(image) < _ALL:
            return None
        # Pillow's PPM decoder would keep 8 bits only.
        tiles = [tile._replace(codec_name="raw", args=("RGB;16B", 0, 1)) for tile in tiles]
    elif image.format == "TIFF" and {*_numbers(image, _BITS_PER_SAMPLE)} == {16}:
        # Pillow reads TIFF files with separate colour planes as 8 bits per sample.
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        tiles = _with_raw_modes(tiles, lambda mode: f"{mode};16{order}" if len(mode) == 1 else mode)
    return tiles if all(_raw_mode(tile)[:-1] in _WIDE for tile in tiles) else None


def _raw_mode(tile: ImageFile._Tile) -> str:
    """The raw mode of a tile: the layout of its samples in the file."""
    return str(*tile.args[:1]) if isinstance(tile.args, tuple) else str(tile.args)


def _with_raw_modes(tiles: list, change: Callable[[str], str]) -> list:
    """The tiles with changed raw modes."""
    changed = []
    for tile in tiles:
        mode = change(_raw_mode(tile))
        changed.append(
            tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
        )
    return changed


def _decoded(tiles: list, like: Image.Image, path: Path) -> np.ndarray:
    """Pixels of the file, decoded with other tiles, upright."""
    with Image.open(path, formats=[like.format]) as image:
        image.tile = tiles
        return np.asarray(ImageOps.exif_transpose(image))


# -- black and white -------------------------------------------------------------------------------


def _declared(image: Image.Image, path: Path) -> _Declared | None:
    """Black and white as a 16-bit file declares them; call this before decoding."""
    if image.format == "PNG":
        bits = _read(path, _significant_bits)
        return _Declared(0, 2**bits - 1, 16 - bits) if bits and bits < 16 else None
    if image.format == "PPM":
        is_narrower = _ppm_white(image) < _ALL
        return _Declared(0, _ALL) if is_narrower else None  # Pillow stretches them to 16 bits
    if image.format == "JPEG2000":
        head = _read(path, lambda file: file.read(_JPEG2000_HEAD))
        start = head.find(_JPEG2000_START)
        bits = head[start + _JPEG2000_BITS_AT :][:1] if start >= 0 else b""
        return _Declared(0, _ALL) if bits and (bits[0] & 0x7F) + 1 < 16 else None  # as for PPM
    if image.format != "TIFF":
        return None
    bits = min(_numbers(image, _BITS_PER_SAMPLE), default=16)
    whites = [max(_numbers(image, tag), default=0) for tag in _TIFF_WHITE]
    blacks = [min(_numbers(image, tag), default=0) for tag in _TIFF_BLACK]
    white = next((white for white in (*whites, 2**bits - 1) if 0 < white < _ALL), None)
    black = next((black for black in blacks if black > 0), 0)
    return None if white is None else _Declared(int(black), int(white))


def _significant_bits(file: BinaryIO) -> int | None:
    """Significant bits of a sample of a PNG (``sBIT``, the most of all channels), or None."""
    if file.read(len(_PNG_SIGNATURE)) != _PNG_SIGNATURE:
        return None
    at = file.tell()
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if name == b"sBIT":
            return max(file.read(min(length, _MOST_PNG_CHANNELS)), default=None)
        if name == b"IDAT":
            break
        at += 12 + length
        file.seek(at)
    return None


def _read(path: Path, reader: Callable[[BinaryIO], T]) -> T:
    with open(path, "rb") as file:
        return reader(file)


def _ppm_white(image: Image.Image) -> int:
    """The largest value according to the header of a PGM or PPM."""
    arguments = image.tile[0].args
    return _ALL if isinstance(arguments, str) else arguments[1]


def _numbers(image: Image.Image, tag: int) -> list[float]:
    """The finite numbers of a TIFF tag; a file may hold values of any type in any tag."""
    value = image.tag_v2.get(tag, ())
    found = []
    for item in value if isinstance(value, tuple) else (value,):
        try:
            found.append(float(item))
        except (TypeError, ValueError, ZeroDivisionError):
            continue
    return [number for number in found if math.isfinite(number) and number < 2**32]


def _table(blocks: Iterable[np.ndarray], declared: _Declared | None) -> tuple[np.ndarray, bool]:
    """The 8-bit level of each 16-bit value, uint8 (65536,), and whether white is a guess."""
    smallest, largest, bits = _ALL, 0, 0
    for values in blocks:
        smallest, largest = min(smallest, int(values.min())), max(largest, int(values.max()))
        bits |= int(np.bitwise_or.reduce(values, axis=None))
    if declared is not None and declared.unused_bits and bits % 2**declared.unused_bits == 0:
        return _level_of_value(0, _ALL), False
    if declared is not None and largest <= declared.white:
        black = declared.black if declared.black <= smallest else 0
        return _level_of_value(black, declared.white), False
    if largest >= _FEW:
        return _level_of_value(0, _ALL), False
    return _level_of_value(smallest, largest), largest > smallest


def _level_of_value(black: int, white: int) -> np.ndarray:
    """The 8-bit level of each 16-bit value: linear from black (0) to white (255)."""
    values = np.arange(_ALL + 1)
    if (black, white) == (0, _ALL):
        return (values >> 8).astype(np.uint8)
    levels = np.rint((values - black) / max(1, white - black) * 255)
    return levels.clip(0, 255).astype(np.uint8)


def _signed_or_not(image: Image.Image) -> np.ndarray:
    """Floats or 32-bit integers, upright; Pillow reads all integers as signed."""
    values = np.asarray(ImageOps.exif_transpose(image))
    is_unsigned = image.format == "TIFF" and set(_numbers(image, _SAMPLE_FORMAT)) <= {_UNSIGNED}
    return values.view(np.uint32) if is_unsigned and values.dtype == np.int32 else values


def _stretched(values: np.ndarray) -> np.ndarray:
    """Values from 0 (the smallest, and NaN) to 255 (the largest); all 0 if they are equal."""
    low, high = np.inf, -np.inf
    for rows in _blocks(values):
        block = values[rows]
        finite = block[np.isfinite(block)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    if low > high:
        raise ValueError("holds no finite values")
    grey = np.empty(values.shape, dtype=np.uint8)
    for rows in _blocks(values):
        bounded = np.nan_to_num(values[rows].astype(np.float64), nan=low, posinf=high, neginf=low)
        grey[rows] = np.rint((bounded - low) / max(high - low, np.finfo(np.float64).tiny) * 255)
    return grey


def _blocks(array: np.ndarray) -> Iterator[slice]:
    """Slices of some rows each, so that wider types need little memory."""
    height, width = array.shape[:2]
    step = max(1, _PIXELS_AT_A_TIME // max(1, width))
    return (slice(start, start + step) for start in range(0, height, step))
