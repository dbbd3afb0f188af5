"""Names and paths in files: none leaves its folder or breaks a message."""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from hashlib import md5

import numpy as np
import pytest
from gcdflow.config.runs import load_runs
from gcdflow.config.settings import DigitsSettings
from gcdflow.data.datasets import cifar_files
from gcdflow.data.datasets.catalogue import Catalogue, split_catalogue
from gcdflow.data.datasets.cifar_files import LAYOUTS
from gcdflow.data.datasets.photos import read_labels
from gcdflow.errors import InputError, one_line
from gcdflow.files.formats import Features, Split

ONE_IMAGE = Catalogue(
    np.zeros(1, int),
    np.ones(1, bool),
    class_names=["a"],
    old_classes=[0],
    source={"dataset": "cub"},
)
OUTSIDE = ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "", ".", "a\0.jpg"]


@pytest.mark.parametrize("image", OUTSIDE)
def test_image_paths_stay_in_their_folder(tmp_path, make_split, image):
    paths = np.array([*(f"{i}.jpg" for i in range(19)), image + "|"])
    paths[-1] = image  # an array of NumPy drops a NUL at the end, not one within
    make_split(paths=paths, source={"dataset": "cub", "root": "x"}).save(tmp_path / "s.npz")
    with pytest.raises(InputError, match=r"s\.npz: image path '.*' does not lie in the folder"):
        Split.load(tmp_path / "s.npz")
    (tmp_path / "l.csv").write_text(f'path,label\n"{image}",owl\n')
    with pytest.raises(InputError, match=r"l\.csv, line 2: "):
        read_labels(tmp_path / "l.csv")
    catalogue = replace(ONE_IMAGE, paths=[image])
    with pytest.raises(InputError, match=r"dataset 'cub': image path '.*' does not lie in the"):
        split_catalogue(catalogue, DigitsSettings())


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", "..", ".x", "a\nb", "a b", "-x", "<b>"])
def test_run_names_are_folders_of_their_own(tmp_path, name):
    quoted = name.replace("\n", "\\n")
    (tmp_path / "c.yaml").write_text(f'runs: {{"{quoted}": {{}}}}')
    with pytest.raises(InputError, match=r"c\.yaml: run name '.*' is a folder name too"):
        load_runs(tmp_path / "c.yaml")


def test_names_of_archive_members_are_not_paths(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.npz"
    np.savez(path, features=np.ones((2, 2)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../outside.npy", "x")
        archive.writestr("/tmp/../outside.npy", "x")
    assert Features.load(path).features.shape == (2, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("features.npy", "x")
    with pytest.raises(InputError, match=r"x\.npz: holds array 'features' more than once"):
        Features.load(path)


@pytest.mark.parametrize("kind", ["..", "/", "link", "device"])
def test_members_of_the_cifar_archive_stay_in_their_folder(tmp_path, kind):
    outside, root = tmp_path / "outside", tmp_path / "data"
    root.mkdir()
    layout = LAYOUTS["cifar10"]
    with tarfile.open(root / layout.archive, "w:gz") as tar:
        member = tarfile.TarInfo(
            {"..": "../outside", "/": str(outside)}.get(kind, f"{layout.folder}/x")
        )
        if kind == "link":
            member.type, member.linkname = tarfile.SYMTYPE, str(outside)
        if kind == "device":
            member.type = tarfile.FIFOTYPE
        content = b"harm" if kind in ("..", "/") else b""
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    found = md5((root / layout.archive).read_bytes()).hexdigest()
    expected = r"dataset\.root: no folder .*cifar-10-batches-py"
    with pytest.raises(InputError, match=expected):
        cifar_files.fetched(root, replace(layout, md5=found), download=False)
    assert not outside.exists()
    assert not (root / layout.folder).exists()


@pytest.mark.parametrize(
    "cell", ["a\x1b[31m.jpg", "a\u202egpj.exe", "a\r\n2026 error: all is lost.jpg", "x" * 100_000]
)
def test_what_files_hold_cannot_break_a_message(tmp_path, cell):
    (tmp_path / "l.csv").write_text(f'path,label,split\n"{cell}",owl,nonsense\n', newline="")
    with pytest.raises(InputError, match=r"l\.csv") as error:
        read_labels(tmp_path / "l.csv")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("label", ["a\nb", "a\x1b[31mb", "a\x85b"])
def test_labels_are_names_in_one_line(tmp_path, label):
    (tmp_path / "l.csv").write_text(f'path,label\na.jpg,"{label}"\n', newline="")
    with pytest.raises(InputError, match=r"l\.csv, line \d: .*label"):
        read_labels(tmp_path / "l.csv")


def test_one_line():
    assert one_line("größe 日本 'x'") == "größe 日本 'x'"
    assert one_line("a\nb\x1b\udc80\u202e") == r"a\nb\x1b\udc80\u202e"
    assert len(one_line("a" + "\n\0" * 5000)) < 2000
    long = one_line("a" * 5000 + "\n" + "b" * 5000)
    assert len(long) < 2000
    assert long.startswith("aaa")
    assert long.endswith("bbb")
    assert str(InputError("x: a\nb")) == r"x: a\nb"


def test_control_characters_in_class_names_of_a_dataset():
    for changes, message in (
        ({"class_names": ["a\x1b[31m"]}, r"the class name 'a\\x1b\[31m' is empty, holds a control"),
        ({"paths": ["a\udc80.jpg"]}, r"file name 'a\\udc80\.jpg' is not UTF-8"),
        ({"class_names": ["a", "a"]}, "two classes have the name 'a'"),
    ):
        with pytest.raises(InputError, match=message):
            split_catalogue(replace(ONE_IMAGE, **changes), DigitsSettings())
