"""The page of thumbnails: what it says, its scripts, and escaped names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.gallery_data import as_script_data, visible
from gcdflow.categories.next_step import NextStep
from gcdflow.errors import InputError
from gcdflow.files.formats import Features, Split
from parsed_page import Page, decoded
from small_tables import assignments
from stage_processes import SCRIPTS, in_process

EVIL = '<script>alert("1")</script>'


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
    page = run(table, next_step=NextStep(command, (251.0, 660.0)))
    assert "Next: train, which takes between 4 min and 11 min here, judging by" in page.text
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
