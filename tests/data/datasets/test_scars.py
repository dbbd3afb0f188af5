"""A small copy of Stanford Cars, and errors in its MATLAB files."""

import json
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import BenchmarkSettings
from gcdflow.data.datasets import open_images, scars
from gcdflow.data.datasets.catalogue import published_split, split_catalogue
from gcdflow.errors import InputError
from PIL import Image
from scipy.io import savemat

NAMES = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van 2012"]
TRAIN = [2, 1, 3, 1, 2, 3]  # MATLAB counts from 1
TEST = [3, 3, 1, 2]
BOX = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2"]


def annotations(path: Path, classes: list | None, files: list | None = None) -> None:
    """The struct array of the devkit; the test split has no classes, as in Stanford's file."""
    n = len(classes or TEST)
    files = files or [f"{i + 1:05d}.jpg" for i in range(n)]
    fields = [*BOX, "class", "fname"] if classes else [*BOX, "fname"]
    table = np.zeros((1, n), dtype=[(field, object) for field in fields])
    for i in range(n):
        for field in BOX:
            table[field][0, i] = np.uint16(300 + i)
        table["fname"][0, i] = files[i]
        if classes:
            value = classes[i]
            table["class"][0, i] = np.uint8(value) if isinstance(value, int) else value
    savemat(path, {"annotations": table})


def write_names(folder: Path, names: list[str]) -> None:
    (folder / "devkit").mkdir(parents=True, exist_ok=True)
    cells = np.array([names], dtype=object)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": cells})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "stanford_cars"
    write_names(folder, NAMES)
    annotations(folder / "devkit" / "cars_train_annos.mat", TRAIN)
    annotations(folder / "devkit" / "cars_test_annos.mat", None)
    annotations(folder / "cars_test_annos_withlabels.mat", TEST)
    for split, n in (("cars_train", len(TRAIN)), ("cars_test", len(TEST))):
        (folder / split).mkdir()
        for i in range(n):
            Image.new("RGB", (8, 6), (30 * i, 0, 0)).save(folder / split / f"{i + 1:05d}.jpg")
    return tmp_path


def settings(root: Path, **changes) -> BenchmarkSettings:
    values = {"name": "scars", "root": str(root), "old_classes": [2, 0]}
    return BenchmarkSettings(**(values | changes))


def test_catalogue(root):
    found = scars.catalogue(settings(root))
    np.testing.assert_array_equal(found.classes, np.array(TRAIN + TEST) - 1)
    np.testing.assert_array_equal(found.train_mask, np.arange(10) < 6)
    assert found.classes.dtype == np.int64
    assert found.class_names == NAMES
    assert found.old_classes == [2, 0]
    assert found.paths[5:7] == ["cars_train/00006.jpg", "cars_test/00001.jpg"]
    assert json.loads(json.dumps(found.source)) == found.source


def test_images(root):
    split, truth = split_catalogue(scars.catalogue(settings(root)), settings(root))
    assert truth.class_names[truth.labels[0]] == NAMES[1]
    images = open_images(split.source, split.paths)
    images.check(2)
    assert abs(int(images.read([4])[0][0, 0, 0]) - 120) < 4
    (root / "stanford_cars" / "cars_test" / "00002.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"cars_test/00002\.jpg: not a readable image"):
        images.check(2)
    (root / "stanford_cars" / "cars_train" / "00003.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 10 listed images are missing \(first: cars_train/"):
        images.check(2)


def test_labels_of_the_test_split_may_be_in_the_devkit(root):
    folder = root / "stanford_cars"
    before = scars.catalogue(settings(root)).classes
    (folder / "cars_test_annos_withlabels.mat").rename(
        folder / "devkit" / "cars_test_annos_withlabels.mat"
    )
    np.testing.assert_array_equal(scars.catalogue(settings(root)).classes, before)


def test_another_folder(root):
    (root / "stanford_cars").rename(root / "cars")
    assert len(scars.catalogue(settings(root, folder="cars")).classes) == 10


def test_published_old_classes(root):
    """With all 196 names, the known classes are the published ones; fewer names are an error."""
    with pytest.raises(InputError, match=r"found 3 classes, expected the 196 of .*; to use oth"):
        scars.catalogue(settings(root, old_classes=None))
    names = [f"car {i + 1}" for i in range(196)]
    write_names(root / "stanford_cars", names)
    found = scars.catalogue(settings(root, old_classes=None))
    known = published_split("stanford_cars")["known_classes"]
    assert [names[i] for i in found.old_classes] == [f"car {i + 1}" for i in known]
    assert len(known) == 98


# -- errors ----------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    expected = (
        rf"dataset\.root: no Stanford Cars at {tmp_path}/stanford_cars \(expected .*cars_meta"
    )
    with pytest.raises(InputError, match=expected):
        scars.catalogue(settings(tmp_path))


