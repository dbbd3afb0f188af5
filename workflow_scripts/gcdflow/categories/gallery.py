"""Show the categories of a run as one self-contained page of thumbnails."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from PIL import Image, ImageOps

from gcdflow.categories.assignments import Assignments, sample_names
from gcdflow.categories.verdict import verdict
from gcdflow.data.datasets import open_images
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write
from gcdflow.files.formats import Split
from gcdflow.wording import counted

TEMPLATE = Path(__file__).with_name("gallery.html.j2")
_JPEG_QUALITY = 82
# This many thumbnails take 15 MB, which a browser opens in a second and a mail can usually hold.
_MOST_ON_A_PAGE = 4000
_LEAST_OF_A_CATEGORY = 4


@dataclass(frozen=True)
class GalleryRow:
    """A category and its shown images.

    Attributes
    ----------
    name : str
    is_new : bool
    positions : int64 (m,), all samples: labelled ones first (questioned labels last among them),
        then the others by decreasing confidence
    typical, tail : int64, samples shown at the beginning and at the end
    """

    name: str
    is_new: bool
    positions: np.ndarray
    typical: np.ndarray
    tail: np.ndarray

    @property
    def n_left_out(self) -> int:
        """Number of images that are not shown."""
        return len(self.positions) - len(self.typical) - len(self.tail)


def load_assignments(path: Path, split_path: Path, split: Split) -> Assignments:
    """Read assignments and check that they belong to this split.

    Raises
    ------
    InputError
        If the file is not valid, or has other images. Of photographs, it has those that are there
        now.
    """
    assignments, names = Assignments.load(path), sample_names(split)
    if split.source.get("dataset") == "photos":  # some may have come, gone or moved
        return assignments
    if len(assignments.paths) != len(names):
        raise InputError(
            f"{path}: holds {len(assignments.paths)} images, expected the {len(names)} of "
            f"{split_path}; does the file belong to this run?"
        )
    for i, (found, expected) in enumerate(zip(assignments.paths, names, strict=True)):
        if found != expected:
            raise InputError(
                f"{path}: image {i + 1} is '{found}', expected '{expected}' as in {split_path}; "
                "does the file belong to this run?"
            )
    return assignments


def choose(assignments: Assignments, most: int) -> list[GalleryRow]:
    """Choose the order of the categories on the page, and the images to show.

    Old classes come first, by name, then new ones, by number. If a category has more than ``most``
    images, three quarters of the shown ones are the most certain, and a quarter the least certain.
    Labelled images say little about the network, so they fill at most a quarter if there are enough
    others.

    Parameters
    ----------
    most : int
        Largest number of images per category.
    """
    old, rows = assignments.old_categories, []
    categories = np.array(assignments.categories, dtype=np.str_)
    for name in sorted(set(assignments.categories), key=lambda name: _page_order(name, old)):
        members = np.flatnonzero(categories == name)
        is_labelled = assignments.labelled_mask[members]
        given, sorted_in = members[is_labelled], members[~is_labelled]
        given = given[np.argsort([assignments.suggested[i] != "" for i in given], kind="stable")]
        certainty = -assignments.confidences[sorted_in]
        sorted_in = sorted_in[np.argsort(certainty, kind="stable")]
        if len(members) > most:
            n_tail = min(most // 4, len(sorted_in))
            n_given = min(len(given), max(most // 4, most - len(sorted_in)))
            n_typical = most - n_tail - n_given
        else:
            n_tail, n_given = int(assignments.doubtful[members].sum()), len(given)
            n_typical = len(sorted_in) - n_tail
        typical = np.concatenate([given[len(given) - n_given :], sorted_in[:n_typical]])
        tail = sorted_in[len(sorted_in) - n_tail :]
        positions = np.concatenate([given, sorted_in])
        rows.append(GalleryRow(name, name not in old, positions, typical, tail))
    return rows


def affordable(sizes: Sequence[int], most: int) -> int:
    """Number of images to show per category, so that the page does not become too large.

    Parameters
    ----------
    sizes : sequence of int, number of images of each category
    most : int
        Requested number; the result may be smaller, but not below 4.
    """
    while most > _LEAST_OF_A_CATEGORY and np.minimum(sizes, most).sum() > _MOST_ON_A_PAGE:
        most -= 1
    return most


def _page_order(name: str, old: set[str]) -> tuple:
    number = re.search(r"\d+$", name)
    if name in old or number is None:
        return (name not in old, 0, name.casefold(), name)
    return (True, int(number[0]), name.casefold(), name)


def thumbnail(pixels: np.ndarray, side: int) -> tuple[str, int | None]:
    """Convert an image for a square tile to a data URI.

    Photographs are cropped to a square and shrunk. Images of at most half the side keep their
    pixels, and the browser enlarges them.

    Parameters
    ----------
    pixels : uint8 (height, width, 3 or 1)
    side : int, of the tile

    Returns
    -------
    uri : str
    pixel_side : int or None, longer side of an image that keeps its pixels
    """
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    longer, target = max(image.size), io.BytesIO()
    if 2 * longer <= side:
        image.save(target, "png", optimize=True)
        kind, pixel_side = "png", longer
    else:
        small = min(side, *image.size)
        image = ImageOps.fit(image, (small, small), Image.Resampling.LANCZOS, centering=(0.5, 0.5))
        image.save(target, "jpeg", quality=_JPEG_QUALITY, optimize=True)
        kind, pixel_side = "jpeg", None
    text = base64.b64encode(target.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}", pixel_side


def tile_side(side: int, pixel_sides: list[int | None]) -> int:
    """Side of all tiles: ``side``, or, if all images are tiny, a multiple of theirs near its half.

    A whole multiple makes all enlarged pixels equal; half the side is enough for tiny images.
    """
    if not pixel_sides or None in pixel_sides:
        return side
    longest = max(pixel_sides)
    return -(-side // (2 * longest)) * longest


def write_gallery(
    split_path: Path,
    assignments_path: Path,
    output: Path,
    *,
    run: str = "",
    most: int = 40,
    side: int = 112,
    threads: int = 1,
) -> str:
    """Write the page atomically.

    Parameters
    ----------
    run : str
        Name for the title.
    most : int
        Largest number of thumbnails per category; smaller if there are very many categories.
    side : int
        Side of a thumbnail, pixels.

    Returns
    -------
    str
        Summary of the page.

    Raises
    ------
    InputError
        If a file is not valid, the files do not belong together, or an image cannot be read.
    """
    split = Split.load(split_path)
    assignments = load_assignments(assignments_path, split_path, split)
    _, sizes = np.unique(assignments.categories, return_counts=True)
    fitting = affordable(sizes, most)
    paths = np.array(assignments.paths if len(split.paths) else [], dtype=np.str_)
    rows, images = choose(assignments, fitting), open_images(split.source, paths)

    def make(position: int) -> tuple[str, int | None]:
        return thumbnail(images.read([position], side)[0], side)  # one at a time: they may be huge

    shown = [int(i) for row in rows for part in (row.typical, row.tail) for i in part]
    with ThreadPoolExecutor(threads) as pool:  # decoders release the interpreter's lock
        thumbnails = dict(zip(shown, pool.map(make, shown), strict=True))
    page = _render(split, assignments, rows, thumbnails, run, side)
    with atomic_write(output, "w") as file:
        file.write(page)
    fewer = f" (at most {fitting} per category to limit the page)" if fitting < most else ""
    return (
        f"{len(shown)} of {len(assignments.paths)} images in "
        f"{counted(len(rows), 'category', 'categories')}{fewer}, "
        f"{len(page) / 1e6:.1f} MB"
    )


def _render(
    split: Split,
    assignments: Assignments,
    rows: list[GalleryRow],
    thumbnails: dict[int, tuple[str, int | None]],
    run: str,
    side: int,
) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    doubtful, n = assignments.doubtful, len(assignments.paths)
    is_labelled, is_photos = assignments.labelled_mask, split.source.get("dataset") == "photos"
    n_new = sum(row.is_new for row in rows)
    tile = _tile_maker(assignments, thumbnails)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        side=tile_side(side, [pixel_side for _, pixel_side in thumbnails.values()]),
        is_photos=is_photos,
        verdict=verdict(assignments),
        numbers=[
            ("images", f"{n:,}"),
            ("categories", len(rows)),
            ("old", len(rows) - n_new),
            ("new", n_new),
            ("labelled", f"{int(is_labelled.sum()):,}"),
            ("doubtful", f"{int(doubtful.sum()):,}"),
            *([("left out", f"{len(assignments.left_out):,}")] if assignments.left_out else []),
        ],
        left_out=assignments.left_out,
        categories=[
            {
                "name": row.name,
                "is_new": row.is_new,
                "n": len(row.positions),
                "n_labelled": int(is_labelled[row.positions].sum()),
                "n_doubtful": int(doubtful[row.positions].sum()),
                "n_left_out": row.n_left_out,
                "typical": [tile(i) for i in row.typical.tolist()],
                "tail": [tile(i) for i in row.tail.tolist()],
                "tail_is_doubtful": bool(2 * doubtful[row.tail].sum() > len(row.tail)),
                "lines": _table_lines(assignments, row, is_photos) if len(split.paths) else "",
            }
            for row in rows
        ],
        has_files=len(split.paths) > 0,
    )


def _table_lines(assignments: Assignments, row: GalleryRow, is_photos: bool) -> str:
    """All images of a category as lines for a CSV file of labels; new categories have no name yet.

    Photographs of the test split are omitted, because such a file must not label them.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        (assignments.paths[i], "" if row.is_new else row.name)
        for i in row.positions.tolist()
        if assignments.train_mask[i] or not is_photos
    )
    return text.getvalue()


def _tile_maker(
    assignments: Assignments, thumbnails: dict[int, tuple[str, int | None]]
) -> Callable[[int], dict[str, Any]]:
    """A function that returns the template's values for the sample at a position."""

    def tile(i: int) -> dict[str, Any]:
        uri, pixel_side = thumbnails[i]
        label, other = assignments.labels[i], assignments.suggested[i]
        said = f"labelled {label}" if label else f"confidence {assignments.confidences[i]:.2f}"
        return {
            "uri": uri,
            "is_pixels": pixel_side is not None,
            "text": f"{assignments.paths[i]}, {said}"
            + (f"; the clustering suggests {other}" if other else ""),
            "is_labelled": bool(label),
            "is_questioned": bool(other),
            "is_doubtful": bool(assignments.doubtful[i]),
        }

    return tile
