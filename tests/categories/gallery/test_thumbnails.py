"""Thumbnails in the page and in a folder beside it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories import thumbnails
from gcdflow.categories.thumbnails import thumbnail, tile_side, write_thumbnails
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Photographs, Split
from gcdflow.files.processes import machine
from parsed_page import decoded
from PIL import Image
from small_tables import assignments


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
