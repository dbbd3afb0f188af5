"""A folder for each category: what lies in it, and under which names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.folders import distinct_names, write_folders
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from small_tables import run_of, table_of

PATHS = ["a/1.jpg", "b/1.jpg", "b/2.JPG", "c.png"]
CATEGORIES = ["tit", "tit", "a/b", "tit"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run on four images, which lie beside it."""
    table = table_of(PATHS, CATEGORIES, [0.5] * len(PATHS))
    return run_of(tmp_path, table, "image_folder", "tit")


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


EXPECTED = {
    "a_b/2.JPG": "b/2.JPG",
    "tit/1 (2).jpg": "b/1.jpg",
    "tit/1.jpg": "a/1.jpg",
    "tit/c.png": "c.png",
}


def test_links_stay_right_when_all_moves_together(run: Path, tmp_path: Path):
    said = write_folders(run / "split.npz", run / "a.csv", run / "sorted")
    assert said == "4 links in 2 folders"
    assert contents(run / "sorted") == EXPECTED
    assert all(path.is_symlink() for path in (run / "sorted").rglob("*") if path.is_file())
    assert sorted(path.name for path in run.iterdir()) == ["a.csv", "sorted", "split.npz"]
    tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-elsewhere"))
    moved = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    assert contents(moved / "runs/mine/sorted") == EXPECTED


def test_a_run_in_a_linked_folder(run: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(run)
    write_folders(run / "split.npz", run / "a.csv", tmp_path / "link" / "sorted")
    assert contents(run / "sorted") == EXPECTED


def test_copies_are_files_of_their_own(run: Path, tmp_path: Path):
    said = write_folders(run / "split.npz", run / "a.csv", run / "sorted", copies=True)
    assert said == "4 copies in 2 folders"
    assert contents(run / "sorted") == EXPECTED
    (run / "sorted" / "tit" / "c.png").write_text("changed")
    assert (tmp_path / "images" / "c.png").read_text() == "c.png"


def test_names_that_every_file_system_takes():
    names = ["A", "a", "a (2)", ".hidden", "con", "COM1.txt", "x/y", "é?", " .. ", "", "n\n", "z. "]
    assert distinct_names(names) == [
        *("A", "a (2)", "a (2) (2)", "hidden", "_con", "_COM1.txt", "x_y", "é_", "_", "_ (2)"),
        *("n_", "z"),
    ]
    assert distinct_names(["St. A", "st. a", "b.JPG", "b.jpg"]) == [
        *("St. A", "st. a (2)", "b.JPG", "b (2).jpg"),
    ]
    (long,) = distinct_names(["é" * 300 + ".jpeg"])
    assert len(os.fsencode(long)) <= 210
    assert long.endswith(".jpeg")


@pytest.mark.parametrize(
    "name", ["St. " + "x" * 300, "Mr. " + "é" * 130, "a." + "x" * 300, "x. " * 100]
)
def test_a_dot_in_a_long_name_begins_no_ending(name: str, tmp_path: Path):
    for found in distinct_names([name, name]):
        (tmp_path / found).mkdir()
        assert len(os.fsencode(found)) <= 210
        assert not found.endswith((".", " "))


def test_a_missing_image_leaves_nothing(run: Path, tmp_path: Path):
    (tmp_path / "images" / "c.png").unlink()
    with pytest.raises(InputError, match=r"c\.png: no such image"):
        write_folders(run / "split.npz", run / "a.csv", run / "sorted")
    assert sorted(path.name for path in run.iterdir()) == ["a.csv", "split.npz"]


def test_images_in_memory_have_no_files(run: Path):
    split = Split.load(run / "split.npz")
    replace(split, source={"dataset": "digits"}, paths=np.array([], dtype=np.str_)).save(
        run / "split.npz"
    )
    with pytest.raises(InputError, match="'digits' has no image files"):
        write_folders(run / "split.npz", run / "a.csv", run / "sorted")
