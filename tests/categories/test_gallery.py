"""The page of thumbnails: its images, their order, and escaped names."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.assignments import Assignments
from gcdflow.categories.gallery import affordable, choose, thumbnail, tile_side, write_gallery
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
EVIL = '<script>alert("1")</script>'
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Start tags with their attributes, and whether the tags nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def assignments(categories: list[str], confidences: list[float], labels=None) -> Assignments:
    n = len(categories)
    return Assignments(
        paths=[f"a/{i}.png" for i in range(n)],
        categories=categories,
        confidences=np.array(confidences),
        core_mask=np.ones(n, dtype=bool),
        labels=labels or [""] * n,
        suggested=[""] * n,
        train_mask=np.ones(n, dtype=bool),
        clusters=np.zeros(n, dtype=np.int64),
    )


@pytest.fixture
def run(tmp_path: Path):
    """A function that makes a page from categories, confidences and labels of photographs."""

    def make(table: Assignments, change=None, **options) -> Page:
        n = len(table.paths)
        rng = np.random.default_rng(0)
        for path in table.paths:
            file = tmp_path / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            size = (int(rng.integers(60, 300)), int(rng.integers(60, 300)))
            Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist())).save(file)
        split = Split(
            indices=np.arange(n),
            train_mask=np.ones(n, dtype=bool),
            labelled_mask=np.zeros(n, dtype=bool),
            labels=np.full(n, -1),
            source={"dataset": "cub", "root": str(tmp_path / "images")},
            paths=np.array(table.paths),
            old_class_names=np.array(["owl"]),
        )
        (split if change is None else change(split)).save(tmp_path / "split.npz")
        table.save(tmp_path / "a.csv")
        output = tmp_path / "gallery.html"
        make.said = write_gallery(tmp_path / "split.npz", tmp_path / "a.csv", output, **options)
        return Page(output.read_text(encoding="utf-8"))

    return make


def test_old_classes_by_name_then_new_ones_by_number():
    names = ["new-10", "owl", "new-2", "Auk", "new-1", "new-9"]
    table = assignments(names, [0.5] * 6, ["", "owl", "", "Auk", "", "new-9"])
    rows = choose(table, 40)
    assert [row.name for row in rows] == ["Auk", "new-9", "owl", "new-1", "new-2", "new-10"]
    assert [row.is_new for row in rows] == [False] * 3 + [True] * 3


def test_most_certain_first_and_doubtful_ones_apart():
    (row,) = choose(assignments(["new-1"] * 5, [0.3, 0.05, 0.9, 0.0, 0.1]), 5)
    assert row.typical.tolist() == [2, 0, 4]
    assert row.tail.tolist() == [1, 3]
    assert row.n_left_out == 0


@pytest.mark.parametrize(("most", "typical", "tail"), [(8, 6, 2), (1, 1, 0), (19, 15, 4)])
def test_a_large_category_shows_both_ends(most: int, typical: int, tail: int):
    (row,) = choose(assignments(["new-1"] * 20, (np.arange(20) / 20).tolist()), most)
    assert row.typical.tolist() == list(range(19, 19 - typical, -1))
    assert row.tail.tolist() == list(range(tail - 1, -1, -1))
    assert row.n_left_out == 20 - most


def test_labelled_images_do_not_crowd_out_the_others():
    labels = ["owl"] * 10 + [""] * 10
    table = assignments(["owl"] * 20, [1] * 10 + (np.arange(10) / 10).tolist(), labels)
    table = replace(table, suggested=["", "new-1", *[""] * 18])
    (row,) = choose(table, 8)
    assert row.typical.tolist() == [9, 1, 19, 18, 17, 16]  # questioned ones are among those shown
    assert row.tail.tolist() == [11, 10]
    assert sorted(row.positions.tolist()) == list(range(20))
    (row,) = choose(replace(table, labels=["owl"] * 17 + [""] * 3, suggested=[""] * 20), 8)
    assert row.typical.tolist() == [12, 13, 14, 15, 16, 19]
    assert row.tail.tolist() == [18, 17]
    (row,) = choose(replace(table, labels=["owl"] * 20, suggested=[""] * 20), 8)
    assert row.typical.tolist() == list(range(12, 20))
    assert row.tail.tolist() == []
    (row,) = choose(table, 20)
    assert row.typical[:10].tolist() == [0, *range(2, 10), 1]
    assert row.n_left_out == 0


def test_many_categories_show_fewer_images_each(run, monkeypatch):
    assert affordable([1000] * 100, 40) == 40
    assert affordable([1000] * 101, 40) == 39
    assert affordable([1000] * 50 + [1] * 900, 40) == 40  # small ones take little
    assert affordable([1000] * 5000, 40) == 4
    assert affordable([1000] * 5000, 2) == 2
    monkeypatch.setattr("gcdflow.categories.gallery._MOST_ON_A_PAGE", 15)
    table = assignments(["new-1"] * 10 + ["new-2"] * 10 + ["new-3"], [0.5] * 21)
    assert len(run(table, most=8).all("img")) == 7 + 7 + 1
    assert run.said.startswith(
        "15 of 21 images in 3 categories (at most 7 per category to limit the"
    )
    assert len(run(table, most=7).all("img")) == 15
    assert "at most" not in run.said


def decoded(uri: str) -> Image.Image:
    kind, text = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", uri).groups()
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert image.format.lower() == kind
    return image


def test_tiny_images_keep_their_pixels_and_photographs_become_squares():
    rng = np.random.default_rng(0)
    for shape in ((8, 8, 1), (8, 5, 3), (56, 56, 3)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        uri, pixel_side = thumbnail(pixels, 112)
        assert pixel_side == shape[0]
        np.testing.assert_array_equal(np.asarray(decoded(uri)), pixels.squeeze())
    for shape, side in (((300, 900, 3), 112), ((900, 113, 1), 112), ((90, 57, 3), 57)):
        uri, pixel_side = thumbnail(np.zeros(shape, np.uint8), 112)
        assert pixel_side is None
        assert decoded(uri).size == (side, side)


def test_tiles_enlarge_tiny_images_by_whole_numbers():
    assert tile_side(112, [8, 8]) == 56
    assert tile_side(112, [32]) == 64
    assert tile_side(112, [8, None]) == 112
    assert tile_side(112, []) == 112


def test_page_needs_no_other_files(run):
    table = assignments(["owl"] * 4 + ["new-1"] * 12, [0.9, 1, 0.05, 1] + [0.5] * 12)
    labels, suggested = ["", "owl", "", "owl", *[""] * 12], ["", "new-1", *[""] * 14]
    page = run(replace(table, labels=labels, suggested=suggested), most=8, run="birds")
    text = " ".join(page.text.split())
    assert "birds: categories" in text
    assert "4 images · 2 labelled · 1 doubtful" in text
    assert "12 images" in text
    assert "1 of your 2 labels are contradicted: label more pictures of owl (1), or" in text
    images = page.all("img")
    assert len(images) == 4 + 8
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in images)
    assert [image["alt"] for image in images[:4]] == [
        "a/3.png, labelled owl",
        "a/1.png, labelled owl; the clustering suggests new-1",
        "a/0.png, confidence 0.90",
        "a/2.png, confidence 0.05",
    ]
    tiles = [a["class"] for a in page.all("span") if a.get("class", "").startswith("tile")]
    assert tiles[:4] == ["tile labelled", "tile labelled questioned", "tile", "tile doubtful"]
    assert "… and 4 more" in text
    policy = page.all("meta")[1]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not page.all("script")
    assert not page.all("link")
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert "http" not in " ".join(str(a) for _, a in page.tags).replace("http-equiv", "")


def test_names_are_text(run):
    table = assignments([EVIL, "new-1"], [0.5, 0.5], [EVIL, ""])
    table = replace(table, paths=["\"'><b onload=x>.png", "a&b.png"])
    page = run(table, run=EVIL)
    assert not page.all("script")
    assert not page.all("b")
    assert page.text.count(EVIL) == 4  # title, heading, index, section
    assert page.all("img")[0]["alt"] == f"\"'><b onload=x>.png, labelled {EVIL}"
    row = ["\"'><b onload=x>.png", EVIL]
    quoted = ",".join('"' + cell.replace('"', '""') + '"' for cell in row)
    assert page.text.count(quoted) == 1  # in the lines for the table


def test_digits_are_enlarged_and_have_no_files(tmp_path: Path, make_split):
    split = make_split(20)
    split.save(tmp_path / "split.npz")
    table = assignments(["new-1"] * 20, [0.5] * 20)
    replace(table, paths=[str(i) for i in split.indices]).save(tmp_path / "a.csv")
    arguments = ["--split", "split.npz", "--assignments", "a.csv", "--output", "g.html"]
    done = subprocess.run(
        [
            sys.executable,
            SCRIPTS / "gallery.py",
            *arguments,
            "--run",
            "digits",
            "--thumbnails",
            "8",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "g.html: 8 of 20 images in 1 category" in done.stderr
    page = Page((tmp_path / "g.html").read_text(encoding="utf-8"))
    assert {image.get("class") for image in page.all("img")} == {"pixels"}
    assert {decoded(image["src"]).size for image in page.all("img")} == {(8, 8)}
    assert not page.all("details")
    assert "CSV file" not in page.text


def test_own_photographs_have_a_hint_on_corrections(run, monkeypatch):
    table = assignments(["new-1"], [0.5])
    assert "CSV file of labels" not in run(table).text
    monkeypatch.setattr("gcdflow.categories.gallery.open_images", lambda source, paths: Grey())
    page = run(table, lambda split: replace(split, source={"dataset": "photos", "root": "."}))
    assert "CSV file of labels" in page.text


def test_excluded_images_are_listed(run):
    table = assignments(["owl", "new-1"], [0.9, 0.8], labels=["owl", ""])
    assert "eft out" not in run(table).text
    page = run(replace(table, left_out={f"{EVIL}.jpg": "no such image", "b.jpg": "torn"}))
    assert f"{EVIL}.jpg: no such image\nb.jpg: torn\n" in page.text
    assert "2 images in no category" in " ".join(page.text.split())
    assert {"href": "#left-out"} in page.all("a")


def test_all_images_have_lines_for_the_table(run, monkeypatch):
    table = assignments(["owl"] * 9 + ["new-1"] * 3, [0.5] * 12, ["owl", *[""] * 11])
    table = replace(table, paths=["a, b.png", *table.paths[1:]])
    table = replace(table, train_mask=np.arange(12) != 11)
    text = run(table, most=4).text
    assert '"a, b.png",owl\na/1.png,owl\n' in text
    assert text.count(",owl\n") == 9
    assert "a/9.png,\na/10.png,\na/11.png,\n" in text
    monkeypatch.setattr("gcdflow.categories.gallery.open_images", lambda source, paths: Grey())
    photos = {"dataset": "photos", "root": "."}
    text = run(table, lambda split: replace(split, source=photos)).text
    assert "a/9.png,\na/10.png,\n" in text
    assert "a/11.png,\n" not in text  # a test image


@pytest.mark.parametrize(
    ("n_doubtful", "word"), [(0, "least certain"), (1, "least certain"), (2, "doubtful")]
)
def test_a_panel_is_doubtful_if_most_of_it_is(run, n_doubtful: int, word: str):
    confidences = [0.5] * (20 - n_doubtful) + [0.1] * n_doubtful
    text = " ".join(run(assignments(["new-1"] * 20, confidences), most=12).text.split())
    assert f"… and 8 more {word}" in text


class Grey:
    """Images of one colour."""

    def read(self, positions, shortest_side=None):
        return [np.full((99, 99, 3), 128, dtype=np.uint8) for _ in positions]


def test_assignments_of_another_split_are_one_sentence(run):
    table = assignments(["new-1"] * 3, [0.5] * 3)
    with pytest.raises(InputError, match=r"a\.csv: holds 3 images, expected the 4 of .*split\.npz"):
        run(
            table,
            lambda split: replace(
                split,
                indices=np.arange(4),
                train_mask=np.ones(4, dtype=bool),
                labelled_mask=np.zeros(4, dtype=bool),
                labels=np.full(4, -1),
                paths=np.array(list("abcd")),
            ),
        )
    with pytest.raises(InputError, match=r"image 2 is 'a/1\.png', expected 'x' as in"):
        run(table, lambda split: replace(split, paths=np.array(["a/0.png", "x", "a/2.png"])))


def test_a_missing_image_is_one_sentence(run, tmp_path: Path):
    table = assignments(["new-1"] * 3, [0.5] * 3)
    run(table)
    elsewhere = {"dataset": "cub", "root": str(tmp_path / "moved")}
    with pytest.raises(InputError, match=r"moved/a/0\.png: no such image"):
        run(table, lambda split: replace(split, source=elsewhere))
