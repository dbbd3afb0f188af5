"""Decoding: a file looks as in an image viewer, or is an error of one sentence."""

import errno
import logging
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from gcdflow import progress
from gcdflow.data.datasets import images as images_module
from gcdflow.data.datasets.images import ArrayImages, FileImages, decode_image
from gcdflow.errors import InputError
from PIL import Image, PngImagePlugin


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def saved(tmp_path: Path):
    """Save an image; return its path."""

    def save(name: str, image: Image.Image | np.ndarray, **options) -> Path:
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


# -- sources ---------------------------------------------------------------------------------------


def test_array_images():
    array = np.arange(4 * 2 * 3 * 1, dtype=np.uint8).reshape(4, 2, 3, 1)
    images = ArrayImages(array[::-1])
    assert len(images) == 4
    read = images.read(np.array([3, 0]))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array[[0, 3]])
    assert images.read([]).shape == (0, 2, 3, 1)
    images.check(1)
    assert not images.needs_workers


def test_pixels_and_order(tmp_path, saved):
    pixels = [noise(4, 6 + i, i) for i in range(3)]
    for i, image in enumerate(pixels):
        saved(f"{i}.png", image)
    images = FileImages(tmp_path, [f"{i}.png" for i in range(3)])
    assert len(images) == 3
    assert images.needs_workers
    for position, image in zip([2, 0, 2], images.read(np.array([2, 0, 2])), strict=True):
        np.testing.assert_array_equal(image, pixels[position])
        assert image.flags.writeable


def test_missing_image(tmp_path):
    with pytest.raises(InputError, match=rf"{tmp_path}/gone\.jpg: no such image"):
        FileImages(tmp_path, ["gone.jpg"]).read([0])


@pytest.mark.parametrize("threads", [1, 3])
def test_check(tmp_path, saved, monkeypatch, caplog, threads):
    monkeypatch.setattr(images_module, "_CHECKED_AT_A_TIME", 4)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REPORTS", 0.0)
    paths = [saved(f"{i}.jpg", noise(9, 9)).name for i in range(10)]
    with caplog.at_level(logging.INFO):
        FileImages(tmp_path, paths).check(threads)
    said = [m.split(",") for m in caplog.messages if "/" in m]
    assert [m[0] for m in said] == [f"checked {n}/10 images" for n in (4, 8)]
    assert all(m[1].endswith(" s left") for m in said)
    assert caplog.messages[-1].startswith("checked 10 images in ")
    FileImages(tmp_path, []).check(threads)
    (tmp_path / "6.jpg").write_bytes(b"hello")
    expected = (
        rf"^{tmp_path}: 1 of 10 images cannot be read: 6\.jpg: not a readable image \(whatever "
        r"its name says, its content is no known image format\); put good copies in "
        r"their place, or move them out of the folder$"
    )
    with pytest.raises(InputError, match=expected):
        FileImages(tmp_path, paths).check(threads)
    (tmp_path / "6.jpg").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"6\.jpg: not a readable image \(the file is empty\); put"
    ):
        FileImages(tmp_path, paths).check(threads)
    for i in (3, 7):
        (tmp_path / f"{i}.jpg").unlink()
    expected = rf"{tmp_path}: 2 of 10 listed images are missing \(first: 3\.jpg\)"
    with pytest.raises(InputError, match=expected):
        FileImages(tmp_path, paths).check(threads)


def test_check_decodes_all_pixels_and_converts_one(tmp_path, saved, monkeypatch):
    converted, rgb = [], images_module._rgb
    monkeypatch.setattr(
        images_module, "_rgb", lambda image: converted.append(image.size) or rgb(image)
    )
    paths = [saved("a.png", noise(300, 200)).name, saved("b.jpg", noise(300, 200)).name]
    FileImages(tmp_path, paths).check(1)
    assert converted == [(1, 1), (1, 1)]
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])  # its first pixel can be read
    with pytest.raises(InputError, match=r"1 of 2 images cannot be read: a\.png: not a readable"):
        FileImages(tmp_path, paths).check(1)


