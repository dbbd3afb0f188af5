"""A folder of photographs with a CSV file of labels, and errors in them."""

import csv
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import PhotosSettings
from gcdflow.data.class_names import tidied
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.labels_table import LabelRow, read_labels
from gcdflow.data.datasets.photos import catalogue, labels_text, present_labels, without
from gcdflow.errors import InputError
from gcdflow.files.formats import Split, Truth
from gcdflow.planning.state import state_of_labels, state_of_photographs
from PIL import Image
from stage_processes import in_process

SCRIPTS = Path(__file__).parents[3] / "workflow_scripts"
ANEW = "snakemake --cores all runs/mine/gallery.html --forcerun dataset"

PATHS = ["a.jpg", "b.png", "c.JPG", "more/d.webp", "more/e.jpg", "f.jpg"]
TABLE = """path,label,split,truth
c.JPG,robin,,
a.jpg,,train,wren
more/d.webp,crow,train,crow
b.png,,test,robin
"""


@pytest.fixture
def settings(tmp_path) -> PhotosSettings:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, path in enumerate([*PATHS, ".hidden/x.jpg"]):
        Image.new("RGB", (8 + number, 9), (number, 0, 0)).save(folder / path)
    (folder / "notes.txt").write_text("no picture")
    (folder / "labels.csv").write_text(TABLE)
    return PhotosSettings(root=str(tmp_path), folder="photos")


def write(settings: PhotosSettings, text: str, **options):
    path = f"{settings.root}/photos/labels.csv"
    with open(path, "w", newline="", **({"encoding": "utf-8"} | options)) as file:
        file.write(text)


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


def test_spreadsheets(settings):
    expected = read_labels_of(settings)
    write(settings, TABLE.replace("\n", "\r\n"), encoding="utf-8-sig")
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace(",", ";"))
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace(",", " , ") + "\n,,,\n")
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace(",", "\t"))
    assert read_labels_of(settings) == expected
    assert [row.line for row in read_labels_of(settings)] == [2, 3, 4, 5]
    write(settings, TABLE.replace("path,label,split", '"Path","LABEL",Split'))
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace("\n", ",,\n"))  # empty columns
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace("robin,,", "robin"))  # missing cells
    assert read_labels_of(settings) == expected


def test_names_match_by_their_look(settings):
    write(settings, f"path,label\na.jpg,{unicodedata.normalize('NFD', 'Käfer')}\nf.jpg,Käfer\n")
    assert {row.label for row in read_labels_of(settings)} == {"Käfer"}
    write(settings, "path,label\na.jpg,hooded  crow\nf.jpg,hooded\u00a0 crow\n")
    assert {row.label for row in read_labels_of(settings)} == {"hooded crow"}
    write(settings, "path,label,truth\na.jpg,robin,\nf.jpg,,Robin\n")
    with pytest.raises(InputError, match=r"line 3: the class 'Robin' is 'robin' in another line"):
        read_labels_of(settings)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_paths_match_by_their_look(settings, on_disk, in_table):
    name = unicodedata.normalize(on_disk, "more/größe.jpg")
    shutil.copy(f"{settings.root}/photos/a.jpg", f"{settings.root}/photos/{name}")
    write(settings, f"path,label\n{unicodedata.normalize(in_table, name)},crow\n")
    found = catalogue(settings)
    assert found.paths[0] == name
    assert len(set(found.paths)) == len(found.paths) == 7
    split, _ = split_catalogue(found, settings)
    assert present_labels(table_of(settings), split, ANEW)[0].labels[0] == 0


