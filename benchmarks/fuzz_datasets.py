"""The readers of images and datasets that are fuzzed."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path

import numpy as np
from example_files import write_cars, write_cub, write_mat, write_variants, written
from fuzz_mutations import mutate, mutate_png, png
from fuzz_targets import Target, check_archive
from gcdflow.config.settings import BenchmarkSettings
from gcdflow.data.datasets import dataset_module
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.cifar_files import LAYOUTS, read_class_names, read_labels
from gcdflow.data.datasets.images import decode_image
from gcdflow.files.formats import Split, Truth
from PIL import Image


def _images() -> Target:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    twelve_bits = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 16)
    exif[0x0112] = 6
    kinds = [("png", image, {}), ("png", image.convert("P"), {"transparency": 3})]
    kinds += [("png", image.convert("LA"), {}), ("jpeg", image, {"exif": exif})]
    kinds += [("jpeg", image, {"progressive": True}), ("jpeg", image.convert("CMYK"), {})]
    kinds += [("tiff", image, {}), ("tiff", image, {"compression": "tiff_lzw"})]
    kinds += [("tiff", Image.fromarray(pixels[:, :, 0].astype(np.float32)), {})]
    kinds += [(kind, image, {}) for kind in ("gif", "webp", "bmp", "ppm", "jpeg2000")]
    kinds += [(kind, twelve_bits, {}) for kind in ("png", "tiff", "ppm", "jpeg2000")]
    seeds = [written(partial(made.save, format=k, **options)) for k, made, options in kinds]
    wide = pixels.astype(">u2") * 16  # colours of 12 bits in 16, which Pillow does not write
    seeds += [png(wide, bits=12), b"P6 20 24 65535\n" + wide.tobytes()]

    def read(path: Path) -> list[np.ndarray]:
        return [decode_image(path), decode_image(path, 4)]

    # An image may have 200 million pixels, and takes up to 20 bytes for each on its way to RGB.
    # libtiff prints what is wrong with a TIFF file, and Pillow raises it.
    mutations, limits = (mutate, mutate_png), {"memory": 2**32, "quiet": ("",)}
    return Target("x.jpg", seeds, read, check_images, mutations, 3, **limits)


def check_images(path: Path, found: list[np.ndarray]) -> None:
    for array in found:
        assert array.dtype == np.uint8
        assert array.ndim == array.shape[2] == 3
        assert min(array.shape) > 0


def _write_aircraft(root: Path) -> None:
    write_variants(root, "trainval", [(f"{i:07d}", f"7{i % 3}7 - {i % 3}") for i in range(9)])
    write_variants(root, "test", [("1234567", "707 - 0")])


def _write_scars(root: Path, compressed: bool = False) -> None:
    names = {"class_names": np.array([["car a", "car b", "car c"]], dtype=object)}
    write_mat(root, "devkit/cars_meta", names, do_compression=compressed)
    for split in ("train_annos", "test_annos_withlabels"):
        write_cars(root, f"devkit/cars_{split}", [1, 2, 3] * 2, do_compression=compressed)


def dataset_targets(folder: Path) -> dict[str, Target]:
    """Readers of images and of datasets; each has a folder of its name in ``folder``."""
    cub = ("images", "image_class_labels", "train_test_split", "classes")
    # SciPy takes a process for each file, and makes room for what an inner array declares.
    slow = {"weight": 0.3, "lazy": True}
    variants = "fgvc-aircraft-2013b/data/images_variant_trainval.txt"
    cars = [f"stanford_cars/devkit/cars_{table}.mat" for table in ("meta", "train_annos")]
    compressed = partial(_write_scars, compressed=True)
    targets = {"images": _images(), **_cifar()}
    for name, writers, places, options in (
        ("cub", [write_cub], [f"CUB_200_2011/{table}.txt" for table in cub], {}),
        ("aircraft", [_write_aircraft], [variants], {}),
        (
            "scars",
            [compressed, _write_scars],
            cars,
            slow,
        ),
    ):
        for place in places:
            root, seeds = folder / f"{name} {Path(place).stem}", []
            for write in writers:
                write(root)
                seeds.append((root / place).read_bytes())
            settings = BenchmarkSettings(name=name, root=str(root), old_classes=[0, 1])
            read = partial(_split, settings)
            targets[root.name] = Target(place, seeds, read, check_split, **options)
    return targets


def _split(settings: BenchmarkSettings, path: Path) -> tuple[Split, Truth]:
    return split_catalogue(dataset_module(settings.name).catalogue(settings), settings)


def check_split(path: Path, value: tuple[Split, Truth]) -> None:
    for one in value:
        check_archive(path, one)


def _cifar() -> dict[str, Target]:
    layout = LAYOUTS["cifar10"]
    data = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    batch = {"data": data, "labels": [0, 9, 3], "filenames": ["a.png"] * 3}
    names = {"label_names": [f"name {i}" for i in range(10)], "num_vis": 3072}

    def check(path: Path, labels: np.ndarray) -> None:
        assert 0 <= labels.min(initial=0) <= labels.max(initial=0) < 10

    def check_names(path: Path, found: list[str]) -> None:
        assert len(set(found)) == 10

    batches, metas = ([pickle.dumps(x, p) for p in (0, 2, 4)] for x in (batch, names))
    return {
        "cifar batch": Target("data_batch_1", batches, partial(read_labels, layout=layout), check),
        "cifar names": Target(
            "batches.meta", metas, partial(read_class_names, layout=layout), check_names
        ),
    }
