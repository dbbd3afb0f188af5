"""A folder of photographs with a CSV file of labels: which files are sorted, and noticed."""

import logging
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from gcdflow.data.class_names import tidied
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.photos import catalogue
from gcdflow.planning.state import state_of_labels, state_of_photographs
from small_photos import PATHS, TABLE, table_of, write

SCRIPTS = Path(__file__).parents[3] / "workflow_scripts"


def test_catalogue(settings):
    found = catalogue(settings)
    assert found.paths == ["c.JPG", "a.jpg", "more/d.webp", "b.png", "f.jpg", "more/e.jpg"]
    assert found.class_names == ["crow", "robin", "wren"]
    assert found.old_classes == [0, 1]
    np.testing.assert_array_equal(found.classes, [1, 2, 0, 1, -1, -1])
    np.testing.assert_array_equal(found.train_mask, [True, True, True, False, True, True])
    np.testing.assert_array_equal(found.labelled_mask, [True, False, True, False, False, False])


def test_split_shows_the_labels_and_hides_the_truth(settings):
    split, truth = split_catalogue(catalogue(settings), settings)
    np.testing.assert_array_equal(split.labels, [1, -1, 0, -1, -1, -1])
    assert split.old_class_names.tolist() == ["crow", "robin"]
    np.testing.assert_array_equal(truth.labels, [1, 2, 0, 1, -1, -1])
    np.testing.assert_array_equal(truth.old_mask, [True, False, True, True, False, False])
    images = open_images(split.source, split.paths)
    assert images.read([0])[0].shape == (9, 10, 3)
    images.check(2)


def test_links_are_followed_and_other_files_counted(settings, caplog):
    photos = Path(settings.root) / "photos"
    for folder in ("@eaDir", ".thumbnails", "more/.cache"):
        (photos / folder).mkdir()
        shutil.copy(photos / "a.jpg", photos / folder / "a.jpg")
    album = Path(settings.root) / "album"
    album.mkdir()
    shutil.copy(photos / "a.jpg", album / "linked.JPG")
    (album / "clip.MOV").write_text("")
    (photos / "album").symlink_to(album)
    (album / "again").symlink_to(photos)
    (photos / "README").write_text("")
    with caplog.at_level(logging.INFO):
        found = catalogue(settings)
    assert sorted(found.paths) == sorted([*PATHS, "album/linked.JPG"])
    (message,) = caplog.messages
    start, kinds = message.split(": left out ")
    assert start == str(photos)
    folders = ["@eaDir/", ".thumbnails/", ".hidden/", ".cache/", "again/ (a link back)"]
    expected = {f"1 × {kind}" for kind in (*folders, ".mov", ".txt", "no suffix")}
    assert set(kinds.split(", ")) == expected


def test_files_of_programs_are_not_sorted(settings, caplog):
    photos = Path(settings.root) / "photos"
    machines = ["$RECYCLE.BIN/S-1-5-21/$R1.jpg", "#recycle/old.jpg", "@Recycle/old.jpg"]
    machines += ["more/@eaDir/d.webp/SYNOPHOTO_THUMB_M.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg"]
    machines += ["Lightroom Catalog Previews.lrdata/0/a.jpg", ".Trash-1000/files/a.jpg", "._a.jpg"]
    ours = ["recycled/a.jpg", "Trash/a.jpg", "Originals/a.jpg", "eaDir/a.jpg", "thumbnails/a.jpg"]
    before = state_of_photographs(photos, table_of(settings))
    for name in machines:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "a.jpg", photos / name)
    assert state_of_photographs(photos, table_of(settings)) == before
    for name in ours:
        (photos / name).parent.mkdir()
        shutil.copy(photos / "a.jpg", photos / name)
    with caplog.at_level(logging.INFO):
        assert set(catalogue(settings).paths) == {*PATHS, *ours}
    (message,) = caplog.messages
    write(settings, TABLE + "#recycle/old.jpg,robin,,\n")  # listed in the table
    assert set(catalogue(settings).paths) == {*PATHS, *ours, "#recycle/old.jpg"}
    assert "2 × @eaDir/" in message
    assert "1 × ._*.jpg" in message
    assert "1 × #recycle/" in message


def test_a_picture_that_was_changed_without_another_size_is_noticed(settings):
    photos = Path(settings.root) / "photos"
    before = (
        state_of_photographs(photos, table_of(settings)),
        state_of_labels(photos, table_of(settings)),
    )
    assert before == (
        state_of_photographs(photos, table_of(settings)),
        state_of_labels(photos, table_of(settings)),
    )
    content = (photos / "a.jpg").read_bytes()
    (photos / "a.jpg").write_bytes(content[:-1] + b"x")
    os.utime(photos / "a.jpg", ns=(1, 1))  # clocks may be too coarse for a test
    changed = (
        state_of_photographs(photos, table_of(settings)),
        state_of_labels(photos, table_of(settings)),
    )
    assert changed[0] != before[0]
    assert changed[1] != before[1]
    # One that the table does not list has nothing to do with the labels.
    os.utime(photos / "f.jpg", ns=(1, 1))
    assert state_of_photographs(photos, table_of(settings)) != changed[0]
    assert state_of_labels(photos, table_of(settings)) == changed[1]


@pytest.mark.parametrize(
    "name", ["Abend\u202f1.png", " a\u00a0 b.png", unicodedata.normalize("NFD", "ä.png")]
)
def test_a_listed_picture_is_noticed_by_the_look_of_its_name(settings, name):
    """A line without another label gets a new clustering if its picture is another one."""
    photos = Path(settings.root) / "photos"
    shutil.copy(photos / "b.png", photos / name)
    write(settings, TABLE + f" ./{tidied(name)},robin,,\n")
    assert name in catalogue(settings).paths[:5]
    before = state_of_labels(photos, table_of(settings))
    os.utime(photos / name, ns=(1, 1))
    assert state_of_labels(photos, table_of(settings)) != before


@pytest.mark.parametrize("path", [".hidden/x.jpg", "more/notes.txt", ".hidden\\x.jpg"])
def test_a_listed_picture_elsewhere_is_noticed(settings, path):
    """Those in hidden folders and with other suffixes are samples only if a line lists them."""
    photos = Path(settings.root) / "photos"
    shutil.copy(photos / "a.jpg", photos / "more/notes.txt")

    def state() -> tuple[str, str]:
        table = table_of(settings)
        return state_of_photographs(photos, table), state_of_labels(photos, table)

    write(settings, TABLE + f"{path},crow,,\n")
    file = path.replace("\\", "/")
    assert file in catalogue(settings).paths
    before = state()
    os.utime(photos / file, ns=(1, 1))
    changed = state()
    (photos / file).unlink()
    assert all(len({*states}) == 3 for states in zip(before, changed, state(), strict=True))


@pytest.mark.parametrize("name", ["x.jfif", "x.JPE", "x.dng", "x.CR3", "x.nef", "x.heic"])
def test_formats_that_pillow_does_not_read_are_listed(settings, name):
    shutil.copy(f"{settings.root}/photos/a.jpg", f"{settings.root}/photos/{name}")
    assert name in catalogue(settings).paths


def test_listing_needs_no_numpy():
    code = "import sys, gcdflow.data.folder_scan; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0
