"""Files that were made to do harm: nothing of them runs, and none takes memory or time."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from example_files import written
from fuzz_mutations import PNG, png_chunk
from gcdflow.config.runs import load_runs
from gcdflow.config.settings import DigitsSettings
from gcdflow.data.datasets import cifar_files
from gcdflow.data.datasets.catalogue import Catalogue, split_catalogue
from gcdflow.data.datasets.cifar_files import LAYOUTS, read_batch, read_class_names
from gcdflow.data.datasets.images import decode_image
from gcdflow.data.datasets.photos import read_labels
from gcdflow.errors import InputError, one_line
from gcdflow.files.formats import Features, PseudoLabels, Split
from gcdflow.files.torch_files import load_torch_file
from gcdflow.models.weights import convert_weights, load_weights
from gcdflow.training.checkpoint import Checkpoint
from PIL import Image

MIB = 2**20


@pytest.fixture
def frugal():
    """The test allocates little (as far as Python and NumPy know), and computes little."""
    began = time.process_time()  # of this process alone, whatever else the machine does
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * MIB
    assert time.process_time() - began < 20


def _converted(path: Path) -> None:
    """Read a weight file of PyTorch."""
    convert_weights(path, path.with_name("out"))


# -- code in pickles -------------------------------------------------------------------------------


class Payload:
    """An object whose unpickling would create a file."""

    def __init__(self, trap: Path):
        self._trap = str(trap)

    def __reduce__(self):
        return os.mkdir, (self._trap,)


def _torch(value: object, **options) -> bytes:
    return written(partial(torch.save, value, **options))


def _old_torch(value: object) -> bytes:
    return _torch(value, _use_new_zipfile_serialization=False)


def _npy(value: object) -> bytes:
    return written(partial(np.save, arr=np.array([value, None], dtype=object)))


def _npz(value: object) -> bytes:
    labels = np.array([value, None], dtype=object)
    return written(partial(np.savez, features=np.ones((2, 2)), labels=labels))


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("x.npz", _npz, Features.load),
        ("x.npz", pickle.dumps, Features.load),
        ("x.npz", _npz, PseudoLabels.load),
        ("x.npy", _npy, Features.load),
        ("x.npy", pickle.dumps, Features.load),
        ("x.pt", lambda p: _torch({"format": 1, "rolling": p}), Checkpoint.load),
        ("x.pt", _old_torch, Checkpoint.load),
        ("x.pt", pickle.dumps, Checkpoint.load),
        ("x.pth", lambda p: _torch({"teacher": p}), _converted),
        ("x.pth", _old_torch, _converted),
        ("x.pth", pickle.dumps, _converted),
        ("data_batch_1", lambda p: pickle.dumps({"data": p}), read_batch),
        ("data_batch_1", lambda p: pickle.dumps({"data": p}, 0), read_batch),
        ("meta", pickle.dumps, lambda path: read_class_names(path, LAYOUTS["cifar100"])),
    ],
)
def test_code_in_files_is_not_run(tmp_path, name, write, read):
    trap, path = tmp_path / "executed", tmp_path / name
    path.write_bytes(write(Payload(trap)))
    with pytest.raises(InputError, match=rf"{name}: ") as error:
        read(path)
    assert str(error.value).isprintable()
    assert not trap.exists()


def test_the_payload_would_run(tmp_path):
    trap = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(trap)))
    assert trap.exists()


def test_looking_into_a_checkpoint_runs_nothing(tmp_path):
    """PyTorch's own reader names what it will not run."""
    trap, path = tmp_path / "executed", tmp_path / "x.pt"
    path.write_bytes(_torch({"a": torch.ones(2), "b": Payload(trap)}))
    with pytest.raises(pickle.UnpicklingError, match="mkdir"):
        load_torch_file(path)
    assert not trap.exists()


def test_yaml_tags_are_not_followed(tmp_path):
    trap, path = tmp_path / "executed", tmp_path / "c.yaml"
    for tag in ("!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"):
        path.write_text(f"runs: {tag} ['{trap}']\n")
        with pytest.raises(InputError, match=r"c\.yaml: not valid YAML \(could not determine a co"):
            load_runs(path)
    assert not trap.exists()


# -- sizes -----------------------------------------------------------------------------------------


