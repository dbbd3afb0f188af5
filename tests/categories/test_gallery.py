"""The page of thumbnails: its images, their order, and escaped names."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories import thumbnails
from gcdflow.categories.assignments import Assignments
from gcdflow.categories.gallery import write_gallery
from gcdflow.categories.gallery_data import as_script_data, visible
from gcdflow.categories.gallery_rows import affordable, category_means, choose, side_by_side
from gcdflow.categories.next_step import NextStep
from gcdflow.categories.thumbnails import thumbnail, tile_side, write_thumbnails
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Features, Photographs, Split
from gcdflow.files.processes import machine
from PIL import Image
from small_tables import split_of, table_of
from stage_processes import in_process

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
EVIL = '<script>alert("1")</script>'
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Start tags with their attributes, and whether the tags nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def thumbnails(self) -> list[dict]:
        """The images of the tiles; the view of a whole picture has none yet."""
        return [image for image in self.all("img") if "src" in image]

    @property
    def data(self) -> dict:
        """What the scripts know."""
        return json.loads(self.scripts[0])


def assignments(categories: list[str], confidences: list[float], labels=None) -> Assignments:
    paths = [f"a/{i}.png" for i in range(len(categories))]
    return table_of(paths, categories, confidences, labels=labels or [""] * len(paths))


@pytest.fixture
def run(tmp_path: Path):
    """A function that makes a page from categories, confidences and labels of photographs."""

    def make(table: Assignments, /, change=None, **options) -> Page:
        rng = np.random.default_rng(0)
        for path in table.paths:
            file = tmp_path / "images" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            size = (int(rng.integers(60, 300)), int(rng.integers(60, 300)))
            Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist())).save(file)
        split = split_of(table, tmp_path / "images", "cub", "owl")
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
    monkeypatch.setattr("gcdflow.categories.gallery_rows._MOST_ON_A_PAGE", 15)
    table = assignments(["new-1"] * 10 + ["new-2"] * 10 + ["new-3"], [0.5] * 21)
    assert len(run(table, most=8).thumbnails) == 7 + 7 + 1
    assert run.said.startswith(
        "15 of 21 images in 3 categories (at most 7 per category to limit the"
    )
    assert len(run(table, most=7).thumbnails) == 15
    assert "at most" not in run.said


def decoded(uri: str) -> Image.Image:
    kind, text = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", uri).groups()
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert image.format.lower() == kind
    return image


def test_tiny_images_keep_their_pixels_and_photographs_stay_whole():
    rng = np.random.default_rng(0)
    for shape in ((8, 8, 1), (8, 5, 3), (56, 56, 3)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        made = thumbnail(pixels)
        assert made.pixel_side == shape[0]
        np.testing.assert_array_equal(np.asarray(decoded(made.uri)), pixels.squeeze())
    sizes = {
        (300, 900, 3): (336, 112),
        (450, 300, 3): (112, 168),
        (900, 113, 1): (42, 336),  # the shorter side of a very long one gives way
        (90, 57, 3): (57, 90),
        (5, 4000, 3): (336, 1),
    }
    for shape, size in sizes.items():
        made = thumbnail(np.zeros(shape, np.uint8))
        assert made.pixel_side is None
        assert decoded(made.uri).size == size


def test_tiles_enlarge_tiny_images_by_whole_numbers():
    assert tile_side([8, 8]) == 56
    assert tile_side([32]) == 64
    assert tile_side([8, None]) == 112
    assert tile_side([]) == 112


def test_page_needs_no_other_files(run):
    table = assignments(["owl"] * 4 + ["new-1"] * 12, [0.9, 1, 0.05, 1] + [0.5] * 12)
    labels, suggested = ["", "owl", "", "owl", *[""] * 12], ["", "new-1", *[""] * 14]
    page = run(replace(table, labels=labels, suggested=suggested), most=8, run="birds")
    text = " ".join(page.text.split())
    assert "birds: categories" in text
    assert "yours1 discovered1 labelled2" in text, "as the log calls them"
    assert "new-1 discovered 12 images" in text
    assert "4 images · 2 labelled · 1 doubtful" in text
    assert "12 images" in text
    assert "1 of your 2 labels are contradicted: label more pictures of owl (1), or" in text
    images = page.thumbnails
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
    assert not page.all("link")
    assert not any("src" in script for script in page.all("script"))
    assert all(a["href"].startswith("#") for a in page.all("a"))
    assert "http" not in " ".join(str(a) for _, a in page.tags).replace("http-equiv", "")


def assert_only_own_scripts(page: Page) -> None:
    """The policy allows the scripts by their hashes, and no others."""
    policy = page.all("meta")[1]["content"]
    allowed = re.fullmatch(
        r"default-src 'none'; script-src ('[^;]*'); img-src data: 'self' file:; "
        r"style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        policy,
    )[1].split()
    kinds = [script.get("type") for script in page.all("script")]
    assert kinds == ["application/json", *[None] * 4]
    digests = [hashlib.sha256(text.encode()).digest() for text in page.scripts[1:]]
    assert allowed == [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
    for path in (SCRIPTS / "gcdflow" / "categories").glob("gallery*.js"):
        assert path.read_text() in page.scripts, path
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]


def test_data_cannot_leave_their_script_element():
    value = {"</script>": ["<!--", "<script>", "\u2028", "\x00", "\udc80", "é", "]]>", "&lt;"]}
    text = as_script_data(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert not set("<>&") & set(text)


def test_marks_that_hide_or_turn_text_are_shown():
    assert visible("a\u202egnp.exe\x1b[2J\n") == "a\\u202egnp.exe\\u001b[2J\\u000a"
    assert visible("Zoë 👨‍👩‍👧 שלום.jpg") == "Zoë 👨‍👩‍👧 שלום.jpg"


def test_names_are_text(run):
    table = assignments([EVIL, "new-1"], [0.5, 0.5], [EVIL, ""])
    table = replace(table, paths=["\"'><b onload=x>.png", "a&b.png"])
    page = run(table, run=EVIL)
    assert_only_own_scripts(page)
    assert not page.all("b")
    assert page.data["run"] == EVIL
    assert [picture["path"] for picture in page.data["pictures"]] == table.paths
    assert page.text.count(EVIL) == 4  # title, heading, index, section
    assert page.thumbnails[0]["alt"] == f"\"'><b onload=x>.png, labelled {EVIL}"


def test_digits_are_enlarged_and_have_no_files(tmp_path: Path, make_split):
    split = make_split(20)
    split.save(tmp_path / "split.npz")
    table = assignments(["new-1"] * 20, [0.5] * 20)
    replace(table, paths=[str(i) for i in split.indices]).save(tmp_path / "a.csv")
    arguments = ["--split", "split.npz", "--assignments", "a.csv", "--output", "g.html"]
    arguments += ["--run", "digits", "--thumbnails", "8"]
    done = in_process("gallery", *arguments, cwd=tmp_path)
    assert "g.html: 8 of 20 images in 1 category" in done.stderr
    page = Page((tmp_path / "g.html").read_text(encoding="utf-8"))
    assert {image.get("class") for image in page.thumbnails} == {"pixels"}
    assert {decoded(image["src"]).size for image in page.thumbnails} == {(8, 8)}
    assert not page.all("details")
    assert not page.all("form")
    data = page.data
    assert (data["table"], data["originals"], len(data["pictures"])) == (None, None, 20)
    others = [picture["source"] for picture in data["pictures"] if "source" in picture]
    assert len(others) == 12
    assert {decoded(uri).size for uri in others} == {(8, 8)}


def test_excluded_images_are_listed(run):
    table = assignments(["owl", "new-1"], [0.9, 0.8], labels=["owl", ""])
    assert "eft out" not in run(table).text
    page = run(replace(table, left_out={f"{EVIL}.jpg": "no such image", "b.jpg": "torn"}))
    assert f"{EVIL}.jpg: no such image\nb.jpg: torn\n" in page.text
    assert "2 images in no category" in " ".join(page.text.split())
    assert {"href": "#left-out"} in page.all("a")


@pytest.mark.parametrize(
    ("n_doubtful", "word"), [(0, "least certain"), (1, "least certain"), (2, "doubtful")]
)
def test_a_panel_is_doubtful_if_most_of_it_is(run, n_doubtful: int, word: str):
    confidences = [0.5] * (20 - n_doubtful) + [0.1] * n_doubtful
    text = " ".join(run(assignments(["new-1"] * 20, confidences), most=12).text.split())
    assert f"… and 8 more {word}" in text


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


# -- look-alike categories -------------------------------------------------------------------------


def test_look_alike_categories_are_neighbours():
    table = assignments(["a", "new-1", "b", "new-2", "c"], [0.5] * 5, ["a", "", "b", "", "c"])
    rows = choose(table, 40)
    assert [row.name for row in rows] == ["a", "b", "c", "new-1", "new-2"]
    places = np.array([[0.0, 0], [10, 0], [30, 0], [1, 0], [12, 0]])
    ordered, alike = side_by_side(rows, places)
    assert [row.name for row in ordered] == ["a", "new-1", "b", "new-2", "c"]
    assert alike == [False, True, False, True, True]  # the nearest of c is new-2
    for few in (rows[:1], []):
        assert side_by_side(few, places[: len(few)]) == (few, [False] * len(few))


def test_a_category_lies_where_its_core_points_point():
    table = assignments(["a", "a", "a", "new-1"], [0.5] * 4, ["a", "", "", ""])
    table = replace(table, core_mask=np.array([True, True, False, False]))
    vectors, at = np.array([[0, 0], [2.0, 0], [0, 5], [-9, -9]]), np.array([1, 2, 3, 0])
    means = category_means(choose(table, 40), table, vectors, at)
    np.testing.assert_allclose(means, [[0.5, 0.5], [0, 0]])  # lengths do not count
    added = category_means(choose(table, 40), table, vectors, np.array([1, -1, 3, -1]))
    np.testing.assert_allclose(added, [[1, 0], [0, 0]])


def test_the_page_has_the_order_of_the_features(run, tmp_path: Path):
    table = assignments(["a", "b", "new-1"], [0.5] * 3, ["a", "b", ""])
    features = Features(
        features=np.array([[1, 0], [0, 1], [1, 0.1]], dtype=np.float32)[[2, 0, 1]],
        indices=np.array([2, 0, 1]),
        labels=np.array([-1, -1, -1]),
        train_mask=np.ones(3, dtype=bool),
        metadata={},
    )
    features.save(tmp_path / "f.npz")
    page = run(table, features_path=tmp_path / "f.npz")
    names = [section["aria-label"] for section in page.all("section")]
    assert names == ["a", "new-1", "b"]
    assert [category["name"] for category in page.data["categories"]] == names
    index = [link["href"] for link in page.all("a")]
    assert index == ["#c1", "#c3", "#c2"]  # by name


def test_the_page_says_that_its_features_have_collapsed(run, tmp_path: Path):
    table = assignments(["a", "new-1"], [0.5] * 2, ["a", ""])
    healthy = np.array([[1, 0], [0, 1]], dtype=np.float32)
    for features, said in ((healthy, False), (np.ones_like(healthy), True)):
        Features(
            features=features,
            indices=np.arange(2),
            labels=np.array([-1, -1]),
            train_mask=np.ones(2, dtype=bool),
            metadata={},
        ).save(tmp_path / "f.npz")
        text = run(table, features_path=tmp_path / "f.npz").text
        assert ("The representation has collapsed: the mean cosine" in text) is said


def test_training_is_offered_with_its_command_and_time(run):
    table = assignments(["a", "new-1"], [0.5] * 2, ["a", ""])
    assert "Next:" not in run(table).text
    command = "snakemake --cores all runs/x/gallery.html --config 'a=<b>&' --forcerun dataset"
    page = run(table, next_step=NextStep(command, 251.0))
    assert "Next: train, which takes about 4 min here, judging by the time" in page.text
    assert command in page.text
    unknown = run(table, next_step=NextStep(command, None))
    assert "which takes several times as long as this look" in unknown.text
    assert command in unknown.text


def test_a_class_whose_labelled_photographs_are_gone_is_not_new(run, tmp_path: Path):
    def of_photos(split: Split) -> Split:
        return replace(split, source=split.source | {"dataset": "photos"})

    listed = tmp_path / "images" / "labels.csv"
    listed.parent.mkdir()
    listed.write_text("path,label\na/0.png,owl\na/gone.png,face\n")
    table = assignments(["owl", "face", "new-1", "face"], [1, 0.5, 0.5, 0.1], ["owl", "", "", ""])
    page = run(table, of_photos, table=listed)
    kinds = {row["name"]: row["isNew"] for row in page.data["categories"]}
    assert kinds == {"face": False, "owl": False, "new-1": True}
    assert [row["name"] for row in page.data["categories"]][:2] == ["face", "owl"]
    assert {p["path"] for p in page.data["pictures"] if p.get("doubtful")} == {"a/3.png"}


# -- thumbnails beside the page --------------------------------------------------------------------


def test_what_does_not_fit_into_the_page_lies_beside_it(run, tmp_path: Path, monkeypatch):
    table = assignments(["new-1"] * 9, (np.arange(9) / 10).tolist())
    first = run(table, most=4)
    assert all("source" in p or p["path"] in SHOWN for p in first.data["pictures"])
    monkeypatch.setattr("gcdflow.categories.gallery_rows._MOST_ON_A_PAGE", 4)
    without = run(table, most=4)
    assert len(without.data["pictures"]) == 4  # the others cannot be shown
    assert not [b for b in without.all("button") if b.get("data-do") == "all"]

    listed = tmp_path / "thumbs.tsv"
    assert write_thumbnails(tmp_path / "split.npz", listed) == f"9 thumbnails in {tmp_path}/thumbs"
    lines = dict(line.split("\t")[::-1] for line in listed.read_text().splitlines())
    assert list(lines) == table.paths
    page = run(table, most=4, thumbs=listed)
    pictures = page.data["pictures"]
    assert len(pictures) == 9
    beside = {p["path"]: p["source"] for p in pictures if "source" in p}
    assert beside == {path: lines[path] for path in table.paths if path not in SHOWN}
    assert [b for b in page.all("button") if b.get("data-do") == "all"]
    assert all((tmp_path / file).is_file() for file in beside.values())


SHOWN = {"a/8.png", "a/7.png", "a/6.png", "a/0.png"}


def test_damaged_and_missing_thumbnails_are_made_from_the_images(run, tmp_path: Path):
    table = assignments(["new-1"] * 3, [0.5, 0.6, 0.7])
    before = run(table)
    write_thumbnails(tmp_path / "split.npz", tmp_path / "thumbs.tsv")
    files = sorted((tmp_path / "thumbs").iterdir())
    files[0].write_bytes(b"no image")
    files[1].unlink()
    page = run(table, thumbs=tmp_path / "thumbs.tsv")
    assert page.thumbnails == before.thumbnails


def test_thumbnails_of_images_that_left_are_removed(run, tmp_path: Path):
    table = assignments(["new-1"] * 3, [0.5] * 3)
    run(table)
    write_thumbnails(tmp_path / "split.npz", tmp_path / "thumbs.tsv")
    names = {path.name for path in (tmp_path / "thumbs").iterdir()}
    (tmp_path / "thumbs" / "notes.txt").write_text("mine")
    run(assignments(["new-1"] * 2, [0.5] * 2))
    write_thumbnails(tmp_path / "split.npz", tmp_path / "thumbs.tsv", threads=2)
    left = {path.name for path in (tmp_path / "thumbs").iterdir()}
    assert "notes.txt" in left
    assert len(left) == 3
    assert left - {"notes.txt"} < names  # the same names as before


def test_thumbnails_of_photographs_are_made_once_by_content(run, tmp_path: Path):
    run(assignments(["new-1"] * 3, [0.5] * 3))
    images, listed = tmp_path / "images", tmp_path / "thumbs.tsv"

    def files_of(*names: str) -> dict[str, str]:
        """The list of thumbnails of some photographs: name to file."""
        digests = [hashlib.sha256((images / name).read_bytes()).hexdigest() for name in names]
        n = len(names)
        Photographs(
            paths=np.array([*names, "gone.png"]),
            present=np.array([True] * n + [False]),
            indices=np.arange(n + 1),
            sha256=np.array([*digests, "0" * 64]),
            sizes=np.zeros(n + 1, dtype=np.int64),
            times=np.zeros(n + 1, dtype=np.int64),
            sample_sha256=np.array(["1" * 64]),
            source={},
        ).save(tmp_path / "photographs.npz")
        write_thumbnails(tmp_path / "split.npz", listed, tmp_path / "photographs.npz")
        return dict(line.split("\t")[::-1] for line in listed.read_text().splitlines())

    first = files_of("a/0.png", "a/1.png")
    assert list(first) == ["a/0.png", "a/1.png"]
    made = (tmp_path / first["a/1.png"]).stat().st_mtime_ns
    (images / "a/1.png").rename(images / "moved.png")
    (images / "torn.png").write_bytes(b"no image")
    second = files_of("moved.png", "a/2.png", "torn.png")
    assert list(second) == ["moved.png", "a/2.png"]  # the table says what is wrong with the third
    assert second["moved.png"] == first["a/1.png"]
    assert (tmp_path / second["moved.png"]).stat().st_mtime_ns == made
    assert not (tmp_path / first["a/0.png"]).exists()


def write_copies(tmp_path: Path, folders: int, copies: int) -> Path:
    """Photographs of which some are equal, side by side; the list of their thumbnails."""
    names = [f"{i:03}/{c}.jpg" for i in range(folders) for c in range(copies)]
    for number, name in enumerate(names):
        (tmp_path / "copies" / name).parent.mkdir(parents=True, exist_ok=True)
        colour = (10 * (number // copies), 80, 160)
        Image.new("RGB", (300, 200), colour).save(tmp_path / "copies" / name)
    n = len(names)
    Split(
        indices=np.arange(n),
        train_mask=np.ones(n, dtype=bool),
        labelled_mask=np.arange(n) == 0,
        labels=np.where(np.arange(n) == 0, 0, -1),
        source={"dataset": "photos", "root": str(tmp_path / "copies")},
        paths=np.array(names),
        old_class_names=np.array(["a"]),
    ).save(tmp_path / "split.npz")
    digests = [sha256_file(tmp_path / "copies" / name) for name in names]
    Photographs(
        paths=np.array(names),
        present=np.ones(n, dtype=bool),
        indices=np.arange(n),
        sha256=np.array(digests),
        sizes=np.zeros(n, dtype=np.int64),
        times=np.zeros(n, dtype=np.int64),
        sample_sha256=np.array(digests),
        source={},
    ).save(tmp_path / "photographs.npz")
    return tmp_path / "thumbs.tsv"


def test_equal_photographs_share_a_thumbnail_that_is_made_once(tmp_path: Path, monkeypatch):
    listed, made = write_copies(tmp_path, folders=12, copies=3), []
    of_pixels = thumbnails.thumbnail
    monkeypatch.setattr(thumbnails, "thumbnail", lambda p: made.append(1) or of_pixels(p))
    files = (tmp_path / "split.npz", listed, tmp_path / "photographs.npz")
    assert write_thumbnails(*files, threads=8).startswith("36 thumbnails in")
    assert len(made) == 12
    assert len({line.split("\t")[0] for line in listed.read_text().splitlines()}) == 12
    assert len(list((tmp_path / "thumbs").iterdir())) == 12


def test_thumbnails_that_a_power_cut_damaged_are_made_again(tmp_path: Path):
    listed = write_copies(tmp_path, folders=3, copies=1)
    files = (tmp_path / "split.npz", listed, tmp_path / "photographs.npz")
    write_thumbnails(*files)
    paths = sorted((tmp_path / "thumbs").iterdir())
    whole, times = [p.read_bytes() for p in paths], [p.stat().st_mtime_ns for p in paths]
    paths[0].write_bytes(b"")
    paths[1].write_bytes(whole[1][:50] + bytes(len(whole[1]) - 50))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "thumbs" / f".x.jpeg.{machine()}.{dead.pid}.tmp").touch()
    write_thumbnails(*files)
    assert sorted((tmp_path / "thumbs").iterdir()) == paths
    assert [p.read_bytes() for p in paths] == whole
    assert paths[2].stat().st_mtime_ns == times[2]


def test_a_thumbnail_costs_no_look_at_its_folder(tmp_path: Path, monkeypatch):
    listed, looks, listdir = write_copies(tmp_path, folders=20, copies=1), [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: looks.append(folder) or listdir(folder))
    write_thumbnails(tmp_path / "split.npz", listed, tmp_path / "photographs.npz")
    assert len(looks) <= 3, "of orphans, of what left, and one beside the list"


def test_thumbnails_that_cannot_be_written_are_one_sentence(run, tmp_path: Path):
    run(assignments(["new-1"] * 3, [0.5] * 3))
    (tmp_path / "thumbs").write_text("a file")
    with pytest.raises(InputError, match=r"thumbs: cannot be written \(File exists\)"):
        write_thumbnails(tmp_path / "split.npz", tmp_path / "thumbs.tsv")
    assert not (tmp_path / "thumbs.tsv").exists()


def test_galleries_need_no_torch():
    code = (
        "import sys, gcdflow.categories.gallery, gcdflow.categories.thumbnails; "
        "print(sorted({'torch', 'timm', 'sklearn', 'scipy'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
