"""A small copy of FGVC-Aircraft, and errors in its text files."""

import json
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import BenchmarkSettings
from gcdflow.data.datasets import aircraft, open_images
from gcdflow.data.datasets.catalogue import published_split, split_catalogue
from gcdflow.errors import InputError
from PIL import Image

TRAIN = [
    ("1025794", "707-320"),
    ("1340192", "707-320"),
    ("0056978", "Challenger 600"),
    ("0062765", "F-16A/B"),
    ("0075104", "A300B4"),
    ("0075105", "DC-3"),
]
TEST = [("0034309", "F-16A/B"), ("0061581", "707-320"), ("0091111", "DC-3")]
NAMES = ["707-320", "A300B4", "Challenger 600", "DC-3", "F-16A/B"]


def write_list(root: Path, split: str, pairs: list[tuple[str, str]]) -> None:
    path = root / "fgvc-aircraft-2013b" / "data" / f"images_variant_{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{image} {variant}\n" for image, variant in pairs))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_list(tmp_path, "trainval", TRAIN)
    write_list(tmp_path, "test", TEST)
    folder = tmp_path / "fgvc-aircraft-2013b" / "data" / "images"
    folder.mkdir()
    for number, (image, _) in enumerate(TRAIN + TEST):
        Image.new("RGB", (12, 9), (0, 20 * number, 0)).save(folder / f"{image}.jpg")
    return tmp_path


def settings(root: Path, **changes) -> BenchmarkSettings:
    values = {"name": "aircraft", "root": str(root), "old_classes": ["F-16A/B", "707-320"]}
    return BenchmarkSettings(**(values | changes))


def test_catalogue(root):
    found = aircraft.catalogue(settings(root))
    assert found.class_names == NAMES
    assert [NAMES[c] for c in found.classes] == [variant for _, variant in TRAIN + TEST]
    np.testing.assert_array_equal(found.train_mask, np.arange(9) < 6)
    assert found.old_classes == [4, 0]
    assert found.paths == [f"{image}.jpg" for image, _ in TRAIN + TEST]
    assert json.loads(json.dumps(found.source)) == found.source


def test_images(root):
    split, truth = split_catalogue(aircraft.catalogue(settings(root)), settings(root))
    assert truth.class_names[truth.labels[2]] == "Challenger 600"
    images = open_images(split.source, split.paths)
    images.check(2)
    assert abs(int(images.read([7])[0][0, 0, 1]) - 140) < 4
    folder = root / "fgvc-aircraft-2013b" / "data" / "images"
    (folder / "0061581.jpg").write_bytes((folder / "0061581.jpg").read_bytes()[:100])
    with pytest.raises(InputError, match=r"0061581\.jpg: not a readable image"):
        images.check(2)
    (folder / "0062765.jpg").unlink()
    with pytest.raises(InputError, match=r"1 of 9 listed images are missing \(first: 0062765"):
        images.check(2)


def test_another_folder(root):
    (root / "fgvc-aircraft-2013b").rename(root / "planes")
    assert len(aircraft.catalogue(settings(root, folder="planes")).classes) == 9


def test_published_old_classes(root):
    """With 100 variants in any order, the known classes have the published ranks of their names."""
    variants = [f"variant {i:02d}" for i in range(100)]
    order = np.random.default_rng(0).permutation(100)
    write_list(root, "trainval", [(f"{i:07d}", variants[i]) for i in order])
    write_list(root, "test", [("1234567", "variant 03")])
    found = aircraft.catalogue(settings(root, old_classes=None))
    known = published_split("fgvc_aircraft")["known_classes"]
    assert [found.class_names[c] for c in found.old_classes] == [variants[i] for i in known]
    assert len(known) == 50
    write_list(root, "trainval", [(f"{i:07d}", variants[i]) for i in order] + [("a", "b")])
    expected = r"found 101 classes, expected the 100 of .*; to use others, list names in"
    with pytest.raises(InputError, match=expected):
        aircraft.catalogue(settings(root, old_classes=None))
    assert aircraft.catalogue(settings(root, old_classes=["b"])).old_classes == [0]


# -- errors ----------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    expected = (
        rf"dataset\.root: no FGVC-Aircraft at {tmp_path}/fgvc-.* \(expected .*trainval\.txt\)"
    )
    with pytest.raises(InputError, match=expected):
        aircraft.catalogue(settings(tmp_path))


def test_missing_list(root):
    (root / "fgvc-aircraft-2013b" / "data" / "images_variant_test.txt").unlink()
    with pytest.raises(InputError, match=r"images_variant_test\.txt: cannot be read \(No such"):
        aircraft.catalogue(settings(root))


def test_lists_that_disagree(root):
    write_list(root, "test", [("1", "707-320"), ("2", "Concorde")])
    expected = (
        r"images_variant_test\.txt: variant 'Concorde' is not in images_variant_trainval\.txt"
    )
    with pytest.raises(InputError, match=expected):
        aircraft.catalogue(settings(root))
    write_list(root, "test", [("1", "707-320"), ("0056978", "DC-3")])
    with pytest.raises(InputError, match=r"test\.txt: image 0056978 is in images_variant_trainval"):
        aircraft.catalogue(settings(root))


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
def test_bad_lines(root, split, content, message):
    path = root / "fgvc-aircraft-2013b" / "data" / f"images_variant_{split}.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"images_variant_{split}\.txt{message}"):
        aircraft.catalogue(settings(root))
