"""Labels of photographs that change after training began."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from gcdflow.data.datasets.photos import labels_text, present_labels
from gcdflow.errors import InputError
from small_photos import ANEW, TABLE, split_of, table_of, write
from stage_processes import in_process


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


def test_stage_names_its_run_by_the_folder(settings, tmp_path):
    split_of(settings).save(tmp_path / "runs" / "mine" / "split.npz")
    write(settings, TABLE.replace("a.jpg,,train", "a.jpg,,test"))
    arguments = ["--table", "photos/labels.csv", "--split", "runs/mine/split.npz"]
    arguments += ["--output", "runs/mine/labels.npz"]
    done = in_process("labels", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(f"train again: {ANEW}\n")
