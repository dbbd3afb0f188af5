import numpy as np
import pytest
import torch
from gcdflow.datasets.images import ArrayImages, FileImages
from gcdflow.errors import InputError
from PIL import Image


def test_array_images():
    array = np.arange(4 * 1 * 2 * 3, dtype=np.uint8).reshape(4, 1, 2, 3)
    images = ArrayImages(array[::-1])
    assert len(images) == 4
    read = images.read(np.array([3, 0]))
    assert read.dtype == torch.uint8
    np.testing.assert_array_equal(read, array[[0, 3]])
    assert images.read([]).shape == (0, 1, 2, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_any_kind_of_image_becomes_rgb(tmp_path, mode):
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    original = Image.new("RGB", (5, 3), (255, 255, 255)).convert(mode)
    original.save(path)
    (image,) = FileImages(tmp_path, [path.name]).read([0])
    assert image.shape == (3, 3, 5)
    assert image.dtype == torch.uint8
    assert (image >= 254).all()


def test_pixels_and_order(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    images = FileImages(tmp_path, [f"{i}.png" for i in range(3)])
    for position, image in zip([2, 0, 2], images.read(np.array([2, 0, 2])), strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0), pixels[position])


def test_missing_image(tmp_path):
    with pytest.raises(InputError, match=rf"{tmp_path}/gone\.jpg: no such image"):
        FileImages(tmp_path, ["gone.jpg"]).read([0])


def test_broken_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    broken = {"cut.jpg": content[: len(content) // 2], "empty.jpg": b"", "text.jpg": b"hello"}
    for name, altered in broken.items():
        (tmp_path / name).write_bytes(altered)
        with pytest.raises(InputError, match=rf"{name}: not a readable image \("):
            FileImages(tmp_path, [name]).read([0])
    with pytest.raises(InputError, match="not a readable image"):
        FileImages(tmp_path, ["."]).read([0])
