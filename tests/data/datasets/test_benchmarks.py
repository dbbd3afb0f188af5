"""CUB, FGVC-Aircraft and Stanford Cars in miniature, and all that can be wrong with their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from example_files import write_cars, write_cub, write_mat, write_numbered, write_variants
from gcdflow.config.settings import BenchmarkSettings
from gcdflow.data.datasets import dataset_module, open_images
from gcdflow.data.datasets.catalogue import Catalogue, published_split, split_catalogue
from gcdflow.errors import InputError
from PIL import Image
from scipy.io import savemat

BIRDS = [f"{c + 1:03d}.Bird_{c + 1}" for c in range(12)]
VARIANTS = ["707-320", "A300B4", "Challenger 600", "DC-3", "F-16A/B"]
TRAIN_PLANES = [("1025794", 0), ("1340192", 0), ("0056978", 2), ("0062765", 4), ("0075104", 1)]
TRAIN_PLANES += [("0075105", 3)]
TEST_PLANES = [("0034309", 4), ("0061581", 0), ("0091111", 3)]
CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van 2012"]
TRAIN_CARS, TEST_CARS = [2, 1, 3, 1, 2, 3], [3, 3, 1, 2]  # MATLAB counts from 1


def cub(root: Path) -> list[str]:
    return write_cub(root, 12)


def aircraft(root: Path) -> list[str]:
    for split, planes in (("trainval", TRAIN_PLANES), ("test", TEST_PLANES)):
        write_variants(root, split, [(image, VARIANTS[c]) for image, c in planes])
    return [f"{image}.jpg" for image, _ in TRAIN_PLANES + TEST_PLANES]


def scars(root: Path) -> list[str]:
    write_names(root, CARS)
    write_cars(root, "devkit/cars_train_annos", TRAIN_CARS)
    write_cars(root, "devkit/cars_test_annos", [None] * 4)
    write_cars(root, "cars_test_annos_withlabels", TEST_CARS)
    images = (("cars_train", len(TRAIN_CARS)), ("cars_test", len(TEST_CARS)))
    return [f"{split}/{i + 1:05d}.jpg" for split, n in images for i in range(n)]


def write_names(root: Path, names: list[str]) -> None:
    write_mat(root, "devkit/cars_meta", {"class_names": np.array([names], dtype=object)})


@dataclass
class Benchmark:
    """A dataset: its tables, the folder of its images, and what a catalogue of it must be."""

    write: Callable[[Path], list[str]]
    images: str
    names: list[str]
    classes: list[int]
    train: list[bool]
    old: dict[object, int]
    tables: str


BENCHMARKS = {
    "cub": Benchmark(
        cub,
        "CUB_200_2011/images",
        BIRDS,
        classes=[c for c in range(12) for _ in range(3)],
        train=[True, True, False] * 12,
        old={c: c for c in (3, 0, 5, 7, 9, 11)},
        tables="images.txt",
    ),
    "aircraft": Benchmark(
        aircraft,
        "fgvc-aircraft-2013b/data/images",
        VARIANTS,
        classes=[c for _, c in TRAIN_PLANES + TEST_PLANES],
        train=[True] * 6 + [False] * 3,
        old={"F-16A/B": 4, "707-320": 0},
        tables="trainval.txt",
    ),
    "scars": Benchmark(
        scars,
        "stanford_cars",
        CARS,
        classes=[c - 1 for c in TRAIN_CARS + TEST_CARS],
        train=[True] * 6 + [False] * 4,
        old={2: 2, 0: 0},
        tables="cars_meta",
    ),
}


@pytest.fixture(params=BENCHMARKS)
def name(request) -> str:
    return request.param


@pytest.fixture
def root(tmp_path: Path, name: str) -> Path:
    """The dataset with images; the grey level tells which it is."""
    images = tmp_path / BENCHMARKS[name].images
    for number, path in enumerate(BENCHMARKS[name].write(tmp_path)):
        (images / path).parent.mkdir(parents=True, exist_ok=True)
        size = (20, 14) if number % 2 else (13, 21)  # width, height
        Image.new("RGB", size, (5 * number, 20, 30)).save(images / path, "jpeg", quality=95)
    return tmp_path


def settings(name: str, root: Path, **changes) -> BenchmarkSettings:
    values = {"name": name, "root": str(root), "old_classes": list(BENCHMARKS[name].old)}
    return BenchmarkSettings(**(values | changes))


def catalogue(name: str, root: Path, **changes) -> Catalogue:
    return dataset_module(name).catalogue(settings(name, root, **changes))


def test_catalogue(name, root):
    found, expected = catalogue(name, root), BENCHMARKS[name]
    assert found.classes.dtype == np.int64
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_array_equal(found.train_mask, expected.train)
    assert found.class_names == expected.names
    assert found.old_classes == list(expected.old.values())
    assert found.paths == expected.write(root)
    assert json.loads(json.dumps(found.source)) == found.source


def test_images_follow_the_split(name, root):
    expected = BENCHMARKS[name]
    split, truth = split_catalogue(catalogue(name, root), settings(name, root))
    first, *_ = expected.old.values()
    assert split.old_class_names[0] == expected.names[first]
    assert truth.class_names[truth.labels[0]] == expected.names[expected.classes[0]]
    images = open_images(split.source, split.paths)
    assert images.needs_workers
    images.check(2)
    last = len(images) - 1
    for image, number in zip(images.read([last, 1]), (last, 1), strict=True):
        assert image.shape == ((14, 20, 3) if number % 2 else (21, 13, 3))
        np.testing.assert_allclose(image.mean(axis=(0, 1)), [5 * number, 20, 30], atol=3)
    files = [root / expected.images / path for path in split.paths.tolist()]
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{split.paths[-1]}: not a readable image"):
        images.check(2)
    files[4].unlink()
    n = len(files)
    with pytest.raises(
        InputError, match=rf"1 of {n} listed images are missing .first: {split.paths[4]}\)"
    ):
        images.check(2)


def test_another_folder(name, root):
    folder = BENCHMARKS[name].images.split("/")[0]
    (root / folder).rename(root / "other")
    assert len(catalogue(name, root, folder="other").classes) == len(BENCHMARKS[name].classes)


def test_missing_folder(name, tmp_path):
    folder, tables = BENCHMARKS[name].images.split("/")[0], BENCHMARKS[name].tables
    expected = rf"dataset\.root: no .* at {tmp_path}/{folder} \(expected .*{tables}"
    with pytest.raises(InputError, match=expected):
        catalogue(name, tmp_path)


def write_many_birds(root: Path) -> list[str]:
    names = [f"{i + 1:03d}.Bird_{i + 1}" for i in range(200)]
    write_numbered(root / "CUB_200_2011" / "classes.txt", names)
    return names


def write_many_planes(root: Path) -> list[str]:
    variants = [f"variant {i:02d}" for i in range(100)]
    order = np.random.default_rng(0).permutation(100)
    write_variants(root, "trainval", [(f"{i:07d}", variants[i]) for i in order])
    write_variants(root, "test", [("1234567", "variant 03")])
    return variants


def write_many_cars(root: Path) -> list[str]:
    names = [f"car {i + 1}" for i in range(196)]
    write_names(root, names)
    return names


@pytest.mark.parametrize(
    ("name", "published", "write"),
    [
        ("cub", "cub", write_many_birds),
        ("aircraft", "fgvc_aircraft", write_many_planes),
        ("scars", "stanford_cars", write_many_cars),
    ],
)
def test_published_old_classes(root, name, published, write):
    """With all names the old classes are the published ones; with fewer, a sentence."""
    n = len(BENCHMARKS[name].names)
    with pytest.raises(InputError, match=rf"found {n} classes, expected the .*; to use others"):
        catalogue(name, root, old_classes=None)
    names, known = write(root), published_split(published)["known_classes"]
    found = catalogue(name, root, old_classes=None)
    assert [found.class_names[c] for c in found.old_classes] == [names[i] for i in known]
    assert len(known) == len(names) // 2


# -- CUB -------------------------------------------------------------------------------------------


@pytest.fixture
def cub_root(tmp_path: Path) -> Path:
    cub(tmp_path)
    return tmp_path


def test_order_of_lines_does_not_matter(cub_root):
    expected = catalogue("cub", cub_root)
    for name in ("images", "image_class_labels", "train_test_split", "classes"):
        path = cub_root / "CUB_200_2011" / f"{name}.txt"
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[5:] + lines[:5]))
    found = catalogue("cub", cub_root)
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value)


@pytest.mark.parametrize("table", ["image_class_labels", "train_test_split", "classes"])
def test_missing_file(cub_root, table):
    (cub_root / "CUB_200_2011" / f"{table}.txt").unlink()
    with pytest.raises(InputError, match=rf"{table}\.txt: cannot be read \(No such file"):
        catalogue("cub", cub_root)


@pytest.mark.parametrize(
    ("table", "text", "message"),
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
def test_bad_lines_of_cub(cub_root, table, text, message):
    path = cub_root / "CUB_200_2011" / f"{table}.txt"
    lines = path.read_bytes().splitlines()
    lines[3] = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match=message):
        catalogue("cub", cub_root)


# -- FGVC-Aircraft ---------------------------------------------------------------------------------


@pytest.fixture
def planes(tmp_path: Path) -> Path:
    aircraft(tmp_path)
    return tmp_path


def test_missing_list(planes):
    (planes / "fgvc-aircraft-2013b" / "data" / "images_variant_test.txt").unlink()
    with pytest.raises(InputError, match=r"images_variant_test\.txt: cannot be read \(No such"):
        catalogue("aircraft", planes)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("2", "Concorde")], r"variant 'Concorde' is not in images_variant_trainval\.txt"),
        ([("0056978", "DC-3")], r"image 0056978 is in images_variant_trainval"),
    ],
)
def test_lists_that_disagree(planes, pairs, message):
    write_variants(planes, "test", [("1", "707-320"), *pairs])
    with pytest.raises(InputError, match=rf"images_variant_test\.txt: {message}"):
        catalogue("aircraft", planes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1 A\n2\n", r", line 2: expected '<image> <variant>', found '2'"),
        (b"1 A\n2  \n", r", line 2: expected '<image> <variant>', found '2  '"),
        (b"1 A\n\n2 A\n", r", line 2: expected '<image> <variant>', found ''"),
        (b"1 A\n B\n", r", line 2: expected '<image> <variant>', found ' B'"),
        (b"1 A\n1 B\n", r", line 2: image 1 is listed a second time"),
        (b"1 \xff\n", r": cannot be read \(not UTF-8 text\)"),
        (b"", r": lists no images"),
    ],
)
@pytest.mark.parametrize("split", ["trainval", "test"])
def test_bad_lines_of_aircraft(planes, split, content, message):
    path = planes / "fgvc-aircraft-2013b" / "data" / f"images_variant_{split}.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"images_variant_{split}\.txt{message}"):
        catalogue("aircraft", planes)


# -- Stanford Cars ---------------------------------------------------------------------------------


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    scars(tmp_path)
    return tmp_path / "stanford_cars" / "devkit"


def cars(devkit: Path) -> Catalogue:
    return catalogue("scars", devkit.parents[1])


def test_labels_of_the_test_split_may_be_in_the_devkit(devkit):
    before, name = cars(devkit).classes, "cars_test_annos_withlabels.mat"
    (devkit.parent / name).rename(devkit / name)
    np.testing.assert_array_equal(cars(devkit).classes, before)


def test_missing_annotations(devkit):
    (devkit / "cars_train_annos.mat").unlink()
    with pytest.raises(InputError, match=r"cars_train_annos\.mat: no such file"):
        cars(devkit)


def test_test_split_without_labels(devkit):
    (devkit.parent / "cars_test_annos_withlabels.mat").unlink()
    expected = (
        r"devkit/cars_test_annos_withlabels\.mat: no such file \(found only .*/cars_test_annos"
        rf"\.mat, without labels\); put cars_test_annos_withlabels\.mat there or in {devkit.parent}"
    )
    with pytest.raises(InputError, match=expected):
        cars(devkit)
    (devkit / "cars_test_annos.mat").unlink()
    with pytest.raises(InputError, match=r"withlabels\.mat: no such file; put"):
        cars(devkit)


@pytest.mark.parametrize("table", ["cars_meta", "cars_train_annos"])
@pytest.mark.parametrize("cut", [0, 50, 200, -20])
def test_damaged_files(devkit, table, cut):
    path = devkit / f"{table}.mat"
    path.write_bytes(path.read_bytes()[:cut] if cut else b"hello, I am no MATLAB file")
    expected = rf"{table}\.mat: (not a readable MATLAB file \(.+\)|has no variable)"
    with pytest.raises(InputError, match=expected):
        cars(devkit)


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
def test_bad_annotations(devkit, classes, files, message):
    write_cars(devkit.parents[1], "devkit/cars_train_annos", classes, files)
    with pytest.raises(InputError, match=rf"cars_train_annos\.mat(, |: ){message}"):
        cars(devkit)


def test_a_single_image(devkit):
    write_cars(devkit.parents[1], "devkit/cars_train_annos", [3])
    assert cars(devkit).classes[0] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": 1}, r"has no variable 'annotations'"),
        ({"annotations": np.arange(3)}, r"'annotations' have no field 'class'"),
        ({"annotations": {"class": 1}}, r"'annotations' have no field 'fname'"),
    ],
)
def test_other_variables(devkit, content, message):
    savemat(devkit / "cars_train_annos.mat", content)
    with pytest.raises(InputError, match=rf"cars_train_annos\.mat: {message}"):
        cars(devkit)


@pytest.mark.parametrize("names", [np.arange(3), np.array([[]], dtype=object)])
def test_bad_names(devkit, names):
    savemat(devkit / "cars_meta.mat", {"class_names": names})
    with pytest.raises(InputError, match=r"cars_meta\.mat: 'class_names' is not a list of names"):
        cars(devkit)
