"""Files that declare more than they hold, grow when they are read, or are not what they say."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch
from example_files import torch_bytes, written
from fuzz_mutations import PNG, png_chunk
from gcdflow.config.runs import load_runs
from gcdflow.data.datasets.cifar_files import read_batch
from gcdflow.data.datasets.images import decode_image
from gcdflow.errors import InputError
from gcdflow.files.formats import Features
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
    content = torch_bytes({"a": torch.ones(8)})
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
    content = bytearray(torch_bytes({"a": torch.ones(8)}))
    content[content.index(torch.ones(8).numpy().tobytes()) + 5] ^= 1
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert not torch.equal(torch.load(path)["a"], torch.ones(8))
    with pytest.raises(ValueError, match="checksum"):
        load_torch_file(path)


def test_an_archive_that_two_readers_see_differently_is_refused(tmp_path):
    path, content = tmp_path / "x.pt", torch_bytes({"a": torch.ones(8)})
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
