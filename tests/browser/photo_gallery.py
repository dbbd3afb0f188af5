"""A small run on photographs with hostile file names, as the gallery stage finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gcdflow.categories.assignments import Assignments
from gcdflow.categories.gallery import write_gallery
from gcdflow.categories.thumbnails import write_thumbnails
from gcdflow.config.settings import PhotosSettings
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.photos import catalogue, present_labels
from gcdflow.data.datasets.seen_photos import see_photographs
from gcdflow.files.formats import Features, Photographs, Split
from PIL import Image
from small_tables import table_of

SIZE = (160, 120)
PLAIN = [f"tour/{i:02d}.jpg" for i in range(16)]
HOSTILE = [
    "</script><b>bold.jpg",  # a folder "<" with a file
    '"quoted", and more.jpg',
    "a;b\tc.jpg",
    "it's 100%41 #1?.jpg",
    " led by a space.jpg",
    "back\\slash.jpg",
    "\u202egnp.evil.jpg",
    "שלום Zoë 👩‍🌾.jpg",
    "two\nlines.jpg",
    "=SUM(A1).jpg",
]
LOCKED = "half\rline.jpg"
TABLE = (
    "\ufeffpath;label;split;truth\r\n"
    '"tour/00.jpg";"robin";;\r\n'
    "tour/01.jpg;robin;train;robin\r\n"
    "\r\n"
    ";;;\r\n"
    ' tour/02.jpg ;"wren"\r\n'
    "tour\\03.jpg\r\n"
    "tour/04.jpg;NA;;\r\n"
    "tour/15.jpg;;test;wren"
)
CLASSES = ("robin", "wren", "new-1", "new-2")


@dataclass
class Run:
    """Files of the run, and what is read from them."""

    folder: Path

    @property
    def table(self) -> Path:
        return self.folder / "data" / "mine" / "labels.csv"

    @property
    def page(self) -> Path:
        return self.folder / "runs" / "photos" / "gallery.html"

    def beside(self, name: str) -> Path:
        return self.page.parent / name

    def write_page(self, **options) -> str:
        """The page of the present table; its address."""
        given = {"table": self.table, "features_path": self.beside("features.npz"), "run": "photos"}
        files = [self.beside("split.npz"), self.beside("assignments.csv"), self.page]
        write_gallery(*files, **given | options)
        return self.page.as_uri()

    def write_thumbnails(self) -> Path:
        seen = self.beside("photographs.npz") if self.seen() else None
        write_thumbnails(self.beside("split.npz"), self.beside("thumbs.tsv"), seen)
        return self.beside("thumbs.tsv")

    def labels(self, table: Path | None = None) -> dict[str, str]:
        """What the labels stage reads: label by path."""
        split, seen = Split.load(self.beside("split.npz")), self.seen()
        labels, _ = present_labels(table or self.table, split, "photos", seen)
        names = [str(labels.class_names[label]) if label >= 0 else "" for label in labels.labels]
        name_of = dict(zip(labels.indices.tolist(), names, strict=True))
        there = zip(split.paths.tolist(), split.indices.tolist(), strict=True)
        if seen is not None:
            there = ((path, number) for path, number, _ in seen.there)
        return {path: name for path, number in there if (name := name_of.get(number))}

    def seen(self) -> Photographs | None:
        """What the run saw of its photographs; None before :meth:`look_again`."""
        path = self.beside("photographs.npz")
        return Photographs.load(path) if path.exists() else None

    def look_again(self) -> None:
        """See which photographs came or moved, and list them, added ones last, as ``new-1``."""
        split, table = Split.load(self.beside("split.npz")), self.beside("assignments.csv")
        seen = see_photographs(self.beside("split.npz"), self.seen(), 1)
        seen.save(self.beside("photographs.npz"))
        found, labels = Assignments.load(table), self.labels()
        position = {number: i for i, number in enumerate(split.indices.tolist())}
        there = sorted(
            (position.get(number, len(position)), path) for path, number, _ in seen.there
        )
        is_added = [i == len(position) for i, _ in there]
        rows = [min(i, len(position) - 1) for i, _ in there]
        paths = [path for _, path in there]
        own = [labels.get(path, "") for path in paths]
        found = found.at(np.array(rows), paths, {})
        categories = ["new-1" if added else found.categories[k] for k, added in enumerate(is_added)]
        replace(
            found,
            categories=[label or categories[k] for k, label in enumerate(own)],
            labels=own,
            train_mask=found.train_mask | np.array(is_added),
        ).save(table)

    def assign(self) -> None:
        """Categories in the order of the paths; labelled ones as the table says."""
        split, labels = Split.load(self.beside("split.npz")), self.labels()
        paths = split.paths.tolist()
        n = len(paths)
        kinds = np.arange(n) * len(CLASSES) // n
        own = [labels.get(path, "") for path in paths]
        categories = [own[i] or CLASSES[kinds[i]] for i in range(n)]
        confidences = np.where(np.arange(n) % 5 == 4, 0.1, 0.5 + np.arange(n) / (4 * n))
        confidences[[bool(label) for label in own]] = 1
        given = {"labels": own, "train_mask": split.train_mask, "clusters": kinds}
        table = table_of(paths, categories, confidences.round(3), **given)
        table.save(self.beside("assignments.csv"))
        places = {"robin": (1, 0), "new-2": (1, 0.2), "wren": (0, 1), "new-1": (0.2, 1)}
        vectors = [places.get(category, (1, 1)) for category in categories]
        Features(
            features=np.array(vectors, dtype=np.float32),
            indices=split.indices,
            labels=split.labels,
            train_mask=split.train_mask,
            metadata={},
        ).save(self.beside("features.npz"))


def make_run(folder: Path, table: str, extra: Sequence[str] = (), encoding: str = "utf-8") -> Run:
    """Photographs, the table of labels as it is given, and a page."""
    run, rng = Run(folder), np.random.default_rng(0)
    for path in [*PLAIN, *extra]:
        file = run.table.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(rng.integers(40, 216, 3).tolist())
        Image.new("RGB", SIZE, colour).save(file)
    run.table.write_bytes(table.encode(encoding))
    settings = PhotosSettings(root=str(folder / "data"), folder="mine")
    split, _ = split_catalogue(catalogue(settings), settings)
    run.page.parent.mkdir(parents=True)
    split.save(run.beside("split.npz"))
    run.assign()
    return run
