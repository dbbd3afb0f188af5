"""Data for the scripts of the gallery: pictures, categories, and the file of labels to change."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gcdflow.categories.assignments import Assignments
from gcdflow.categories.thumbnails import FOLDER
from gcdflow.data.class_names import RULES_OF_NAMES
from gcdflow.data.datasets.labels_text import LabelsText
from gcdflow.files.atomic import canonical_json, sha256_text
from gcdflow.files.formats import Split

if TYPE_CHECKING:
    from gcdflow.categories.gallery_rows import GalleryRow

SCRIPTS = [
    Path(__file__).with_name(name)
    for name in ("gallery_labels.js", "gallery_tiles.js", "gallery_select.js", "gallery.js")
]
# Control characters, and marks that turn the direction of the text after them.
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text for people: what would hide or turn parts of it is written as an escape."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def script_texts() -> list[tuple[str, str]]:
    """The scripts of the page, each with the hash that its security policy allows it by."""
    texts = [path.read_text(encoding="utf-8") for path in SCRIPTS]
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    hashes = (f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    return list(zip(texts, hashes, strict=True))


def as_script_data(value: object) -> str:
    """A value as JSON that no text in it can end or leave: it stands in a script element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def page_data(
    split: Split,
    assignments: Assignments,
    rows: Sequence[GalleryRow],
    sources: Mapping[int, str | None],
    ids: Mapping[str, int],
    *,
    run: str,
    page: Path,
    again: str,
    table: Path | None,
    text: LabelsText | None,
) -> dict[str, Any]:
    """The data of the page's scripts.

    Parameters
    ----------
    sources : mapping of int to str or None
        Position of each listed picture to the address of its thumbnail; None if the page itself
        shows it.
    ids : mapping
        Path to sample id: a label counts for all photographs of an id.
    page : Path
        Where the page will be, which originals are found from.
    again : str
        The command that sorts again.
    table, text : the CSV file of labels, if the page changes one

    Returns
    -------
    dict
        ``run``, ``again``, ``key`` (of its table and pictures), ``originals`` (address of their
        folder, or None), ``pictures``, ``categories``, ``table`` (or None), ``names`` (how names
        are read), ``invisible`` (an expression, see :func:`visible`).
    """
    listed = sorted(sources)
    number = {position: n for n, position in enumerate(listed)}
    names = [*assignments.paths, *assignments.left_out]
    of_sample = [ids.get(path, path) for path in names]
    alike = defaultdict(list)
    for position, n in number.items():
        alike[of_sample[position]].append(n)
    outside = [number[i] for i in listed if i >= len(assignments.paths)]
    of_none = [{"name": "no category", "isNew": True, "members": outside}] if outside else []
    return {
        "run": run,
        "again": again,
        "key": sha256_text(canonical_json([run, names, text and text.pieces])),
        "thumbs": FOLDER,
        "invisible": _INVISIBLE.pattern,
        "originals": _address_of_originals(split, page),
        "pictures": [
            {
                **_picture(assignments, i, names[i], sources[i]),
                **_for_table(assignments, i, names[i], alike[of_sample[i]], text),
            }
            for i in listed
        ],
        "categories": [
            {
                "name": row.name,
                "isNew": row.is_new,
                "members": [number[i] for i in row.positions.tolist() if i in number],
            }
            for row in rows
        ]
        + of_none,
        "table": None if text is None else _table(text, str(table), names, number),
        "names": {
            **RULES_OF_NAMES,
            "real": split.real_classes,
            "known": sorted(assignments.old_categories),
        },
    }


def _picture(assignments: Assignments, i: int, path: str, source: str | None) -> dict[str, Any]:
    """One picture, sorted in or left out; what is not said of it is left out."""
    if i >= len(assignments.paths):
        return _said(path=path, problem=assignments.left_out[path], source=source)
    return _said(
        path=path,
        confidence=float(assignments.confidences[i]),
        label=assignments.labels[i],
        suggested=assignments.suggested[i],
        doubtful=bool(assignments.doubtful[i]),
        source=source,
    )


def _for_table(
    assignments: Assignments, i: int, path: str, alike: list[int], text: LabelsText | None
) -> dict[str, Any]:
    """What changes of the table need to know of a picture; ``alike`` are all of its sample."""
    if text is None:
        return {}
    locked = ""
    cells = text.cells.get(path, [])
    is_test = i < len(assignments.paths) and not assignments.train_mask[i]
    if is_test or any(cell.split == "test" for cell in cells):
        locked = "is of the test split, which has no labels"
    elif "\r" in path:
        locked = "has a line break in its file name, which a table of labels cannot hold"
    truth = next((cell.truth for cell in cells if cell.truth), "")
    return _said(locked=locked, truth=truth, alike=alike if len(alike) > 1 else "")


def _said(**values: object) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in ("", None, False)}


def _table(
    text: LabelsText, path: str, paths: Sequence[str], number: Mapping[int, int]
) -> dict[str, Any]:
    cells = {
        n: [{"piece": c.piece, "before": c.before, "isQuoted": c.is_quoted} for c in found]
        for position, n in number.items()
        if (found := text.cells.get(paths[position]))
    }
    return {**asdict(text), "path": path, "cells": cells}


def _address_of_originals(split: Split, page: Path) -> str | None:
    """Relative address of the folder of the images, so that run and images can move together."""
    root = split.source.get("root")
    if not root or not len(split.paths):
        return None
    return quote(os.path.relpath(root, page.parent).replace(os.sep, "/"), errors="replace") + "/"
