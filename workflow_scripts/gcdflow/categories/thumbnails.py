"""Small copies of images: in the page itself, or in a folder beside it that outlives many pages."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gcdflow.categories.assignments import sample_names
from gcdflow.data.datasets import open_images
from gcdflow.errors import one_line
from gcdflow.files.atomic import atomic_write, unwritable
from gcdflow.files.formats import Split

FOLDER = "thumbs"  # beside the page
SIDE = 112
_JPEG_QUALITY = 82
_LONGEST = 3  # longer side of a thumbnail by its shorter one, at most; beyond, it becomes smaller
_KINDS = ("jpeg", "png")


@dataclass(frozen=True)
class Thumbnail:
    """A whole image, made small.

    Attributes
    ----------
    data : bytes, of the file
    kind : str, ``jpeg`` or ``png``
    pixel_side : int or None, longer side of an image that keeps its pixels
    """

    data: bytes
    kind: str
    pixel_side: int | None

    @property
    def uri(self) -> str:
        """The thumbnail as a data URI."""
        text = base64.b64encode(self.data).decode("ascii")
        return f"data:image/{self.kind};base64,{text}"


def thumbnail(pixels: np.ndarray, side: int) -> Thumbnail:
    """Shrink an image for a square tile, which shows the middle of it.

    The shorter side of a photograph fills the tile; nothing is cut off, so that the thumbnail can
    stand for the photograph. Images of at most half the side keep their pixels, and the browser
    enlarges them.

    Parameters
    ----------
    pixels : uint8 (height, width, 3 or 1)
    side : int, of the tile
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    shorter, longer, target = min(image.size), max(image.size), io.BytesIO()
    if 2 * longer <= side:
        image.save(target, "png", optimize=True)
        return Thumbnail(target.getvalue(), "png", longer)
    scale = min(1, side / shorter, _LONGEST * side / longer)
    size = tuple(max(1, round(scale * length)) for length in image.size)
    image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(target, "jpeg", quality=_JPEG_QUALITY, optimize=True)
    return Thumbnail(target.getvalue(), "jpeg", None)


def tile_side(side: int, pixel_sides: list[int | None]) -> int:
    """Side of all tiles: ``side``, or, if all images are tiny, a multiple of theirs near its half.

    A whole multiple makes all enlarged pixels equal; half the side is enough for tiny images.
    """
    if not pixel_sides or None in pixel_sides:
        return side
    longest = max(pixel_sides)
    return -(-side // (2 * longest)) * longest


class Thumbnails:
    """Thumbnails of the samples of a split, from a folder of them where it has one.

    Parameters
    ----------
    split : Split
    side : int, of a tile
    folder : Path or None
        What :func:`write_thumbnails` made. What is missing there is made from the image.
    """

    def __init__(self, split: Split, side: int = SIDE, folder: Path | None = None):
        self._images = open_images(split.source, split.paths)
        self._names = sample_names(split)
        self._side, self._folder = side, folder

    def of(self, position: int) -> Thumbnail:
        """The thumbnail of one sample.

        Raises
        ------
        InputError
            If its image cannot be read.
        """
        return self._stored(position) or self._made(position)

    def all_of(self, positions: Sequence[int], threads: int) -> dict[int, Thumbnail]:
        """The thumbnails of some samples, by position."""
        with ThreadPoolExecutor(threads) as pool:  # decoders release the interpreter's lock
            return dict(zip(positions, pool.map(self.of, positions), strict=True))

    def stored_file(self, position: int) -> str | None:
        """Name of a sample's file in the folder; None if it has none."""
        if self._folder is None:
            return None
        names = (f"{self._stem(position)}.{kind}" for kind in _KINDS)
        return next((name for name in names if (self._folder / name).is_file()), None)

    def store(self, position: int, folder: Path) -> str:
        """Make a sample's file in a folder; return its name."""
        made = self._made(position)
        name = f"{self._stem(position)}.{made.kind}"
        (folder / name).write_bytes(made.data)
        return name

    def _made(self, position: int) -> Thumbnail:
        pixels = self._images.read([position], self._side)[0]  # one at a time: they may be huge
        return thumbnail(pixels, self._side)

    def _stem(self, position: int) -> str:
        """A name that stays when other images come or go, so that an older page keeps its own."""
        name = self._names[position].encode("utf-8", "surrogateescape")
        return hashlib.sha256(name).hexdigest()[:20]

    def _stored(self, position: int) -> Thumbnail | None:
        name = self.stored_file(position)
        if name is None:
            return None
        try:
            data = (self._folder / name).read_bytes()
            with Image.open(io.BytesIO(data), formats=_KINDS) as image:
                image.load()
                kind = image.format.lower()
                return Thumbnail(data, kind, max(image.size) if kind == "png" else None)
        except (OSError, SyntaxError, ValueError):  # as Pillow says that a file is damaged
            return None


def write_thumbnails(split_path: Path, output: Path, *, threads: int = 1) -> str:
    """Write a thumbnail of every image into the folder ``thumbs``, and a list of them beside it.

    Files that belong to no image of the split are removed from the folder.

    Parameters
    ----------
    output : Path
        The list, written last: a table of the files and the images that they show.

    Returns
    -------
    str
        Summary.

    Raises
    ------
    InputError
        If the split is not valid, an image cannot be read, or a file cannot be written.
    """
    split, folder = Split.load(split_path), output.parent / FOLDER
    found = Thumbnails(split)
    positions = range(len(split.indices))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(threads) as pool:
            names = list(pool.map(lambda i: found.store(i, folder), positions))
        known = set(names)
        for path in folder.iterdir():
            if path.name not in known and path.suffix[1:] in _KINDS:
                path.unlink()
    except OSError as error:
        raise unwritable(folder, error) from None
    with atomic_write(output, "w") as file:
        for name, shown in zip(names, sample_names(split), strict=True):
            file.write(f"{FOLDER}/{name}\t{one_line(shown)}\n")
    return f"{len(names)} thumbnails in {folder}"