def test_paths_as_on_windows(settings):
    write(settings, "path,label\nmore\\d.webp,crow\n.\\f.jpg,ant\n")
    assert catalogue(settings).paths[:2] == ["more/d.webp", "f.jpg"]
    shutil.copy(f"{settings.root}/photos/a.jpg", f"{settings.root}/photos/more\\d.webp")
    assert catalogue(settings).paths[0] == "more\\d.webp"  # this file exists
    write(settings, "path,label\nmore/e.jpg,crow\nmore\\e.jpg,\n")
    with pytest.raises(InputError, match=r"line 3: more/e\.jpg is listed a second time \(first: l"):
        catalogue(settings)


def test_a_path_in_other_case(settings):
    write(settings, "path,label\na.jpg,crow\nMORE\\D.webp,crow\n")
    with pytest.raises(InputError, match=r"line 3: no file MORE.* did you mean more/d\.webp\?"):
        catalogue(settings)


def table_of(settings) -> Path:
    return Path(settings.root) / "photos" / "labels.csv"


def read_labels_of(settings):
    return read_labels(table_of(settings))


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


def test_two_columns_are_enough(settings):
    write(settings, 'label,path\n"crow, black",./a.jpg\n')
    assert read_labels_of(settings) == [LabelRow("a.jpg", "crow, black")]
    assert catalogue(settings).class_names == ["crow, black"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the first line names no column 'path' \(found: none\); expected the columns path"),
        ("path;label;colour\n", r"the column 'colour' is not known \(found: path, label, colour\)"),
        (
            "path,name\na.jpg,x\n",
            r"names no column 'label' \(found: path, name\); expected the col",
        ),
        ("path,label,path\n", "the column 'path' occurs twice .*, each once"),
        (
            "path,label\na.jpg\n",
            "no photograph in the folder has a label; write the class",
        ),
        (
            "path,label\na.jpg,x,y\n",
            "line 2: 'y' is in a column without a name, expected cells for",
        ),
        ("path,label,,\na.jpg,x,,y\n", "line 2: 'y' is in a column without a name"),
        ('path,label\na.jpg,"x\n', "not a CSV file"),
        (
            "path,label\n/etc/passwd,x\n",
            "line 2: the path '/etc/passwd' is outside",
        ),
        ("path,label\n../a.jpg,x\n", "'../a.jpg' is outside the folder; .* relative to"),
        ("path,label\nmore/../../a.jpg,x\n", "is outside the folder"),
        ("path,label\n,x\n", "the path '' is outside"),
        ("path,label\na.jpg,x\n./a.jpg,\n", "line 3: a.jpg is listed a second time"),
        ("path,label,split\na.jpg,x,val\n", "split is 'val', expected train, test or nothing"),
        ("path,label,split\na.jpg,x,test\n", "a test image carries the label 'x'"),
        ("path,label,truth\na.jpg,x,y\n", "label 'x' and truth 'y' differ"),
        ("path,label\na.jpg,\n", "no photograph in the folder has a label"),
        ("path,label\n" + "".join(f"{p},x\n" for p in PATHS), "every image has a label already"),
    ],
)
def test_bad_tables(settings, text, message):
    write(settings, text)
    with pytest.raises(InputError, match=rf"labels\.csv.*{message}"):
        catalogue(settings)


def test_missing_files_and_foreign_text(settings):
    write(settings, TABLE.replace("wren", "größe"), encoding="latin1")
    with pytest.raises(InputError, match=r"labels\.csv: not UTF-8 text; save it as CSV in UTF-8"):
        catalogue(settings)
    absent = settings.model_copy(update={"labels": "absent.csv"})
    with pytest.raises(InputError, match=r"absent\.csv: no such file; write one with the columns"):
        catalogue(absent)
    absent = settings.model_copy(update={"folder": "absent"})
    with pytest.raises(InputError, match=r"dataset\.folder: no folder of photographs at .*absent"):
        catalogue(absent)


