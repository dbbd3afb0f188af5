"""A small copy of CIFAR in pickles of Python 2 and NumPy 1, and errors in them."""

import hashlib
import http.server
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import CIFARSettings
from gcdflow.data.datasets import cifar, cifar_files, open_images
from gcdflow.data.datasets.catalogue import published_split, split_catalogue
from gcdflow.errors import InputError

TABLE = json.loads(
    (Path(cifar.__file__).parent / "data" / "cifar100_superclasses.json").read_text()
)
NAMES_100 = published_split("cifar100")["class_names"]
NAMES_10 = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]


# -- the official format ---------------------------------------------------------------------------


def text(value: bytes) -> bytes:
    """A Python 2 string in a pickle (BINSTRING); bytes of arrays have the same type."""
    return b"T" + len(value).to_bytes(4, "little") + value


def array(value: np.ndarray) -> bytes:
    """An array, pickled as by NumPy 1 under Python 2."""
    shape = b"(" + b"".join(b"J" + n.to_bytes(4, "little") for n in value.shape) + b"t"
    name = value.dtype.str[1:].encode()
    kind = (
        b"cnumpy\ndtype\n(" + text(name) + b"K\x00K\x01tR"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        b"(K\x01" + shape + kind + b"\x89" + text(value.tobytes()) + b"tb"
    )


def python2(content: dict) -> bytes:
    """A pickle (protocol 2) of a dictionary of arrays, lists and texts, as from Python 2."""

    def item(value) -> bytes:
        if isinstance(value, np.ndarray):
            return array(value)
        if isinstance(value, list):
            return b"](" + b"".join(map(item, value)) + b"e"
        if isinstance(value, int):
            return b"J" + value.to_bytes(4, "little", signed=True)
        return text(value.encode())

    pairs = b"".join(text(key.encode()) + item(value) for key, value in content.items())
    return b"\x80\x02}(" + pairs + b"u."


def pixels(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)


def write_cifar10(root: Path) -> Path:
    """Five batches of 20 images and a test batch of 10; image i of each has class i % 10."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = [(f"data_batch_{i}", 20) for i in range(1, 6)] + [("test_batch", 10)]
    for seed, (name, n) in enumerate(batches):
        content = {
            "batch_label": "a batch",
            "labels": [i % 10 for i in range(n)],
            "data": pixels(n, seed),
            "filenames": ["a.png"] * n,
        }
        (folder / name).write_bytes(python2(content))
    meta = {"num_cases_per_batch": 20, "label_names": NAMES_10, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2(meta))
    return folder


def write_cifar100(root: Path) -> Path:
    """300 training and 100 test images; image i of each has class 99 - i % 100."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for seed, (name, n) in enumerate([("train", 300), ("test", 100)]):
        fine = [99 - i % 100 for i in range(n)]
        content = {
            "filenames": ["a.png"] * n,
            "batch_label": "a batch",
            "fine_labels": fine,
            "coarse_labels": [TABLE["fine_to_coarse"][c] for c in fine],
            "data": pixels(n, seed),
        }
        (folder / name).write_bytes(python2(content))
    names = {"fine_label_names": NAMES_100, "coarse_label_names": TABLE["coarse_names"]}
    (folder / "meta").write_bytes(python2(names))
    return folder


def settings(root: Path, name: str = "cifar10", **changes) -> CIFARSettings:
    return CIFARSettings(**({"name": name, "root": str(root), "download": False} | changes))


# -- reading ---------------------------------------------------------------------------------------


def test_torchvision_reads_the_pickles_too(tmp_path):
    path = write_cifar10(tmp_path) / "data_batch_1"
    with open(path, "rb") as file:
        content = pickle.load(file, encoding="latin1")
    np.testing.assert_array_equal(content["data"], pixels(20, 0))
    assert content["labels"][:3] == [0, 1, 2]


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


# -- bad files -------------------------------------------------------------------------------------


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