def _declaring(dtype: str, shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


HUGE = [
    _declaring("<f4", f"({2**40}, 4)"),
    _declaring("<f4", f"({2**62}, {2**62})"),
    _declaring("<f8", "(-1, 4)"),
    _declaring("<f8", "(1, 4)", bytes(31)),
    _declaring("<U1000000000", "(1, 1)"),
    _declaring("|V1000000000", "(1, 1)"),
]


@pytest.mark.parametrize("data", HUGE)
@pytest.mark.usefixtures("frugal")
def test_an_array_that_declares_more_than_there_is(tmp_path, data):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("features.npy", data)
    with pytest.raises(InputError, match=r"x\.npz: not a readable \.npz file of plain arrays \("):
        Features.load(tmp_path / "x.npz")
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.npy: not a readable \.npy file of a plain array \("):
        Features.load(tmp_path / "x.npy")


@pytest.mark.usefixtures("frugal")
def test_an_archive_that_expands_a_thousandfold(tmp_path):
    path, n = tmp_path / "x.npz", 2**27
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("features.npy", "w") as file,
    ):
        file.write(_declaring("<f4", f"({n // 4}, 1)"))
        for _ in range(n // MIB):
            file.write(bytes(MIB))
    with pytest.raises(InputError, match=r"x\.npz: its arrays declare \d{9} bytes in a file of "):
        Features.load(path)


def test_labels_that_compress_well_are_no_bomb(tmp_path):
    n = 200_000
    path = tmp_path / "x.npz"
    np.savez_compressed(path, features=np.ones((n, 2), np.float16), labels=np.full(n, -1))
    assert path.stat().st_size < n * 12 / 100
    assert len(Features.load(path).labels) == n


@pytest.mark.usefixtures("frugal")
def test_sizes_in_the_directory_of_an_archive_are_not_believed(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, features=np.ones((4, 4)))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npz: "):
        Features.load(path)


def _rezipped(content: bytes, change: Callable[[str, bytes], bytes], **options) -> bytes:
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(target, "w", **options) as new,
    ):
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target.getvalue()


def _longer(name: str, data: bytes) -> bytes:
    """The pickle says that the tensor and its storage have a million times the numbers."""
    changed = data
    if name.endswith(".pkl"):
        for end in (b"t", b"\x85"):  # of the storage, of the shape
            assert b"K\x08" + end in data
            changed = changed.replace(b"K\x08" + end, b"J\x00\x12\x7a\x00" + end)
    assert changed != data or not name.endswith(".pkl")
    return changed


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        (_longer, {}, "storage that is not resizable"),
        (lambda name, data: data, {"compression": zipfile.ZIP_DEFLATED}, "compressed members"),
    ],
)
@pytest.mark.usefixtures("frugal")
def test_storages_of_a_checkpoint_have_the_size_they_declare(tmp_path, change, options, reason):
    content = _torch({"a": torch.ones(8)})
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert torch.equal(load_torch_file(path)["a"], torch.ones(8))
    path.write_bytes(_rezipped(content, change, **options))
    with pytest.raises((ValueError, RuntimeError), match=reason):
        load_torch_file(path)
    with pytest.raises(InputError, match=r"x\.pt: not a checkpoint that can be read safely"):
        Checkpoint.load(path)


def test_flipped_bits_of_weights_are_found(tmp_path):
    """PyTorch itself does not look at the checksums that it writes."""
    content = bytearray(_torch({"a": torch.ones(8)}))
    content[content.index(torch.ones(8).numpy().tobytes()) + 5] ^= 1
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["a"], torch.ones(8))
    with pytest.raises(ValueError, match="checksum"):
        load_torch_file(path)


def test_an_archive_that_two_readers_see_differently_is_refused(tmp_path):
    path, content = tmp_path / "x.pt", _torch({"a": torch.ones(8)})
    path.write_bytes(b"PK\3\4" + content)  # Python finds it behind other data, PyTorch does not
    with pytest.raises(ValueError, match="before the archive"):
        load_torch_file(path)
    path.write_bytes(content[: content.rindex(b"PK\5\6")])  # no directory at the end
    for legacy in (False, True):
        with pytest.raises(zipfile.BadZipFile):
            load_torch_file(path, legacy=legacy)