def test_listed_images_that_are_missing_or_broken(settings):
    write(settings, TABLE + "d.webp,,,\n")
    expected = r"labels\.csv, line 6: no file d\.webp in \S+/photos; did you mean more/d\.webp\?$"
    with pytest.raises(InputError, match=expected):
        catalogue(settings)
    write(settings, TABLE)
    with open(f"{settings.root}/photos/phone.heic", "wb") as file:
        file.write(b"\0\0\0\x18ftypheic")
    split, _ = split_catalogue(catalogue(settings), settings)
    unreadable = open_images(split.source, split.paths).unreadable(1)
    assert list(unreadable) == ["phone.heic"]
    assert unreadable["phone.heic"].startswith("not a readable image (")


def make_splits(settings, tmp_path) -> tuple[int, str]:
    arguments = ["--settings", settings.model_dump_json()]
    arguments += ["--split", tmp_path / "split.npz", "--truth", tmp_path / "truth.npz"]
    done = in_process("dataset", *arguments)
    return done.returncode, done.stderr


def damage(settings, *paths: str) -> None:
    for path in paths:
        (Path(settings.root) / "photos" / path).write_bytes(b"no picture")


def test_unreadable_photographs_are_left_out(settings, tmp_path):
    damage(settings, "more/d.webp", "f.jpg")
    (Path(settings.root) / "photos" / "link.jpg").symlink_to("gone.jpg")
    code, said = make_splits(settings, tmp_path)
    assert code == 0, said
    reason = "not a readable image (whatever its name says, its content is no known image format)"
    photos = f"{settings.root}/photos"
    assert f"warning: {photos}/more/d.webp: {reason}\n" in said
    assert f"warning: {photos}/f.jpg: {reason}\n" in said
    expected = "3 of 7 photographs cannot be read and are left out; no label is left of crow\n"
    assert f"warning: {photos}: {expected}" in said
    assert said.endswith(
        "photos: 4 samples, 3 for training (1 labelled), 2 classes (1 old); 3 left out\n"
    )
    split, truth = Split.load(tmp_path / "split.npz"), Truth.load(tmp_path / "truth.npz")
    assert split.paths.tolist() == ["c.JPG", "a.jpg", "b.png", "more/e.jpg"]
    assert split.labels.tolist() == [0, -1, -1, -1]
    assert truth.class_names.tolist() == ["robin", "wren"]
    assert truth.labels.tolist() == [0, 1, 0, -1]
    left_out = {"more/d.webp": reason, "f.jpg": reason, "link.jpg": "no such image"}
    assert split.left_out == left_out
    assert list(split.left_out) == sorted(left_out)


def test_excluded_photographs_do_not_count_as_new(settings, caplog):
    damage(settings, "more/d.webp", "f.jpg")
    found = catalogue(settings)
    unreadable = dict.fromkeys(["more/d.webp", "f.jpg"], "torn")
    split, _ = split_catalogue(without(settings, found, unreadable), settings)
    caplog.clear()
    _, words = present_labels(table_of(settings), split, ANEW)
    assert caplog.messages == []
    assert words == "0 added, 0 changed, 0 removed since training began"
    (Path(settings.root) / "photos" / "more" / "d.webp").unlink()  # although the table lists it
    present_labels(table_of(settings), split, ANEW)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (PATHS, r"photos: 6 of 6 images cannot be read: c\.JPG: not .* too many to leave out"),
        (PATHS[:4], r"photos: 4 of 6 images cannot be read: .* too many to leave out, put good"),
        (
            ["c.JPG", "more/d.webp"],
            r"no photograph in the folder has a label; .* \(2 of 6 images cannot be read: c\.",
        ),
    ],
)
def test_too_few_photographs_are_left(settings, tmp_path, paths, message):
    damage(settings, *paths)
    code, said = make_splits(settings, tmp_path)
    assert code == 2
    assert re.search(message, said.splitlines()[-1])
    assert not (tmp_path / "split.npz").exists()


