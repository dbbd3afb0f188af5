"""CIFAR: its images, its classes and its superclasses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gcdflow.data.datasets import cifar, open_images
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.errors import InputError
from small_cifar import (
    NAMES_10,
    NAMES_100,
    TABLE,
    pixels,
    python2,
    settings,
    write_cifar10,
    write_cifar100,
)

# -- reading ---------------------------------------------------------------------------------------


def test_cifar10(tmp_path):
    write_cifar10(tmp_path)
    found = cifar.catalogue(settings(tmp_path))
    np.testing.assert_array_equal(found.classes, np.arange(110) % 10)
    np.testing.assert_array_equal(found.train_mask, np.arange(110) < 100)
    assert found.class_names == NAMES_10
    assert found.old_classes == [0, 1, 2, 3, 4]
    assert found.paths[17] == "train/00017"
    assert found.paths[99:101] == ["train/00099", "test/00000"]
    assert json.loads(json.dumps(found.source)) == found.source
    assert found.source["dataset"] == "cifar10"


def test_cifar100(tmp_path):
    write_cifar100(tmp_path)
    found = cifar.catalogue(settings(tmp_path, "cifar100"))
    np.testing.assert_array_equal(found.classes, 99 - np.arange(400) % 100)
    assert found.train_mask.sum() == 300
    assert [found.class_names[c] for c in found.old_classes] == NAMES_100[:80]


def test_images_are_in_the_requested_order(tmp_path):
    write_cifar10(tmp_path)
    split, _ = split_catalogue(cifar.catalogue(settings(tmp_path)), settings(tmp_path))
    chosen = [105, 3, 45, 3]
    images = open_images(split.source, split.paths[chosen])
    images.check(1)
    assert len(images) == 4
    assert not images.needs_workers
    read = images.read([0, 1, 2, 3])
    assert read.shape == (4, 32, 32, 3)
    assert read.dtype == np.uint8
    rows = [pixels(10, 5)[5], pixels(20, 0)[3], pixels(20, 2)[5], pixels(20, 0)[3]]
    for image, row in zip(read, rows, strict=True):
        np.testing.assert_array_equal(image, row.reshape(3, 32, 32).transpose(1, 2, 0))


def test_images_do_not_depend_on_labels(tmp_path):
    folder = write_cifar10(tmp_path)
    source = cifar.catalogue(settings(tmp_path)).source
    (folder / "test_batch").write_bytes(python2({"data": pixels(10, 5)}))
    (folder / "batches.meta").unlink()
    read = open_images(source, np.array(["test/00002"])).read([0])
    np.testing.assert_array_equal(read[0, 0, 0], pixels(10, 5)[2, [0, 1024, 2048]])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("test/00010", r"the test split has 10 images, expected number 10 too; make split\.npz"),
        ("dev/00001", r"image path 'dev/00001': expected 'train/<number>' or 'test/<number>'"),
        ("x.jpg", r"image path 'x\.jpg': expected"),
    ],
)
def test_missing_images(tmp_path, path, message):
    folder = write_cifar10(tmp_path)
    with pytest.raises(InputError, match=message):
        open_images({"dataset": "cifar10", "root": str(folder)}, np.array(["test/00001", path]))


def test_other_old_classes(tmp_path):
    write_cifar10(tmp_path)
    found = cifar.catalogue(settings(tmp_path, old_classes=["truck", "bird"]))
    assert found.old_classes == [9, 2]


def test_torch_is_not_imported():
    code = "import sys, gcdflow.data.datasets.cifar; sys.exit('torch' in sys.modules)"
    package = str(Path(cifar.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": package}).returncode == 0


# -- superclasses ----------------------------------------------------------------------------------


def test_superclass(tmp_path):
    write_cifar100(tmp_path)
    found = cifar.catalogue(settings(tmp_path, "cifar100", superclass="marine_animals"))
    ids = [1, 26, 27, 30, 32, 45, 67, 73, 91, 95]  # the published list has another order
    assert found.class_names == [NAMES_100[i] for i in ids]
    assert found.old_classes == list(range(8))
    assert len(found.classes) == 4 * len(ids)
    assert found.paths[:2] == ["train/00004", "train/00008"]
    assert [found.class_names[c] for c in found.classes[:3]] == ["whale", "trout", "shark"]
    assert found.train_mask.tolist() == [path.startswith("train") for path in found.paths]
    images = open_images(found.source, np.array(found.paths))
    expected = pixels(300, 0)[8].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(images.read([1])[0], expected)


def test_old_classes_of_a_superclass_by_id(tmp_path):
    """Ids count the classes of the superclass: 1, 26, 27, 30, 32, 45, 67, 73, 91, 95."""
    write_cifar100(tmp_path)
    wanted = {"superclass": "marine_animals"}
    found = cifar.catalogue(settings(tmp_path, "cifar100", old_classes=[0, 1], **wanted))
    assert found.old_classes == [0, 1]
    with pytest.raises(InputError, match=r"26 is not a class here \(found 10, ids 0…9: aquarium"):
        cifar.catalogue(settings(tmp_path, "cifar100", old_classes=[0, 26], **wanted))


@pytest.mark.parametrize("name", TABLE["superclasses15"])
def test_15_way_lists_are_those_of_the_table(tmp_path, name):
    write_cifar100(tmp_path)
    entry = TABLE["superclasses15"][name]
    if not entry["usable_for_gcd"]:
        with pytest.raises(InputError, match=rf"all classes of '{name}' are old, .* choose one of"):
            cifar.catalogue(settings(tmp_path, "cifar100", superclass=name))
        return
    found = cifar.catalogue(settings(tmp_path, "cifar100", superclass=name))
    old = [found.class_names[c] for c in found.old_classes]
    assert old == [NAMES_100[i] for i in sorted(entry["known_classes"])]
    assert len(found.class_names) - len(old) == entry["num_unknown"]


def test_20_way(tmp_path):
    write_cifar100(tmp_path)
    wanted = settings(tmp_path, "cifar100", superclass="vehicles_2", grouping="20-way")
    found = cifar.catalogue(wanted)
    names = ["lawn_mower", "rocket", "streetcar", "tank", "tractor"]
    assert found.class_names == names
    assert found.old_classes == [0, 1]
    groups = cifar._superclass_groups("20-way")
    assert len(groups) == 20
    assert {len(ids) for ids in groups.values()} == {5}
    assert sorted(i for ids in groups.values() for i in ids) == list(range(100))


def test_unknown_superclass(tmp_path):
    write_cifar100(tmp_path)
    expected = (
        r"'fish' is not a 15-way superclass of CIFAR-100 \(expected one of trees, flowers, .*"
    )
    with pytest.raises(InputError, match=expected):
        cifar.catalogue(settings(tmp_path, "cifar100", superclass="fish"))


def test_superclass_without_new_classes_needs_a_choice(tmp_path):
    write_cifar100(tmp_path)
    all_old = next(k for k, v in TABLE["superclasses15"].items() if not v["usable_for_gcd"])
    wanted = {"superclass": all_old}
    with pytest.raises(InputError) as error:
        cifar.catalogue(settings(tmp_path, "cifar100", **wanted))
    assert str(error.value).count(all_old) == 1  # the hint does not suggest it
    by_id = cifar.catalogue(settings(tmp_path, "cifar100", old_classes=[1], **wanted))
    name = by_id.class_names[1]
    by_name = cifar.catalogue(settings(tmp_path, "cifar100", old_classes=[name], **wanted))
    assert by_id.old_classes == by_name.old_classes == [1]
    with pytest.raises(InputError, match=r"dataset\.old_classes: 'apple' is not a class here"):
        cifar.catalogue(settings(tmp_path, "cifar100", old_classes=["apple"], **wanted))


def test_superclass_of_other_names(tmp_path):
    folder = write_cifar100(tmp_path)
    names = NAMES_100[:]
    names[3:5] = names[4], names[3]
    (folder / "meta").write_bytes(python2({"fine_label_names": names}))
    cifar.catalogue(settings(tmp_path, "cifar100"))
    with pytest.raises(InputError, match=r"meta: fine_label_names .*class 3 is 'beaver', expected"):
        cifar.catalogue(settings(tmp_path, "cifar100", superclass="trees"))