def test_check_finds_all_unreadable_images(tmp_path, saved, caplog):
    paths = [f"{i}.jpg" for i in range(14)]
    for path in paths[:12]:
        (tmp_path / path).write_bytes(b"hello")
    for path in paths[12:]:
        saved(path, noise(9, 9))
    with pytest.raises(
        InputError, match=r"12 of 14 images cannot .* 9\.jpg.*; and 2 more; put"
    ) as e:
        FileImages(tmp_path, paths).check(2)
    assert "10.jpg" not in str(e.value)
    assert [
        r.getMessage().split(": ")[0] for r in caplog.records if r.levelno == logging.WARNING
    ] == [f"{tmp_path}/{path}" for path in paths[:12]]
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    with pytest.raises(InputError, match=r"1 of 1 images cannot be read: link\.jpg: no such image"):
        FileImages(tmp_path, ["link.jpg"]).check(1)


@pytest.mark.parametrize("name", ["x.dng", "x.nef", "x.CR3"])
def test_formats_that_pillow_does_not_read(tmp_path, saved, name):
    saved("thumbnail.tiff", noise(9, 9)).rename(tmp_path / name)  # as raw files begin
    with pytest.raises(InputError, match=rf"{name}: .* cannot read this format; export it as JPEG"):
        decode_image(tmp_path / name)


@pytest.mark.parametrize("name", ["x.heic", "x.HEIF"])
def test_without_its_package_apples_format_is_refused_and_the_package_named(
    tmp_path, saved, name, monkeypatch
):
    monkeypatch.setattr(images_module, "_reads_heif", lambda: False)
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(
        InputError, match=rf"{name}: .*pip install --constraint .* -e '\.\[heif\]'.*export it as JP"
    ):
        decode_image(tmp_path / name)
    pixels = noise(9, 9)
    saved("x.png", pixels).rename(tmp_path / name)  # another format under this name is read
    np.testing.assert_array_equal(decode_image(tmp_path / name), pixels)


def test_with_its_package_apples_format_is_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pixels = np.zeros((64, 96, 3), dtype=np.uint8)
    pixels[:32], pixels[32:, :48] = (200, 40, 40), (40, 40, 200)
    image = pillow_heif.from_pillow(Image.fromarray(pixels))
    image.save(tmp_path / "phone.HEIC", quality=95)
    found = decode_image(tmp_path / "phone.HEIC").astype(int)
    assert np.abs(found - pixels).mean() < 4
    content = (tmp_path / "phone.HEIC").read_bytes()
    (tmp_path / "cut.heic").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut\.heic: not a readable image \((?!HEIC needs)"):
        decode_image(tmp_path / "cut.heic")


def test_the_package_of_apples_format_is_loaded_for_that_alone(tmp_path, saved):
    """Reading a JPEG does not ask for it; here, its import would fail."""
    saved("x.jpg", noise(9, 9))
    (tmp_path / "pillow_heif.py").write_text("raise RuntimeError('was loaded')")
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from gcdflow.data.datasets.images import decode_image\n"
        "decode_image(Path(sys.argv[1], 'x.jpg'))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    path = os.pathsep.join(sys.path)
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})


# -- kinds of images -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "RGBA", "CMYK", "1"])
def test_white_is_white_in_any_kind_of_image(saved, mode):
    path = saved(
        "x.jpg" if mode == "CMYK" else "x.png", Image.new("RGB", (5, 3), "white").convert(mode)
    )
    image = decode_image(path)
    assert image.shape == (3, 5, 3)
    assert image.dtype == np.uint8
    assert (image >= 254).all()


def test_grey(saved):
    grey = noise(4, 6)[..., 0]
    np.testing.assert_array_equal(decode_image(saved("x.png", grey)), np.dstack([grey] * 3))


def test_16_bit_grey(saved):
    grey = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16)
    for name in ("x.png", "x.tiff", "x.pgm"):
        np.testing.assert_array_equal(decode_image(saved(name, grey)), np.dstack([expected] * 3))
    dark = grey // 3  # not stretched
    np.testing.assert_array_equal(
        decode_image(saved("y.pgm", dark)), decode_image(saved("y.png", dark))
    )


def test_float_tiff_is_stretched(saved):
    values = np.linspace(-1, 3, 256, dtype=np.float32).reshape(16, 16)
    expected = np.dstack([np.arange(256).reshape(16, 16)] * 3)
    np.testing.assert_array_equal(decode_image(saved("x.tiff", values)), expected)