def test_nothing_to_sort_is_left(settings, tmp_path):
    write(settings, "path,label\n" + "".join(f"{path},x\n" for path in PATHS[1:]))
    damage(settings, "a.jpg")
    code, said = make_splits(settings, tmp_path)
    assert code == 2
    assert "every image has a label already; there is nothing to sort (1 of 6 images" in said


def test_a_photograph_that_breaks_later_is_an_error(settings):
    split = split_of(settings)
    damage(settings, "f.jpg")
    images = open_images(split.source, split.paths)
    with pytest.raises(InputError, match=r"photos/f\.jpg: not a readable image"):
        images.read(range(len(images)))


def test_marks_for_nothing_in_labels(settings, caplog):
    write(settings, '"path","label"\n"a.jpg","robin"\n"c.JPG","None"\n"f.jpg",NA\n')
    with caplog.at_level(logging.INFO):
        found = catalogue(settings)
    assert found.class_names == ["robin"]
    assert found.labelled_mask.sum() == 1
    assert "cells that say nothing count as blank: 2 (1 × 'None', 1 × 'NA'); list" in caplog.text
    assert "real_classes" not in found.source
    with_none = settings.model_copy(update={"real_classes": ["none"]})
    found = catalogue(with_none)
    assert found.class_names == ["None", "robin"]
    assert found.labelled_mask.sum() == 2
    # The real classes of the split apply to corrections too.
    split = split_of(with_none)
    write(settings, "path,label\na.jpg,robin\nc.JPG,None\nf.jpg,None\nb.png,NA\n")
    labels, words = present_labels(table_of(settings), split, ANEW)
    assert labels.class_names.tolist() == ["None", "robin"]
    assert words == "1 added, 0 changed, 0 removed since training began"


@pytest.mark.parametrize("path", [" best of/a.png", "a, b.jpg ", '"c".jpg', "d\n.jpg", "e\\f.jpg"])
def test_a_line_can_name_any_path(settings, path):
    folder = Path(settings.root) / "photos"
    (folder / path).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "a.jpg", folder / path)
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow([path, "crow, NA"])
    write(settings, f"path,label\nc.JPG,robin\n{line.getvalue()}")
    found = catalogue(settings)
    assert found.class_names == ["crow, NA", "robin"]
    assert found.paths[1] == path
    assert found.labelled_mask[1]


def split_of(settings):
    return split_catalogue(catalogue(settings), settings)[0]


def test_corrections_after_training_began(settings):
    split = split_of(settings)
    same, words = present_labels(table_of(settings), split, ANEW)
    np.testing.assert_array_equal(same.labels, split.labels)
    assert words == "0 added, 0 changed, 0 removed since training began"
    write(settings, "path,label\nc.JPG,crow\na.jpg,wren\nf.jpg,ant\n")
    labels, words = present_labels(table_of(settings), split, ANEW)
    assert labels.class_names.tolist() == ["crow", "robin", "ant", "wren"]
    np.testing.assert_array_equal(labels.labels, [0, 3, -1, -1, 2, -1])
    np.testing.assert_array_equal(labels.indices, split.indices)
    assert words == "2 added, 1 changed, 1 removed since training began"


@pytest.mark.parametrize("other", ["c.JPG ,robin", "./c.JPG,robin", "\u200bc.JPG, robin"])
def test_a_photograph_may_be_listed_twice_in_two_spellings(settings, other):
    text = f"{TABLE}{other},,\n"
    write(settings, text)
    split = split_of(settings)
    labels, _ = present_labels(table_of(settings), split, ANEW)
    np.testing.assert_array_equal(labels.labels, split.labels)
    found = labels_text(table_of(settings), split)
    assert "".join(found.pieces) == text
    assert [found.pieces[cell.piece].strip() for cell in found.cells["c.JPG"]] == ["robin"] * 2


