"""Files of CIFAR that are damaged, of another kind, or made to do harm."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from gcdflow.data.datasets import cifar
from gcdflow.errors import InputError
from small_cifar import NAMES_10, pixels, python2, settings, write_cifar10


def test_torchvision_reads_the_pickles_too(tmp_path):
    path = write_cifar10(tmp_path) / "data_batch_1"
    with open(path, "rb") as file:
        content = pickle.load(file, encoding="latin1")
    np.testing.assert_array_equal(content["data"], pixels(20, 0))
    assert content["labels"][:3] == [0, 1, 2]


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["data_batch_3", "batches.meta"])
def test_a_pickle_cannot_run_code(tmp_path, name, protocol):
    folder = write_cifar10(tmp_path)
    harmful = pickle.dumps({"data": Malicious(tmp_path / "harm")}, protocol)
    (folder / name).write_bytes(harmful)
    with pytest.raises(InputError, match=rf"{name}: not a readable CIFAR file \(refused to load "):
        cifar.catalogue(settings(tmp_path))
    assert not (tmp_path / "harm").exists()
    pickle.loads(harmful)  # it would have created the file
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cbuiltins\neval\n(V1\ntR.",
        b"cnumpy.core.multiarray\nfrombuffer\n.",
        b"cnumpy\nload\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        b"cnumpy\nndarray.__init__\n.",
        b"c_codecs\nlookup\n.",
    ],
)
def test_pickles_of_other_objects_are_refused(tmp_path, code):
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(code)
    with pytest.raises(
        InputError, match=r"test_batch: not a readable CIFAR file \(refused to load"
    ):
        cifar.catalogue(settings(tmp_path))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_pickles_of_this_numpy_are_read_too(tmp_path, protocol):
    folder = write_cifar10(tmp_path)
    content = {"data": pixels(10, 5), "labels": [7] * 10}
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol))
    assert (cifar.catalogue(settings(tmp_path)).classes[100:] == 7).all()


LABELS = [0] * 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": LABELS}, r"'data' is NoneType, expected a uint8 array \(n, 3072\)"),
        (
            {"data": pixels(10, 5).astype(object), "labels": LABELS},
            r"'data' is object \(10, 3072\)",
        ),
        ({"data": pixels(10, 5).astype(np.int64), "labels": LABELS}, r"'data' is int64 \(10, 3072"),
        ({"data": pixels(10, 5)[:, 1:], "labels": LABELS}, r"'data' is uint8 \(10, 3071\)"),
        ({"data": pixels(10, 5)[0], "labels": LABELS}, r"'data' is uint8 \(3072,\)"),
        ({"data": pixels(10, 5)}, r"'labels' is not a list of whole numbers"),
        ({"data": pixels(10, 5), "labels": ["a"] * 10}, r"'labels' is not a list of whole numbers"),
        ({"data": pixels(10, 5), "labels": [1.5] * 10}, r"'labels' is not a list of whole numbers"),
        ({"data": pixels(10, 5), "labels": [0] * 9}, r"9 'labels' for 10 images"),
        ({"data": pixels(10, 5), "labels": [0] * 9 + [10]}, r"'labels' holds 10, expected 0…9"),
        ({"data": pixels(10, 5), "labels": [-1] * 10}, r"'labels' holds -1, expected 0…9"),
        ([1, 2], r"not a CIFAR file \(found list, expected dict\)"),
    ],
)
def test_bad_batches(tmp_path, content, message):
    path = write_cifar10(tmp_path) / "test_batch"
    path.write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=rf"test_batch: {message}"):
        cifar.catalogue(settings(tmp_path))


@pytest.mark.parametrize("names", [None, "ab", ["a"] * 10, NAMES_10[1:], [*NAMES_10[1:], 1]])
def test_bad_names(tmp_path, names):
    path = write_cifar10(tmp_path) / "batches.meta"
    path.write_bytes(pickle.dumps({"label_names": names}, 2))
    with pytest.raises(InputError, match=r"batches\.meta: 'label_names' is not a list of 10 names"):
        cifar.catalogue(settings(tmp_path))


@pytest.mark.parametrize("content", [b"", b"hello", python2({"data": pixels(3, 0)})[:5000]])
def test_damaged_files(tmp_path, content):
    path = write_cifar10(tmp_path) / "data_batch_2"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"data_batch_2: not a readable CIFAR file \(.+\)"):
        cifar.catalogue(settings(tmp_path))
    path.unlink()
    with pytest.raises(InputError, match=r"data_batch_2: cannot be read \(No such file"):
        cifar.catalogue(settings(tmp_path))