@pytest.mark.usefixtures("frugal")
def test_a_tensor_of_one_number_is_no_tensor_of_terabytes(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"cls_token": torch.ones(1).expand(2**40)}, path)
    with pytest.raises(InputError, match=r"x\.pth: damaged weights \(holds a tensor \(10995116277"):
        convert_weights(path, tmp_path / "out")


def test_weights_that_are_no_numbers(tmp_path):
    path, state = tmp_path / "x.pth", {"cls_token": torch.tensor([1.0, float("nan")])}
    expected = r"x\.pth: damaged weights \(holds numbers that are NaN"
    torch.save(state, path)
    with pytest.raises(InputError, match=expected):
        convert_weights(path, tmp_path / "out")
    safetensors.torch.save_file(state, path)
    with pytest.raises(InputError, match=expected):
        load_weights(None, path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a table of two thousand million entries
        b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b".",
        b"\x80\x02\x8b" + struct.pack("<i", 10_000) + b"\x7f" * 10_000 + b".",
    ],
)
@pytest.mark.usefixtures("frugal")
def test_pickles_that_ask_for_memory(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(InputError, match="batch: "):
        read_batch(tmp_path / "batch")


@pytest.mark.usefixtures("frugal")
def test_an_image_of_ten_thousand_million_pixels(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(MIB))), (b"IEND", b""))
    (tmp_path / "x.png").write_bytes(PNG + b"".join(png_chunk(*chunk) for chunk in chunks))
    for side in (None, 1):
        with pytest.raises(InputError, match=r"x\.png: .*\(100000 × 100000 pixels, expected at"):
            decode_image(tmp_path / "x.png", side)


@pytest.mark.usefixtures("frugal")
@pytest.mark.parametrize("name", [b"PLTE", b"sBIT", b"zTXt"])
def test_a_chunk_of_gibibytes_in_a_small_png(tmp_path, name):
    content = written(partial(Image.new("I;16", (8, 8)).save, format="png"))
    (tmp_path / "x.png").write_bytes(content[:33] + b"\x7f\xff\xff\0" + name + content[33:])
    with pytest.raises(InputError, match=r"x\.png: not a readable image \((?!MemoryError)"):
        decode_image(tmp_path / "x.png")


@pytest.mark.usefixtures("frugal")
def test_a_text_that_grows_in_a_good_png(tmp_path):
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(2**9)) + packer.flush()
    content = written(partial(Image.new("RGB", (8, 8)).save, format="png"))
    text = png_chunk(b"zTXt", b"bomb\0\0" + packed)
    (tmp_path / "x.png").write_bytes(content[:33] + text + content[33:])
    with pytest.raises(
        InputError, match=r"x\.png: not a readable image \(Decompressed data too la"
    ):
        decode_image(tmp_path / "x.png")


def test_postscript_is_no_image(tmp_path):
    """Pillow would start Ghostscript for it, whatever the name of the file."""
    Image.new("RGB", (8, 8)).save(tmp_path / "x.eps")
    (tmp_path / "x.jpg").write_bytes((tmp_path / "x.eps").read_bytes())
    Image.open(tmp_path / "x.jpg").close()  # Pillow knows it
    with pytest.raises(InputError, match=r"x\.jpg: not a readable image \(whatever its name"):
        decode_image(tmp_path / "x.jpg")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("runs: " + "{a: " * 400 + "1" + "}" * 400, "(nested too deeply|unknown key)"),
        ("# " + "x" * 2**20, "larger than 1048576 bytes"),
        ("runs: {a: {seed: 2001-99-99}}", "month must be in"),
        ("runs: {a: {seed: " + "9" * 5000 + "}}", "Exceeds the limit"),
        ("runs: {a: {clustering: {k: '1:99999999999'}}}", "at most 10000 numbers"),
        ("runs: {a: {seed: 0x" + "f" * 5000 + "}}", "runs.a"),
    ],
)
@pytest.mark.usefixtures("frugal")
def test_yaml_that_grows(tmp_path, text, reason):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"c\.yaml: .*{reason}") as error:
        load_runs(tmp_path / "c.yaml")
    assert len(str(error.value)) < 2000


# -- names and paths -------------------------------------------------------------------------------

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
