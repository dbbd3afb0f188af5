"""Small copies of images: in the page itself, or in a folder that later pages also use."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gcdflow.categories.assignments import sample_names
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.images import Images
from gcdflow.errors import InputError, one_line
from gcdflow.files.atomic import atomic_write, unwritable
from gcdflow.files.formats import Photographs, Split
from gcdflow.files.processes import remove_orphans_in

FOLDER = "thumbs"  # beside the page
SIDE = 112
_JPEG_QUALITY = 82
_LONGEST = 3  # longer side of a thumbnail by its shorter one, at most; beyond, it becomes smaller
_ENDS = {"jpeg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}
_KINDS = tuple(_ENDS)


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


def thumbnail(pixels: np.ndarray) -> Thumbnail:
    """Shrink an image for a square tile, which shows the middle of it.

    The shorter side of a photograph fills the tile; nothing is cut off, so that the thumbnail can
    stand for the photograph. Images of at most half the side keep their pixels, and the browser
    enlarges them.

    Parameters
    ----------
    pixels : uint8 (height, width, 3 or 1)
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    shorter, longer, target = min(image.size), max(image.size), io.BytesIO()
    if 2 * longer <= SIDE:
        image.save(target, "png", optimize=True)
        return Thumbnail(target.getvalue(), "png", longer)
    scale = min(1, SIDE / shorter, _LONGEST * SIDE / longer)
    size = tuple(max(1, round(scale * length)) for length in image.size)
    image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(target, "jpeg", quality=_JPEG_QUALITY, optimize=True)
    return Thumbnail(target.getvalue(), "jpeg", None)


def tile_side(pixel_sides: list[int | None]) -> int:
    """Side of all tiles: the usual one or, for tiny images, a multiple of theirs near its half.

    A whole multiple makes all enlarged pixels equal; half the side is enough for tiny images.
    """
    if not pixel_sides or None in pixel_sides:
        return SIDE
    longest = max(pixel_sides)
    return -(-SIDE // (2 * longest)) * longest


class Thumbnails:
    """Thumbnails of images, from a folder of them where it has one.

    Parameters
    ----------
    images : Images
    names : sequence of str, one for each image
    listed : Path or None
        What :func:`write_thumbnails` made. What is missing there is made from the image.
    """

    def __init__(self, images: Images, names: Sequence[str], listed: Path | None = None):
        self._images, self._names = images, names
        self._folder = None if listed is None else listed.parent / FOLDER
        self._files = {} if listed is None else _files_by_name(listed)

    def of(self, position: int) -> Thumbnail:
        """The thumbnail of one image.

        Raises
        ------
        InputError
            If its image cannot be read.
        """
        return self._stored(position) or self.made(position)

    def all_of(self, positions: Sequence[int], threads: int) -> dict[int, Thumbnail]:
        """The thumbnails of some images, by position."""
        with ThreadPoolExecutor(threads) as pool:  # decoders release the interpreter's lock
            return dict(zip(positions, pool.map(self.of, positions), strict=True))

    def stored_file(self, position: int) -> str | None:
        """Name of an image's file in the folder; None if it has none."""
        name = self._files.get(one_line(self._names[position]))
        return name if name is not None and (self._folder / name).is_file() else None

    def made(self, position: int) -> Thumbnail:
        """The thumbnail of one image, from the image itself."""
        pixels = self._images.read([position], SIDE)[0]  # one at a time: they may be huge
        return thumbnail(pixels)

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


def write_thumbnails(
    split_path: Path, output: Path, photographs_path: Path | None = None, *, threads: int = 1
) -> str:
    """Write a thumbnail of every image into the folder ``thumbs``, and a list of them beside it.

    Files that belong to no image are removed from the folder.

    Parameters
    ----------
    output : Path
        The list, written last: a table of the files and the images that they show.
    photographs_path : Path or None
        ``photographs.npz``: the photographs that are there now, instead of those of the split.
        Their files are named by content, so that only new ones are read; those that cannot be read
        are left out.

    Returns
    -------
    str
        Summary.

    Raises
    ------
    InputError
        If an input is not valid, an image of the split cannot be read, or a file cannot be written.
    """
    split, folder = Split.load(split_path), output.parent / FOLDER
    is_by_content = photographs_path is not None
    if is_by_content:
        there = Photographs.load(photographs_path).there
        stem_of = {path: sha256 for path, _, sha256 in there}
    else:
        encoded = {name: name.encode("utf-8", "surrogateescape") for name in sample_names(split)}
        stem_of = {name: hashlib.sha256(text).hexdigest() for name, text in encoded.items()}
    names = list(stem_of)
    paths = np.array(names if len(split.paths) else [], dtype=np.str_)
    images = Thumbnails(open_images(split.source, paths), names)

    # Photographs of the same content share a file, which one thread makes.
    first = {stem: position for position, stem in reversed(list(enumerate(stem_of.values())))}

    def stored(stem: str) -> str | None:
        position, stem = first[stem], stem[:20]
        kept = (name for kind in _KINDS if _is_whole(folder / (name := f"{stem}.{kind}")))
        if is_by_content and (name := next(kept, None)):
            return name
        try:
            made = images.made(position)
        except InputError:
            if is_by_content:
                return None  # the table says why
            raise
        return _written(made, folder, stem)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(threads) as pool:
            file_of = dict(zip(first, pool.map(stored, first), strict=True))
        files = [file_of[stem] for stem in stem_of.values()]
        remove_orphans_in(folder, "tmp")
        known = set(files)
        for path in folder.iterdir():
            if path.name not in known and path.suffix[1:] in _KINDS:
                path.unlink()
    except OSError as error:
        raise unwritable(folder, error) from None
    with atomic_write(output, "w") as file:
        for name, shown in zip(files, names, strict=True):
            if name is not None:
                file.write(f"{FOLDER}/{name}\t{one_line(shown)}\n")
    return f"{len(files) - files.count(None)} thumbnails in {folder}"


def _written(made: Thumbnail, folder: Path, stem: str) -> str:
    """Write a thumbnail, whole or not at all, since it is kept; return the name of its file."""
    name = f"{stem}.{made.kind}"
    with atomic_write(folder / name, "wb", is_one_of_many=True) as file:
        file.write(made.data)
    return name


def _is_whole(path: Path) -> bool:
    """Whether a thumbnail is there with its end, which it may lack after a power cut."""
    try:
        with open(path, "rb") as file:
            file.seek(-len(_ENDS[path.suffix[1:]]), os.SEEK_END)
            return file.read() == _ENDS[path.suffix[1:]]
    except OSError:
        return False


def _files_by_name(listed: Path) -> dict[str, str]:
    """Name of each image in the list to the name of its file.

    Raises
    ------
    InputError
        If there is no such list.
    """
    try:
        lines = listed.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"{listed}: cannot be read ({error.strerror})") from None
    pairs = (line.split("\t", 1) for line in lines)
    return {pair[1]: Path(pair[0]).name for pair in pairs if len(pair) == 2}
