"""A small dataset in CUB's format, and errors in its files."""

import json
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import BenchmarkSettings
from gcdflow.data.datasets import cub, open_images
from gcdflow.data.datasets.catalogue import published_split, split_catalogue
from gcdflow.errors import InputError
from PIL import Image

N_CLASSES, PER_CLASS = 12, 3
NAMES = [f"{c + 1:03d}.Bird_{c + 1}" for c in range(N_CLASSES)]


def table(path: Path, values: list) -> None:
    path.write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, start=1)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """12 classes of 3 images, the last of each for testing; the grey level identifies the image."""
    folder = tmp_path / "CUB_200_2011"
    paths = [f"{name}/{name[4:]}_{i:04d}.jpg" for name in NAMES for i in range(PER_CLASS)]
    for number, path in enumerate(paths):
        (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        size = (20, 14) if number % 2 else (13, 21)  # width, height
        Image.new("RGB", size, (5 * number, 20, 30)).save(folder / "images" / path, quality=95)
    table(folder / "images.txt", paths)
    table(folder / "classes.txt", NAMES)
    table(
        folder / "image_class_labels.txt",
        [c + 1 for c in range(N_CLASSES) for _ in range(PER_CLASS)],
    )
    table(folder / "train_test_split.txt", [1, 1, 0] * N_CLASSES)
    return tmp_path


def settings(root: Path, **changes) -> BenchmarkSettings:
    values = {"name": "cub", "root": str(root), "old_classes": [3, 0, 5, 7, 9, 11]}
    return BenchmarkSettings(**(values | changes))


def test_catalogue(root):
    found = cub.catalogue(settings(root))
    np.testing.assert_array_equal(found.classes, np.repeat(np.arange(N_CLASSES), PER_CLASS))
    np.testing.assert_array_equal(found.train_mask, [True, True, False] * N_CLASSES)
    assert found.class_names == NAMES
    assert found.old_classes == [3, 0, 5, 7, 9, 11]
    assert found.paths[4] == "002.Bird_2/Bird_2_0001.jpg"
    assert json.loads(json.dumps(found.source)) == found.source


def test_order_of_lines_does_not_matter(root):
    expected = cub.catalogue(settings(root))
    for name in ("images", "image_class_labels", "train_test_split", "classes"):
        path = root / "CUB_200_2011" / f"{name}.txt"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[5:] + lines[:5]))
    found = cub.catalogue(settings(root))
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_images_follow_the_split(root):
    split, truth = split_catalogue(cub.catalogue(settings(root)), settings(root))
    assert split.labelled_mask.sum() == 6
    assert split.old_class_names[0] == NAMES[3]
    assert truth.class_names[6] == NAMES[1]
    images = open_images(split.source, split.paths)
    assert images.needs_workers
    assert len(images) == N_CLASSES * PER_CLASS
    read = images.read([30, 1])
    assert [tuple(image.shape) for image in read] == [(21, 13, 3), (14, 20, 3)]
    for image, number in zip(read, (30, 1), strict=True):
        expected = np.array([5 * number, 20, 30])
        np.testing.assert_allclose(image.mean(axis=(0, 1)), expected, atol=3)


def test_published_old_classes(root):
    """With all 200 names, the old classes are the published ones; fewer names are an error."""
    with pytest.raises(
        InputError, match=r"found 12 classes, expected the 200 of .*; to use others, list"
    ):
        cub.catalogue(settings(root, old_classes=None))
    names = [f"{i + 1:03d}.Bird_{i + 1}" for i in range(200)]
    table(root / "CUB_200_2011" / "classes.txt", names)
    found = cub.catalogue(settings(root, old_classes=None))
    known = published_split("cub")["known_classes"]
    assert [names[c] for c in found.old_classes] == [f"{i + 1:03d}.Bird_{i + 1}" for i in known]
    assert len(known) == 100


def test_another_folder(root):
    (root / "CUB_200_2011").rename(root / "birds")
    assert len(cub.catalogue(settings(root, folder="birds")).classes) == N_CLASSES * PER_CLASS


# -- errors ----------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    expected = rf"dataset\.root: no CUB images at {tmp_path}/CUB_200_2011 \(expected .*images\.txt"
    with pytest.raises(InputError, match=expected):
        cub.catalogue(settings(tmp_path))


@pytest.mark.parametrize("name", ["image_class_labels", "train_test_split", "classes"])
def test_missing_file(root, name):
    (root / "CUB_200_2011" / f"{name}.txt").unlink()
    with pytest.raises(InputError, match=rf"{name}\.txt: cannot be read \(No such file"):
        cub.catalogue(settings(root))


def test_missing_images(root):
    for number in (1, 2):
        (root / f"CUB_200_2011/images/{NAMES[1]}/Bird_2_{number:04d}.jpg").unlink()
    found = cub.catalogue(settings(root))
    expected = r"2 of 36 listed images are missing \(first: 002\.Bird_2/Bird_2_0001\.jpg\)"
    with pytest.raises(InputError, match=expected):
        open_images(found.source, np.array(found.paths)).check(2)


def replaced(root: Path, name: str, line: int, text: str | bytes) -> None:
    path = root / "CUB_200_2011" / f"{name}.txt"
    lines = path.read_bytes().splitlines()
    lines[line - 1] = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(b"\n".join(lines))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images", "x y", r"images\.txt, line 4: expected '<id> <value>', found 'x y'"),
        ("images", "4", r"images\.txt, line 4: expected '<id> <value>', found '4'"),
        ("images", "", r"images\.txt, line 4: expected '<id> <value>', found ''"),
        ("images", "² a.jpg", r"images\.txt, line 4: expected '<id> <value>'"),
        ("classes", "4  ", r"classes\.txt, line 4: expected '<id> <value>'"),
        ("images", b"4 \xff.jpg", r"images\.txt: cannot be read \(not UTF-8 text\)"),
        ("images", "3 a.jpg", r"images\.txt, line 4: id 3 is listed a second time"),
        ("image_class_labels", "99 1", r"image_class_labels\.txt: lists other image ids than"),
        ("train_test_split", "99 1", r"train_test_split\.txt: lists other image ids than images"),
        ("image_class_labels", "4 13", r"class ids \['13'\] are not in classes\.txt"),
        ("image_class_labels", "4 duck", r"class ids \['duck'\] are not in classes\.txt"),
        ("classes", "77 Nobody", r"class ids \['4'\] are not in classes\.txt"),
        ("train_test_split", "4 2", r"train_test_split\.txt: expected 1 \(training\) or 0 .* '2'"),
    ],
)
def test_bad_lines(root, name, text, message):
    replaced(root, name, 4, text)
    with pytest.raises(InputError, match=message):
        cub.catalogue(settings(root))
