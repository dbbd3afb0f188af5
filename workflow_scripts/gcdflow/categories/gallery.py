"""Show the categories of a run as one self-contained page of thumbnails."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from gcdflow.categories.assignments import Assignments, load_assignments, sample_names
from gcdflow.categories.gallery_data import as_script_data, page_data, script_texts, visible
from gcdflow.categories.gallery_rows import (
    GalleryRow,
    affordable,
    category_means,
    choose,
    fits,
    page_order,
    side_by_side,
)
from gcdflow.categories.newcomers import RESEMBLES_NONE
from gcdflow.categories.next_step import NextStep
from gcdflow.categories.thumbnails import FOLDER, Thumbnail, Thumbnails, tile_side
from gcdflow.categories.verdict import verdict
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.photos import labels_text
from gcdflow.files.atomic import atomic_write
from gcdflow.files.formats import Features, Photographs, Split
from gcdflow.wording import counted

TEMPLATE = Path(__file__).with_name("gallery.html.j2")
STYLE = Path(__file__).with_name("gallery.css")


def write_gallery(
    split_path: Path,
    assignments_path: Path,
    output: Path,
    *,
    features_path: Path | None = None,
    photographs_path: Path | None = None,
    thumbs: Path | None = None,
    table: Path | None = None,
    again: str = "",
    next_step: NextStep | None = None,
    run: str = "",
    most: int = 40,
    threads: int = 1,
) -> str:
    """Write the page atomically.

    Parameters
    ----------
    features_path : Path or None
        Features of the samples, which bring look-alike categories together; else they come by name.
    photographs_path : Path or None
        ``photographs.npz``: which of them moved since.
    thumbs : Path or None
        List of thumbnails (:func:`~gcdflow.categories.thumbnails.write_thumbnails`), for the images
        that do not fit into the page. Page and list are in the same folder.
    table : Path or None
        CSV file of labels, which the page then changes.
    again : str
        The command that sorts again with changed labels; by default without options.
    next_step : NextStep or None
        What the page offers to do next.
    run : str
        Name for the title.
    most : int
        Largest number of thumbnails per category; smaller if there are very many categories.

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
    text = None if table is None else labels_text(table, split)
    if text is not None:  # a class stays the user's when its labelled photographs are removed
        assignments = assignments.knowing(text.names)
    _, sizes = np.unique(assignments.categories, return_counts=True)
    fitting = affordable(sizes, most)
    rows = choose(assignments, fitting)
    ids = _sample_ids(split, photographs_path)
    in_page_order, looks_alike, similarity = rows, [False] * len(rows), None
    if features_path is not None:
        features = Features.load(features_path)
        similarity = features.mean_cosine
        at = _rows_of_features(features, [ids.get(path) for path in assignments.paths])
        in_page_order, looks_alike = side_by_side(
            rows, category_means(rows, assignments, features.features, at)
        )

    names, n = [*assignments.paths, *assignments.left_out], len(assignments.paths)
    paths = np.array(names if len(split.paths) else [], dtype=np.str_)
    found = Thumbnails(open_images(split.source, paths), names, thumbs)
    shown = [int(i) for row in rows for part in (row.typical, row.tail) for i in part]
    outside = [
        i
        for i in range(n, len(names))
        if assignments.left_out[names[i]].startswith(RESEMBLES_NONE)
        and found.stored_file(i) is not None
    ]
    listed, on_page = [*range(n), *outside], {*shown, *outside[:fitting]}
    thumbnails = found.all_of(listed if fits(len(listed)) else sorted(on_page), threads)
    sources = _addresses(found, listed, thumbnails, on_page)
    data = page_data(
        split,
        assignments,
        in_page_order,
        sources,
        ids,
        run=run,
        page=output,
        again=again or shlex.join(["snakemake", "--cores", "all", str(output)]),
        table=table,
        text=text,
    )
    page = _render(
        assignments,
        in_page_order,
        looks_alike,
        thumbnails,
        data,
        said=verdict(assignments, similarity),
        next_step=next_step,
    )
    with atomic_write(output, "w") as file:
        file.write(page)
    fewer = f" (at most {fitting} per category to limit the page)" if fitting < most else ""
    return (
        f"{len(shown)} of {n} images in {counted(len(rows), 'category', 'categories')}{fewer}, "
        f"{len(page) / 1e6:.1f} MB"
    )


def _sample_ids(split: Split, photographs_path: Path | None) -> dict[str, int]:
    """Sample id by path; equal photographs that were added later have the same."""
    ids = dict(zip(sample_names(split), split.indices.tolist(), strict=True))
    return ids if photographs_path is None else ids | Photographs.load(photographs_path).ids


