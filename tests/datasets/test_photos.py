"""A folder of photographs with a CSV file of labels, and everything that can be wrong with it."""

import numpy as np
import pytest
from gcdflow.datasets import open_images
from gcdflow.datasets.catalogue import split_catalogue
from gcdflow.datasets.photos import Row, catalogue, present_labels, read_labels
from gcdflow.errors import InputError
from gcdflow.settings import PhotosSettings
from PIL import Image

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


def read_labels_of(settings):
    from pathlib import Path

    return read_labels(Path(settings.root) / "photos" / "labels.csv")


def test_two_columns_are_enough(settings):
    write(settings, 'label,path\n"crow, black",./a.jpg\n')
    assert read_labels_of(settings) == [Row("a.jpg", "crow, black")]
    assert catalogue(settings).class_names == ["crow, black"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line is '', expected the columns path and label"),
        ("path;label;colour\n", "the first line is 'path;label;colour', expected the columns"),
        ("path,name\na.jpg,x\n", "expected the columns path and label"),
        ("path,label,path\n", "each once"),
        ("path,label\na.jpg\n", "line 2: 1 cells, expected 2"),
        ("path,label\na.jpg,x,y\n", "line 2: 3 cells, expected 2"),
        ('path,label\na.jpg,"x\n', "not a CSV file"),
        (
            "path,label\n/etc/passwd,x\n",
            "line 2: the path '/etc/passwd' does not lie",
        ),
        ("path,label\n../a.jpg,x\n", "'../a.jpg' does not lie in the folder; .* relative to"),
        ("path,label\nmore/../../a.jpg,x\n", "does not lie in the folder"),
        ("path,label\n,x\n", "the path '' does not lie"),
        ("path,label\na.jpg,x\n./a.jpg,\n", "line 3: a.jpg is listed a second time"),
        ("path,label,split\na.jpg,x,val\n", "split is 'val', expected train, test or nothing"),
        ("path,label,split\na.jpg,x,test\n", "a test image carries the label 'x'"),
        ("path,label,truth\na.jpg,x,y\n", "label 'x' and truth 'y' differ"),
        ("path,label\na.jpg,\n", "no image has a label"),
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


def test_images_that_are_listed_but_absent_or_broken(settings):
    write(settings, TABLE + "gone.jpg,,,\n")
    split, _ = split_catalogue(catalogue(settings), settings)
    with pytest.raises(InputError, match=r"1 of 7 listed images are missing \(first: gone\.jpg\)"):
        open_images(split.source, split.paths).check(1)
    write(settings, TABLE)
    with open(f"{settings.root}/photos/phone.heic", "wb") as file:
        file.write(b"\0\0\0\x18ftypheic")
    split, _ = split_catalogue(catalogue(settings), settings)
    with pytest.raises(InputError, match=r"phone\.heic: not a readable image"):
        open_images(split.source, split.paths).check(1)


def test_corrections_after_training_began(settings, tmp_path):
    split, _ = split_catalogue(catalogue(settings), settings)
    table = tmp_path / "photos" / "labels.csv"
    same, words = present_labels(table, split)
    np.testing.assert_array_equal(same.labels, split.labels)
    assert words == "0 added, 0 changed, 0 removed since training began"
    write(settings, "path,label\nc.JPG,crow\na.jpg,wren\nf.jpg,ant\n")
    labels, words = present_labels(table, split)
    assert labels.class_names.tolist() == ["crow", "robin", "ant", "wren"]
    np.testing.assert_array_equal(labels.labels, [0, 3, -1, -1, 2, -1])
    np.testing.assert_array_equal(labels.indices, split.indices)
    assert words == "2 added, 1 changed, 1 removed since training began"


def test_new_photographs_need_a_new_split(settings, tmp_path):
    split, _ = split_catalogue(catalogue(settings), settings)
    write(settings, TABLE + "new.jpg,crow,,\n")
    with pytest.raises(InputError, match=r"1 paths are not .* \(first: new\.jpg\); .* --forcerun"):
        present_labels(tmp_path / "photos" / "labels.csv", split)
