"""Black and white in images of more than 8 bits per sample."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from gcdflow.data.datasets.images import FileImages, decode_image
from PIL import Image

COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # of a PNG, by the number of channels
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def narrow(kind: str = "L", bits: int = 12) -> np.ndarray:
    """Colour values with this many bits, from 5 to 100 % of white; alpha is opaque."""
    white, shape = 2**bits - 1, (20, 30, CHANNELS[kind])
    values = np.random.default_rng(0).integers(white // 20, white, shape, dtype=np.uint16)
    values.flat[0], values.flat[-2 if "A" in kind else -1] = white // 20, white
    if "A" in kind:
        values[..., -1] = white
    return values


def levels(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """The expected 8-bit colours, (height, width, 3)."""
    colours = values[..., : 1 if values.shape[2] < 3 else 3].astype(float)
    grey = np.rint((colours - black) / (white - black) * 255).clip(0, 255)
    return np.broadcast_to(grey, (*grey.shape[:2], 3))


def stretched(values: np.ndarray) -> np.ndarray:
    colours = values[..., : 1 if values.shape[2] < 3 else 3]
    return levels(values, colours.min(), colours.max())


def chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def write_png(path: Path, values: np.ndarray, bits: int | None = None) -> Path:
    """Write a PNG of 16 bits; Pillow cannot write one in colour."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPE[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    significant = b"" if bits is None else chunk(b"sBIT", bytes([bits] * channels))
    content = significant + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content)
    return path