def _rows_of_features(features: Features, ids: list[int | None]) -> np.ndarray:
    """Row of each image in the features, int64 (n,); -1 for photographs that were added later."""
    row = {number: i for i, number in enumerate(features.indices.tolist())}
    return np.array([row.get(number, -1) for number in ids], dtype=np.int64)


def _addresses(
    found: Thumbnails, listed: list[int], thumbnails: dict[int, Thumbnail], shown: set[int]
) -> dict[int, str | None]:
    """Addresses of all thumbnails that the page can show, by position; None where it has a tile."""
    addresses: dict[int, str | None] = {}
    for i in listed:
        if i in shown:
            addresses[i] = None
        elif i in thumbnails:
            addresses[i] = thumbnails[i].uri
        elif (file := found.stored_file(i)) is not None:
            addresses[i] = f"{FOLDER}/{file}"
    return addresses


def _render(
    assignments: Assignments,
    rows: list[GalleryRow],
    looks_alike: list[bool],
    thumbnails: dict[int, Thumbnail],
    data: dict[str, Any],
    *,
    said: str,
    next_step: NextStep | None,
) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    doubtful, is_labelled = assignments.doubtful, assignments.labelled_mask
    n_new = sum(row.is_new for row in rows)
    number = {picture["path"]: n for n, picture in enumerate(data["pictures"])}
    tile = _tile_maker(assignments, thumbnails, number)
    outside = [
        _tile(number[path], thumbnails[i], f"{path}, {why}")
        for i, (path, why) in enumerate(assignments.left_out.items(), start=len(assignments.paths))
        if path in number and "source" not in data["pictures"][number[path]]
    ]
    old = {row.name for row in rows if not row.is_new}
    can_correct = data["table"] is not None
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=data["run"],
        side=tile_side([thumb.pixel_side for thumb in thumbnails.values()]),
        style=STYLE.read_text(encoding="utf-8"),
        scripts=script_texts(),
        data=as_script_data(data),
        can_correct=can_correct,
        table_path=data["table"]["path"] if can_correct else "",
        again=data["again"],
        verdict=said,
        next_step=next_step,
        numbers=[
            ("images", f"{len(assignments.paths):,}"),
            ("categories", len(rows)),
            ("yours", len(rows) - n_new),
            ("discovered", n_new),
            ("labelled", f"{int(is_labelled.sum()):,}"),
            ("doubtful", f"{int(doubtful.sum()):,}"),
            *([("left out", f"{len(assignments.left_out):,}")] if assignments.left_out else []),
        ],
        n_left_out=len(assignments.left_out),
        n_outside=len(number.keys() & assignments.left_out.keys()),
        outside=outside,
        left_out={path: why for path, why in assignments.left_out.items() if path not in number},
        index=sorted(range(len(rows)), key=lambda k: page_order(rows[k].name, old)),
        categories=[
            {
                "name": row.name,
                "is_new": row.is_new,
                "n": len(row.positions),
                "n_labelled": int(is_labelled[row.positions].sum()),
                "n_doubtful": int(doubtful[row.positions].sum()),
                "n_left_out": row.n_left_out,
                "n_listed": len(data["categories"][k]["members"]),
                "looks_alike": looks_alike[k],
                "typical": [tile(i) for i in row.typical.tolist()],
                "tail": [tile(i) for i in row.tail.tolist()],
                "tail_is_doubtful": bool(2 * doubtful[row.tail].sum() > len(row.tail)),
            }
            for k, row in enumerate(rows)
        ],
    )


def _tile_maker(
    assignments: Assignments, thumbnails: dict[int, Thumbnail], number: dict[str, int]
) -> Callable[[int], dict[str, Any]]:
    """A function that returns the template's values for the sample at a position."""

    def tile(i: int) -> dict[str, Any]:
        label, other = assignments.labels[i], assignments.suggested[i]
        said = f"labelled {label}" if label else f"confidence {assignments.confidences[i]:.2f}"
        suggestion = f"; the clustering suggests {other}" if other else ""
        path = assignments.paths[i]
        return {
            **_tile(number[path], thumbnails[i], f"{path}, {said}{suggestion}"),
            "is_labelled": bool(label),
            "is_questioned": bool(other),
            "is_doubtful": bool(assignments.doubtful[i]),
        }

    return tile


def _tile(number: int, shown: Thumbnail, text: str) -> dict[str, Any]:
    """The template's values for an image of which nothing else is known."""
    is_pixels = shown.pixel_side is not None
    said = dict.fromkeys(("is_labelled", "is_questioned", "is_doubtful"), False)
    return {"number": number, "uri": shown.uri, "is_pixels": is_pixels, "text": text, **said}