def test_files_that_are_no_photographs_by_their_names_are_not_sorted(settings, caplog):
    split, photos = split_of(settings), Path(settings.root) / "photos"
    shutil.copy(photos / "a.jpg", photos / ".hidden" / "new.jpg")
    shutil.copy(photos / "a.jpg", photos / "scan")
    write(settings, TABLE + ".hidden/new.jpg,gull,,\nscan,,,\n")
    labels, words = present_labels(table_of(settings), split, ANEW)
    np.testing.assert_array_equal(labels.labels, split.labels)
    assert words.startswith("0 added")
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "2 listed files not named like photographs, or in hidden folders" in record.getMessage()
    assert record.getMessage().endswith(
        f"(first: .hidden/new.jpg), not sorted; to include them, train again: {ANEW}"
    )
    caplog.clear()
    (photos / "movie.MP4").write_bytes(b"\0\0\0\x18ftypmp42")
    write(settings, TABLE + "movie.MP4,gull,,\n")
    present_labels(table_of(settings), split, ANEW)
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert (
        "labels.csv: 1 line of files that are no pictures (first: movie.MP4), which are not so"
        in (record.getMessage())
    )
    assert "train again" not in record.getMessage()


def test_photographs_that_are_gone_keep_their_lines(settings):
    split, photos = split_of(settings), Path(settings.root) / "photos"
    (photos / "c.JPG").unlink()
    (photos / "f.jpg").unlink()
    labels, _ = present_labels(table_of(settings), split, ANEW)
    np.testing.assert_array_equal(labels.labels, split.labels)
    shutil.rmtree(photos)
    with pytest.raises(
        InputError, match=r"dataset\.folder: no folder of photographs at .*photos; p"
    ):
        present_labels(table_of(settings), split, ANEW)


def test_a_missing_table_and_labels_that_are_gone(settings):
    split = split_of(settings)
    write(settings, "path,label\nc.JPG,\n")
    with pytest.raises(InputError, match=r"labels\.csv: no photograph in the folder has a lab"):
        present_labels(table_of(settings), split, ANEW)
    table_of(settings).unlink()
    with pytest.raises(InputError, match=r"labels\.csv: no such file; write one with the columns"):
        present_labels(table_of(settings), split, ANEW)


@pytest.mark.parametrize("path", ["gone.jpg", "x/../../photos/a.jpg"])
def test_a_listed_path_that_does_not_exist(settings, path):
    split = split_of(settings)
    write(settings, TABLE + f"{path},crow,,\n")
    expected = "line 6: no file gone.jpg in .*; correct the path, or remove the line|is outside"
    with pytest.raises(InputError, match=expected):
        present_labels(table_of(settings), split, ANEW)


def test_a_change_between_train_and_test_needs_a_new_training(settings):
    split = split_of(settings)
    write(settings, TABLE.replace("b.png,,test,robin", "b.png,robin,,"))
    expected = rf"line 5: the split of b\.png is train, but was test when .* train again: {ANEW}$"
    with pytest.raises(InputError, match=expected):
        present_labels(table_of(settings), split, ANEW)
    write(settings, TABLE.replace("a.jpg,,train", "a.jpg,,test"))
    with pytest.raises(InputError, match=r"the split of a\.jpg is test, but was train"):
        present_labels(table_of(settings), split, ANEW)


def test_a_split_of_another_dataset(settings, make_split):
    with pytest.raises(InputError, match=r"split\.npz: is not of a folder of photographs"):
        present_labels(table_of(settings), make_split(), "mine")


def test_listing_needs_no_numpy():
    code = "import sys, gcdflow.data.folder_scan; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0


def test_stage_names_its_run_by_the_folder(settings, tmp_path):
    split_of(settings).save(tmp_path / "runs" / "mine" / "split.npz")
    write(settings, TABLE.replace("a.jpg,,train", "a.jpg,,test"))
    arguments = ["--table", "photos/labels.csv", "--split", "runs/mine/split.npz"]
    arguments += ["--output", "runs/mine/labels.npz"]
    done = in_process("labels", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"train again: {ANEW}\n")