def write_tiff(
    path: Path,
    values: np.ndarray,
    *,
    order: str = "<",
    deflate: bool = False,
    bits: int = 16,
    data: bytes | None = None,
    tags: dict[int, tuple[str, list[int]]] | None = None,
) -> Path:
    """Write a TIFF of one strip; ``tags`` have the type H (short) or I (long)."""
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes() if data is None else data
    data = zlib.compress(data) if deflate else data
    entries = {
        **{256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * channels)},
        **{259: ("H", [8 if deflate else 1]), 262: ("H", [1 if channels == 1 else 2])},
        **{273: ("I", [8]), 277: ("H", [channels]), 278: ("I", [height])},
        **{279: ("I", [len(data)]), **(tags or {})},
    }
    if channels == 4:
        entries[338] = ("H", [2])
    table, further = struct.pack(f"{order}H", len(entries)), b""
    start = 8 + len(data) + len(data) % 2
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(packed) > 4:
            at = start + 2 + 12 * len(entries) + 4 + len(further)
            further += packed
            packed = struct.pack(f"{order}I", at)
        kind_number = {"H": 3, "I": 4}[kind]
        table += struct.pack(f"{order}HHI", tag, kind_number, len(numbers)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    path.write_bytes(head + data + b"\0" * (len(data) % 2) + table + b"\0" * 4 + further)
    return path


def write_pnm(path: Path, values: np.ndarray, white: int) -> Path:
    kind = "P5" if values.shape[2] == 1 else "P6"
    head = f"{kind} {values.shape[1]} {values.shape[0]} {white}\n".encode()
    path.write_bytes(head + values.astype(">u2").tobytes())
    return path


# -- files without a declaration -------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", list(CHANNELS))
def test_few_bits_in_a_png_are_stretched(tmp_path, kind, bits):
    values = narrow(kind, bits)
    path = write_png(tmp_path / "x.png", values)
    np.testing.assert_array_equal(decode_image(path), stretched(values))


@pytest.mark.parametrize("kind", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [False, True])
def test_few_bits_in_a_tiff_are_stretched(tmp_path, kind, order, deflate):
    values = narrow(kind)
    path = write_tiff(tmp_path / "x.tif", values, order=order, deflate=deflate)
    np.testing.assert_array_equal(decode_image(path), stretched(values))


@pytest.mark.parametrize("name", ["x.pgm", "x.jp2", "x.tif", "x.png"])
def test_few_bits_look_as_in_a_32_bit_copy(tmp_path, name):
    values = narrow()[..., 0]
    Image.fromarray(values).save(tmp_path / name)
    Image.fromarray(values.astype(np.int32)).save(tmp_path / "32.tif")
    expected = decode_image(tmp_path / "32.tif")
    np.testing.assert_array_equal(decode_image(tmp_path / name), expected)
    assert len(np.unique(expected)) > 200


def test_few_bits_in_a_ppm_are_stretched(tmp_path):
    path = write_pnm(tmp_path / "x.ppm", narrow("RGB"), 65535)
    np.testing.assert_array_equal(decode_image(path), stretched(narrow("RGB")))


@pytest.mark.parametrize("kind", list(CHANNELS))
def test_images_that_use_all_bits_are_not_stretched(tmp_path, kind):
    values = narrow(kind, 16)
    colours = values[..., : 1 if values.shape[2] < 3 else 3]
    colours //= 3  # dark, but of more than 14 bits
    expected = np.broadcast_to(colours >> 8, (*values.shape[:2], 3))
    np.testing.assert_array_equal(decode_image(write_png(tmp_path / "x.png", values)), expected)


def test_black_is_black(tmp_path):
    for kind in CHANNELS:
        values = narrow(kind)
        values[..., : 1 if values.shape[2] < 3 else 3] = 0
        assert not decode_image(write_png(tmp_path / "x.png", values)).any()


def test_alpha_of_few_bits(tmp_path):
    values = narrow("RGBA")
    values[0, 0] = 4095, 0, 0, 0
    values[0, 1, :3], values[0, 2, :3] = 0, 4095
    image = decode_image(write_png(tmp_path / "x.png", values))
    assert image[0, :3].tolist() == [[255] * 3, [0] * 3, [255] * 3]


# -- files with a declaration ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(CHANNELS))
def test_significant_bits_of_a_png(tmp_path, kind):
    values = narrow(kind) // 4
    if "A" in kind:
        values[..., -1] = 4095
    path = write_png(tmp_path / "x.png", values, 12)
    np.testing.assert_array_equal(decode_image(path), levels(values, 0, 4095))
    spread = values * 16  # as the format demands
    path = write_png(tmp_path / "y.png", spread, 12)
    assert abs(decode_image(path).astype(int) - levels(values, 0, 4095)).max() <= 1


def test_significant_bits_of_a_dark_png(tmp_path):
    values = narrow() // 64
    spread = write_png(tmp_path / "x.png", values * 16, 12)
    np.testing.assert_array_equal(decode_image(spread), levels(values * 16 // 256, 0, 255))
    strange = write_png(tmp_path / "y.png", narrow(), 10)  # more than declared, and not stretched
    np.testing.assert_array_equal(decode_image(strange), stretched(narrow()))


@pytest.mark.parametrize(
    ("tags", "black", "white"),
    [
        ({281: ("H", [4095])}, 0, 4095),
        ({281: ("H", [3000]), 280: ("H", [150])}, 150, 3000),
        ({341: ("H", [4095])}, 0, 4095),
        ({50717: ("I", [4000]), 50714: ("H", [128]), 281: ("H", [65535])}, 128, 4000),
        ({50717: ("I", [4000]), 50714: ("H", [1000])}, 0, 4000),  # more than the smallest value
    ],
)
@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_range_of_a_tiff(tmp_path, kind, tags, black, white):
    values = narrow(kind) // 2 + 50
    assert values.min() == 152
    path = write_tiff(tmp_path / "x.tif", values, tags=tags)
    np.testing.assert_array_equal(decode_image(path), levels(values, black, white))


@pytest.mark.parametrize("white", [0, 255, 65535])
def test_range_of_a_tiff_without_a_declaration(tmp_path, white):
    path = write_tiff(tmp_path / "x.tif", narrow(), tags={281: ("H", [white])})
    np.testing.assert_array_equal(decode_image(path), stretched(narrow()))


@pytest.mark.parametrize("deflate", [False, True])
def test_packed_tiff_of_12_bits(tmp_path, deflate):
    values = narrow() // 4
    text = "".join(f"{value:03x}" for value in values.ravel().tolist())
    data = bytes.fromhex(text)
    path = write_tiff(tmp_path / "x.tif", values, bits=12, data=data, deflate=deflate)
    np.testing.assert_array_equal(decode_image(path), levels(values, 0, 4095))


@pytest.mark.parametrize("kind", ["L", "RGB"])
def test_white_of_a_pnm(tmp_path, kind):
    values = narrow(kind) // 8
    image = decode_image(write_pnm(tmp_path / "x.pnm", values, 4095))
    assert abs(image.astype(int) - levels(values, 0, 4095)).max() <= 1


def test_bits_of_a_jpeg_2000(tmp_path):
    """Pillow writes 16 bits; if the file declares 12 bits, Pillow stretches the values."""
    Image.fromarray(narrow()[..., 0] // 8).save(tmp_path / "x.jp2")
    content = (tmp_path / "x.jp2").read_bytes()
    at = content.index(b"\xff\x4f\xff\x51") + 42
    assert content[at] == 15
    assert decode_image(tmp_path / "x.jp2").max() == 255
    (tmp_path / "x.jp2").write_bytes(content[:at] + b"\x0b" + content[at + 1 :])
    assert decode_image(tmp_path / "x.jp2").max() < 40


def test_signs(tmp_path):
    values = narrow().astype(np.int16) - 1000
    data = values.astype("<i2").tobytes()
    path = write_tiff(tmp_path / "x.tif", values, data=data, tags={339: ("H", [2])})
    np.testing.assert_array_equal(decode_image(path), stretched(values))
    values = np.array([[[0], [2**31], [2**32 - 1]]], dtype=np.uint32)
    path = write_tiff(tmp_path / "y.tif", values, bits=32, data=values.tobytes())
    assert decode_image(path)[0, :, 0].tolist() == [0, 128, 255]


def test_a_negative(tmp_path):
    values = narrow()
    path = write_tiff(tmp_path / "x.tif", values, tags={262: ("H", [0])})
    np.testing.assert_array_equal(decode_image(path), 255 - stretched(values))


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["RGB", "RGBA"])
def test_separate_colour_planes(tmp_path, kind, order, bits):
    values = narrow(kind, bits)
    data = np.ascontiguousarray(values.transpose(2, 0, 1)).astype(f"{order}u2").tobytes()
    step, n = values[..., 0].size * 2, values.shape[2]
    starts, lengths = ("I", [8 + step * i for i in range(n)]), ("I", [step] * n)
    tags = {284: ("H", [2]), 273: starts, 279: lengths}
    image = decode_image(write_tiff(tmp_path / "x.tif", values, order=order, data=data, tags=tags))
    expected = values[..., :3] >> 8 if bits == 16 else stretched(values)
    np.testing.assert_array_equal(image, expected)


def test_turned_by_exif(tmp_path):
    values = narrow("RGB")
    path = write_tiff(tmp_path / "x.tif", values, tags={274: ("H", [6])})
    np.testing.assert_array_equal(decode_image(path), np.rot90(stretched(values), -1))


# -- warnings --------------------------------------------------------------------------------------


def test_guesses_are_counted_in_a_warning(tmp_path, caplog):
    write_png(tmp_path / "a.png", narrow("RGB", 16))
    write_png(tmp_path / "b.png", narrow("RGB"))
    write_png(tmp_path / "c.png", narrow("L"))
    write_png(tmp_path / "d.png", narrow("L"), 12)
    write_png(tmp_path / "e.png", np.zeros((4, 4, 1), np.uint16))
    with caplog.at_level(logging.WARNING):
        FileImages(tmp_path, [f"{name}.png" for name in "abcde"]).check(2)
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: 2 of 5 images hold small values in 16 bits")
    assert "(first: b.png); each is stretched" in message