def test_32_bit_integers_are_stretched(saved):
    values = np.array([[1000, 1255], [1100, 1001]], dtype=np.int32)
    image = decode_image(saved("x.tiff", values))
    np.testing.assert_array_equal(image[..., 1], [[0, 255], [100, 1]])


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite(saved):
    values = np.array([[0, 2, np.nan], [np.inf, 1, -np.inf]], dtype=np.float32)
    image = decode_image(saved("x.tiff", values))
    np.testing.assert_array_equal(image[..., 0], [[0, 255, 0], [255, 128, 0]])
    flat = decode_image(saved("flat.tiff", np.full((2, 2), 7, dtype=np.float32)))
    assert (flat == 0).all()
    with pytest.raises(InputError, match=r"nan\.tiff: not a readable image \(holds no finite"):
        decode_image(saved("nan.tiff", np.full((2, 2), np.nan, dtype=np.float32)))


def test_palette_with_transparency(saved):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    decoded = decode_image(saved("x.png", image, transparency=0))
    assert decoded.tolist() == [[[255, 255, 255], [200, 100, 50]]]
    decoded = decode_image(saved("x.gif", image, transparency=1))
    assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_transparent_is_white(saved):
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], dtype=np.uint8)
    decoded = decode_image(saved("x.png", pixels))
    assert decoded[0, :2].tolist() == [[255, 255, 255], [10, 20, 30]]
    np.testing.assert_allclose(decoded[0, 2], 127, atol=1)
    rgb = Image.new("RGB", (1, 1), (1, 2, 3))
    assert (decode_image(saved("y.png", rgb, transparency=(1, 2, 3))) == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P"])
def test_parts_of_a_large_image_make_the_whole(saved, monkeypatch, mode):
    image = Image.fromarray(np.dstack([noise(11, 7), noise(11, 7, 1)[:, :, 0]])).convert(mode)
    color = {} if mode.endswith("A") else {"transparency": image.getpixel((3, 5))}
    path = saved("x.png", image, **color)
    whole = Image.new("RGBA", image.size, "white")
    whole.alpha_composite(Image.open(path).convert("RGBA"))
    expected = np.array(whole.convert("RGB"))
    assert (expected[5, 3] == 255).all() or mode.endswith("A")
    monkeypatch.setattr(images_module, "_CONVERTED_AT_A_TIME", 3 * 7 + 6)  # 3 rows, the last part 2
    np.testing.assert_array_equal(decode_image(path), expected)


def test_cmyk_jpeg(saved):
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    image = decode_image(saved("x.jpg", cyan, quality=95))
    np.testing.assert_allclose(image[4, 4], [0, 255, 255], atol=6)


def test_orientation_from_exif(saved):
    """Orientation 6: rotated by 90° clockwise, the left lower corner is on top."""
    pixels = np.zeros((16, 32, 3), dtype=np.uint8)
    pixels[8:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(saved("x.jpg", pixels, exif=exif, quality=95))
    assert image.shape == (32, 16, 3)
    np.testing.assert_allclose(image[:8, :8], 255, atol=12)
    np.testing.assert_allclose(image[8:, 8:], 0, atol=12)
    turned = decode_image(saved("x.png", pixels, exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(pixels, -1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\x08\0\0\0\x05\0\x12\x01", b""])
def test_damaged_exif_is_ignored(saved, exif):
    pixels = noise(8, 12)
    expected = decode_image(saved("plain.jpg", pixels))
    image = decode_image(saved("x.jpg", pixels, exif=b"Exif\0\0" + exif))
    np.testing.assert_array_equal(image, expected)


# -- decoding at reduced size ----------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(400, 600), (601, 399), (97, 1000)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_may_be_decoded_smaller(saved, height, width, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved("x.jpg", noise(height, width), exif=exif)
    whole = decode_image(path)
    for side in (1, 20, 24, 25, 49, 50, 51, 99, 100, 101, 200, 224, 500):
        image = decode_image(path, side)
        assert min(image.shape[:2]) >= min(2 * side, *whole.shape[:2])
        scaled = [tuple(-(-n // scale) for n in whole.shape[:2]) for scale in (1, 2, 4, 8)]
        assert image.shape[:2] in scaled
    assert min(decode_image(path, 1).shape[:2]) <= min(height, width) // 8 + 1
    np.testing.assert_array_equal(decode_image(path, 500), whole)


def test_other_formats_keep_their_size(saved):
    path = saved("x.png", noise(64, 80))
    np.testing.assert_array_equal(decode_image(path, 1), decode_image(path))


def test_a_smaller_jpeg_looks_the_same(saved):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    path = saved("x.jpg", np.dstack([np.tile(ramp, (512, 1))] * 3), quality=95)
    small = Image.fromarray(decode_image(path, 32)).resize((32, 32), Image.Resampling.BILINEAR)
    large = Image.fromarray(decode_image(path)).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(np.asarray(small, int), np.asarray(large, int), atol=2)


# -- files that are no images ----------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("side", [None, 1])
def test_truncated_jpeg(saved, progressive, side):
    path = saved("cut.jpg", noise(200, 300), progressive=progressive)
    content = path.read_bytes()
    for end in (20, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match=r"cut\.jpg: not a readable image \("):
            decode_image(path, side)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_files_that_are_no_images(tmp_path, content):
    path = tmp_path / "text.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"text\.jpg: not a readable image \(") as error:
        decode_image(path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=rf"{tmp_path}: not a readable image"):
        decode_image(tmp_path)


def texts(zip: bool) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for i in range(66):
        info.add_text(f"text {i}", "x" * 1_050_000, zip=zip)
    return info


@pytest.mark.parametrize(
    "options",
    [
        {"icc_profile": bytes(3_000_000)},
        {"pnginfo": texts(True)},
        {"pnginfo": texts(False)},  # more than Pillow accepts in total
    ],
)
def test_good_pictures_with_much_metadata(saved, options):
    pixels, exif = noise(20, 30), Image.Exif()
    exif[0x0112] = 6
    path = saved("x.png", pixels, exif=exif, **options)
    np.testing.assert_array_equal(decode_image(path), np.rot90(pixels, -1))
    path.write_bytes(path.read_bytes()[:-200])  # of its pixels
    with pytest.raises(InputError, match=r"x\.png: not a readable image"):
        decode_image(path)


def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(InputError, match=r"x\.jpg: not a readable image \(no file, but a folder"):
        decode_image(tmp_path / "x.jpg")


def test_errors_of_the_machine_are_not_errors_of_the_image(tmp_path, saved, monkeypatch):
    path = saved("x.png", noise(8, 8))

    def busy(*args, **options):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(Image, "open", busy)
    images = FileImages(tmp_path, ["x.png"])
    for read in (lambda: images.unreadable(1), lambda: images.read([0])):
        with pytest.raises(InputError, match=r"x\.png: cannot be read now \(Too many open files\)"):
            read()


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_images_that_are_too_large(saved, monkeypatch, name):
    path = saved(name, noise(100, 101))
    monkeypatch.setattr(images_module, "_MOST_PIXELS", 10_099)
    with pytest.raises(InputError, match=rf"{name}: not a readable image \(101 × 100 pixels, exp"):
        decode_image(path, 1)
    monkeypatch.setattr(images_module, "_MOST_PIXELS", 10_100)
    assert decode_image(path).shape == (100, 101, 3)


def test_large_images_are_refused_by_their_header_and_no_warning_is_printed(tmp_path, saved):
    """This runs in a separate process, because pytest sets its own filters of warnings."""
    chunk = struct.pack(">4sIIBBBBB", b"IHDR", 20_001, 20_000, 8, 2, 0, 0, 0)
    header = b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "huge.png").write_bytes(header + struct.pack(">I4s", 9, b"IDAT"))
    # Pillow would warn above its own limit.
    Image.new("1", (9_500, 9_500)).save(tmp_path / "large.png")
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"
    saved("exif.jpg", noise(8, 8), exif=broken)
    code = (
        "import sys; from pathlib import Path;"
        "from gcdflow.data.datasets.images import decode_image;"
        "[decode_image(Path(path), 8) for path in sys.argv[1:]]"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "exif.jpg", "large.png", "huge.png"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(images_module.__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = "huge.png: not a readable image (20001 × 20000 pixels, expected at most 201 million)"
    assert expected in done.stderr.splitlines()[-1]
    assert "Warning" not in done.stderr