# -- download --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_archives_are_those_of_torchvision(name):
    from torchvision import datasets

    official = getattr(datasets, name.upper())
    layout = cifar_files.LAYOUTS[name]
    assert layout.archive == official.filename
    assert layout.md5 == official.tgz_md5
    assert f"{cifar_files.BASE_URL}/{layout.archive}" == official.url
    assert layout.folder == official.base_folder
    assert layout.meta == official.meta["filename"]
    assert layout.names == official.meta["key"]
    assert layout.files["train"] == [file for file, _ in official.train_list]
    assert layout.files["test"] == [file for file, _ in official.test_list]


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve a small archive with the expected checksum; yield the requested paths."""
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    write_cifar10(tmp_path / "made")
    (tmp_path / "server").mkdir()
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

    directory = str(tmp_path / "server")
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=directory)
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        monkeypatch.setattr(cifar_files, "BASE_URL", f"http://127.0.0.1:{server.server_port}")
        expect(monkeypatch, hashlib.md5(archive.read_bytes()).hexdigest())
        yield asked
        server.shutdown()
        thread.join()


def expect(monkeypatch, md5: str) -> None:
    layout = replace(cifar_files.LAYOUTS["cifar10"], md5=md5)
    monkeypatch.setitem(cifar_files.LAYOUTS, "cifar10", layout)


def test_download(tmp_path, served):
    root = tmp_path / "new" / "data"
    found = cifar.catalogue(settings(root, download=True))
    assert len(found.classes) == 110
    assert served == ["/cifar-10-python.tar.gz"]
    content = {path.name for path in root.iterdir()}
    assert content == {"cifar-10-batches-py", "cifar-10-python.tar.gz"}
    cifar.catalogue(settings(root, download=True))
    assert len(served) == 1


def test_parallel_runs_download_once(tmp_path, served):
    results = []
    run = partial(cifar.catalogue, settings(tmp_path / "data", download=True))
    threads = [threading.Thread(target=lambda: results.append(run())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found.classes) for found in results] == [110] * 4
    assert len(served) == 1


def test_an_archive_in_the_root_is_unpacked_without_a_download(tmp_path, served):
    root = tmp_path / "server"
    assert len(cifar.catalogue(settings(root, download=False)).classes) == 110
    assert not served


def test_wrong_checksum(tmp_path, served, monkeypatch):
    expect(monkeypatch, "0" * 32)
    root = tmp_path / "data"
    expected = (
        rf"no folder {root}/cifar-10-batches-py \(the file from http://.*/cifar-10-python\.tar\.gz "
        rf"has another MD5 checksum\); put cifar-10-python\.tar\.gz \(from .* MD5 0+\) in {root},"
    )
    with pytest.raises(InputError, match=expected):
        cifar.catalogue(settings(root, download=True))
    assert not list(root.iterdir())


def test_wrong_archive_in_the_root(tmp_path, served, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(b"half")
    expected = r"\(.*/cifar-10-python\.tar\.gz has another MD5 checksum, and dataset\.download is"
    with pytest.raises(InputError, match=expected):
        cifar.catalogue(settings(root, download=False))
    assert len(cifar.catalogue(settings(root, download=True)).classes) == 110


def test_failed_downloads(tmp_path, served, monkeypatch):
    (tmp_path / "server" / "cifar-10-python.tar.gz").unlink()
    hint = r"put cifar-10-python\.tar\.gz \(from .*\) in .*/data, where it will be unpacked"
    with pytest.raises(InputError, match=rf"cannot be downloaded: 404 .*; {hint}"):
        cifar.catalogue(settings(tmp_path / "data", download=True))
    monkeypatch.setattr(cifar_files, "BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(InputError, match=rf"cannot be downloaded: .*; {hint}") as error:
        cifar.catalogue(settings(tmp_path / "data", download=True))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "data").iterdir())


def test_no_download(tmp_path, served):
    root = tmp_path / "data"
    expected = (
        rf"dataset\.root: no folder {root}/cifar-10-batches-py \(dataset\.download is false\)"
    )
    with pytest.raises(InputError, match=rf"{expected}; put cifar-10-python\.tar\.gz \(from "):
        cifar.catalogue(settings(root, download=False))
    assert not served
    assert not root.exists()


@pytest.mark.parametrize("content", [b"no archive", "empty", "half"])
def test_bad_archives_leave_no_folder(tmp_path, served, monkeypatch, content):
    archive = tmp_path / "server" / "cifar-10-python.tar.gz"
    if content == "empty":
        with tarfile.open(archive, "w:gz"):
            pass
    elif content == "half":  # truncated after some complete files
        archive.write_bytes(archive.read_bytes()[:200_000])
    else:
        archive.write_bytes(content)
    expect(monkeypatch, hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(InputError, match=r"no folder .*/cifar-10-batches-py \(.+\); put "):
        cifar.catalogue(settings(tmp_path / "data", download=True))
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-python.tar.gz"]


def test_read_only_root(tmp_path, served):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"no folder .* \(.*file.*\); put cifar-10-python"):
        cifar.catalogue(settings(tmp_path / "file" / "data", download=True))