def test_missing_annotations(root):
    (root / "stanford_cars" / "devkit" / "cars_train_annos.mat").unlink()
    with pytest.raises(InputError, match=r"cars_train_annos\.mat: no such file"):
        scars.catalogue(settings(root))


def test_test_split_without_labels(root):
    folder = root / "stanford_cars"
    (folder / "cars_test_annos_withlabels.mat").unlink()
    expected = (
        r"devkit/cars_test_annos_withlabels\.mat: no such file \(found only .*/cars_test_annos"
        rf"\.mat, without labels\); put cars_test_annos_withlabels\.mat there or in {folder}"
    )
    with pytest.raises(InputError, match=expected):
        scars.catalogue(settings(root))
    (folder / "devkit" / "cars_test_annos.mat").unlink()
    with pytest.raises(InputError, match=r"withlabels\.mat: no such file; put"):
        scars.catalogue(settings(root))


@pytest.mark.parametrize("name", ["cars_meta", "cars_train_annos"])
@pytest.mark.parametrize("cut", [0, 50, 200, -20])
def test_damaged_files(root, name, cut):
    path = root / "stanford_cars" / "devkit" / f"{name}.mat"
    path.write_bytes(path.read_bytes()[:cut] if cut else b"hello, I am no MATLAB file")
    expected = rf"{name}\.mat: (not a readable MATLAB file \(.+\)|has no variable)"
    with pytest.raises(InputError, match=expected):
        scars.catalogue(settings(root))


@pytest.mark.parametrize(
    ("classes", "files", "message"),
    [
        ([1, 4], None, r"entry 2: 'class' is 4, expected 1…3"),
        ([0, 1], None, r"entry 1: 'class' is 0, expected 1…3"),
        ([1, 1.5], None, r"entry 2: 'class' is 1\.5, expected 1…3"),
        ([1, "x"], None, r"entry 2: 'class' is x, expected 1…3"),
        ([1, np.array([1, 2])], None, r"entry 2: 'class' is \[1 2\], expected 1…3"),
        ([1, 2], ["a.jpg", 7], r"entry 2: 'fname' is not a file name"),
        ([1, 2], ["a.jpg", "a.jpg"], r"lists an image a second time"),
    ],
)
def test_bad_annotations(root, classes, files, message):
    annotations(root / "stanford_cars" / "devkit" / "cars_train_annos.mat", classes, files)
    with pytest.raises(InputError, match=rf"cars_train_annos\.mat(, |: ){message}"):
        scars.catalogue(settings(root))


def test_a_single_image(root):
    annotations(root / "stanford_cars" / "devkit" / "cars_train_annos.mat", [3])
    assert scars.catalogue(settings(root)).classes[0] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": 1}, r"has no variable 'annotations'"),
        ({"annotations": np.arange(3)}, r"'annotations' have no field 'class'"),
        ({"annotations": {"class": 1}}, r"'annotations' have no field 'fname'"),
    ],
)
def test_other_variables(root, content, message):
    savemat(root / "stanford_cars" / "devkit" / "cars_train_annos.mat", content)
    with pytest.raises(InputError, match=rf"cars_train_annos\.mat: {message}"):
        scars.catalogue(settings(root))


@pytest.mark.parametrize("names", [np.arange(3), np.array([[]], dtype=object)])
def test_bad_names(root, names):
    savemat(root / "stanford_cars" / "devkit" / "cars_meta.mat", {"class_names": names})
    with pytest.raises(InputError, match=r"cars_meta\.mat: 'class_names' is not a list of names"):
        scars.catalogue(settings(root))
