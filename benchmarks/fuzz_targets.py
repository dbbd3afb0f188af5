"""The readers that are fuzzed: valid files for each, and what must hold of whatever is read."""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import fuzz_views
import numpy as np
import safetensors.torch
import timm
import torch
from fuzz_mutations import Mutation, mutate, mutate_npy, mutate_npz, mutate_png, mutate_pt
from gcdflow.categories.assignments import Assignments
from gcdflow.clustering.heatmap import read_grid_table
from gcdflow.config.runs import load_runs
from gcdflow.config.settings import BenchmarkSettings, RunSettings, TrainSettings
from gcdflow.data.augmentation import build_augmentation
from gcdflow.data.datasets import aircraft, cub, scars
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.cifar_files import LAYOUTS, read_class_names, read_labels
from gcdflow.data.datasets.images import decode_image
from gcdflow.data.datasets.photos import read_labels as read_photo_labels
from gcdflow.evaluation.report import read_metrics, row
from gcdflow.files.formats import Features, Labels, PseudoLabels, Split, Truth
from gcdflow.models.model import Model
from gcdflow.models.weights import convert_weights, load_weights
from gcdflow.training.checkpoint import Checkpoint, restore_model, stored_weights
from PIL import Image
from scipy.io import savemat

CONFIG = Path(__file__).resolve().parents[1] / "config" / "config.yaml"


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes
    ----------
    place : path of the file that is mutated, in the folder of the target
    seeds : contents of valid files
    read : from the file's path to a value
    check : asserts what must hold of whatever is read
    mutations : of the file as bytes, and such as know its structure
    weight : share of all inputs
    lazy : it may ask for more memory than there is, as long as it does not touch it
    memory : bytes that it may take
    quiet : beginnings of lines that a library writes to standard error, and nobody can prevent
    """

    place: str
    seeds: list[bytes]
    read: Callable[[Path], Any]
    check: Callable[[Path, Any], None]
    mutations: tuple[Mutation, ...] = (mutate,)
    weight: float = 1.0
    lazy: bool = False
    memory: int = 2**30
    quiet: tuple[str, ...] = ()

    def input(self, rng: random.Random, foreign: list[bytes]) -> bytes:
        """One input: mostly a mutated valid file, sometimes one of another reader."""
        if rng.random() < 0.02:
            return rng.choice(foreign)
        return rng.choice(self.mutations)(rng, rng.choice(self.seeds))


def saved(folder: Path, *values: Any) -> list[bytes]:
    """The bytes that ``save`` writes for each value."""
    contents = []
    for value in values:
        value.save(folder / "seed")
        contents.append((folder / "seed").read_bytes())
    return contents


# -- files between the stages ----------------------------------------------------------------------

_N = 12


def _formats(folder: Path) -> dict[str, Target]:
    rng = np.random.default_rng(0)
    ids, train = rng.permutation(100)[:_N].astype(np.int64), np.arange(_N) % 4 != 3
    labelled = train & (np.arange(_N) < 6)
    labels = np.where(labelled, np.arange(_N) % 2, -1)
    names = np.array(["ant", "bee"])
    sha = {"checkpoint": "c.pt", "checkpoint_sha256": "1f", "fingerprint": "2e", "epoch": 50}
    m = int(train.sum())
    values = {
        Split: [
            Split(ids, train, labelled, labels, {"dataset": "digits"}, np.array([], "U1"), names),
            Split(
                *(ids, train, labelled, labels, {"dataset": "cub", "root": "x"}),
                *(np.array([f"a/ö{i}.jpg" for i in ids]), names),
            ),
        ],
        Truth: [Truth(ids, np.arange(_N) % 4, np.arange(_N) % 4 < 2, np.array(list("abcd")))],
        Labels: [Labels(ids, labels, names)],
        Features: [Features(ids, rng.random((_N, 4), np.float32), labels, train, sha)],
        PseudoLabels: [
            PseudoLabels(
                *(ids[train], np.arange(m) % 3, np.arange(m) % 2 == 0),
                rng.random(m, np.float32) + 0.1,
                {"k": 3, "density_percentile": 40},
                sha
                | {"n_clusters": 3, "n_samples": m, "normalize": True, "label_change_rate": 0.1},
            )
        ],
    }
    targets = {
        f"npz {kind.__name__}": Target(
            "x.npz",
            saved(folder, *instances),
            kind.load,
            check_format,
            (mutate, mutate_npz, mutate_npz),
            2,
        )
        for kind, instances in values.items()
    }
    arrays = {"features": rng.random((_N, 4)), "labels": labels.astype(np.int16)}
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)
    targets["npz Features"].seeds.append(target.getvalue())
    npy = []
    for array in (arrays["features"], np.asfortranarray(arrays["features"].astype(">f4"))):
        target = io.BytesIO()
        np.save(target, array)
        npy.append(target.getvalue())
    targets["npy Features"] = Target(
        "x.npy", npy, Features.load, check_format, (mutate, mutate_npy), 1
    )
    return targets


def check_format(path: Path, value: Any) -> None:
    """Whatever was read is what the stages may rely on, and is equal when written and read."""
    n = len(value.indices)
    assert n > 0
    assert value.indices.dtype == value.labels.dtype == np.int64
    assert len(np.unique(value.indices)) == n == len(value.labels)
    if isinstance(value, PseudoLabels):
        assert (np.unique(value.labels) == np.arange(value.n_clusters)).all()
        assert value.core_mask.any()
        assert (value.densities > 0).all()
        assert np.isfinite(value.densities).all()
    if isinstance(value, Features):
        assert value.features.ndim == 2
        assert value.features.size > 0
        assert np.isfinite(value.features).all()
        assert value.features.dtype.isnative
        assert value.labels.min() >= -1
        assert type(value.metadata.get("epoch", 0)) is int
    if isinstance(value, Split):
        assert (value.labelled_mask == (value.labels >= 0)).all()
        assert value.labels.max() < len(value.old_class_names)
        assert not (value.labelled_mask & ~value.train_mask).any()
        for image in value.paths.tolist():
            assert (Path("/root") / image).resolve().is_relative_to("/root")
    if isinstance(value, Truth | Labels):
        assert -1 <= value.labels.min() <= value.labels.max() < len(value.class_names)
    value.save(path.with_name("again.npz"))
    again = type(value).load(path.with_name("again.npz"))
    for field in fields(value):
        one, other = getattr(value, field.name), getattr(again, field.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


def _checkpoints(folder: Path) -> Target:
    settings = TrainSettings.model_validate(
        {
            "seed": 0,
            "augmentation": {"name": "affine"},
            "backbone": {"name": "small_convnet", "width": 1},
            "head": {"hidden_dim": 4, "bottleneck_dim": 4, "out_dim": 4},
            "training": {"batch_size": 8},
            "total_epochs": 10,
        }
    )
    torch.manual_seed(0)
    model = Model(settings)
    optimizer = _sgd(model, lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    model(torch.rand(4, 1, 8, 8))[:, 0].sum().backward()
    optimizer.step()
    scheduler.step()
    state = (stored_weights(model, settings), optimizer.state_dict(), scheduler.state_dict())
    values = [
        Checkpoint(3, settings, "5" * 64, *state),
        Checkpoint(3, settings, "5" * 64, *state, None, torch.rand(3, 4), "7" * 64, {"key": "x"}),
    ]

    def read(path: Path) -> Checkpoint:
        checkpoint = Checkpoint.load(path)
        return checkpoint, restore_model(path, checkpoint)

    return Target(
        "x.pt", saved(folder, *values), read, check_checkpoint, (mutate, mutate_pt, mutate_pt), 1
    )


def _sgd(model: Model, **options: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], **options)


def check_checkpoint(path: Path, value: tuple[Checkpoint, Model]) -> None:
    """All is finite, fits the model, and the optimizer and scheduler take it and go on."""
    checkpoint, model = value
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())
    lowest = 0 if checkpoint.rolling else 1
    assert lowest <= checkpoint.epoch <= checkpoint.settings.total_epochs
    options = checkpoint.settings.training
    optimizer = _sgd(model, lr=options.lr, momentum=options.momentum)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    optimizer.load_state_dict(checkpoint.optimizer)
    scheduler.load_state_dict(checkpoint.scheduler)
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    scheduler.step()
    checkpoint.save(path.with_name("again.pt"))


def _weights() -> dict[str, Target]:
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=32, depth=1, embed_dim=12)
    state = vit.state_dict()
    contents = []
    for content, options in (
        (state, {}),
        ({"teacher": {f"backbone.{k}": v for k, v in state.items()}, "epoch": 3}, {}),
        (state, {"_use_new_zipfile_serialization": False}),
    ):
        target = io.BytesIO()
        torch.save(content, target, **options)
        contents.append(target.getvalue())

    def read(path: Path) -> torch.nn.Module:
        load_weights(vit, path)
        return vit

    def read_foreign(path: Path) -> torch.nn.Module:
        convert_weights(path, path.with_name("converted.safetensors"))
        return read(path.with_name("converted.safetensors"))

    def check(path: Path, value: torch.nn.Module) -> None:
        assert all(torch.isfinite(tensor).all() for tensor in value.state_dict().values())

    return {
        "weights .pth": Target(
            "x.pth", contents[:2], read_foreign, check, (mutate, mutate_pt), 0.6
        ),
        "weights old .pth": Target("x.pth", contents[2:], read_foreign, check, (mutate,), 0.4),
        "weights safetensors": Target(
            "x.safetensors", [safetensors.torch.save(state)], read, check, (mutate,), 0.6
        ),
    }


# -- tables and texts ------------------------------------------------------------------------------


def _csv(rows: list[list[str]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


def _tables(folder: Path) -> dict[str, Target]:
    photos = [["a.jpg", "owl", "", ""], ["b/c d.jpg", "", "test", "crow"], ['"ö".png', "", "", ""]]
    header = ["path", "label", "split", "truth"]
    assignments = Assignments(
        paths=["a.jpg", "b, ö.jpg"],
        categories=["owl", "new-1"],
        confidences=np.array([1.0, 0.25]),
        core_mask=np.array([True, False]),
        labels=["owl", ""],
        suggested=["crow", ""],
        train_mask=np.array([True, False]),
        clusters=np.array([0, 1]),
        left_out={"c.jpg": "torn"},
    )
    grid = [["k", "density_percentile", "score", "n_clusters", "seconds"]]
    grid += [[str(k), str(p), f"{k / p:.4f}", str(k + 1), "0.5"] for k in (3, 5) for p in (40, 60)]
    metrics = {
        "epoch": 50,
        "transductive": {"all": 0.5, "old": 0.75, "new": 0.0},
        "inductive": {"all": 1.0, "old": 0.12345, "new": None},
        "n_clusters": 12,
        "n_classes": 10,
        "core_ratio": 0.456,
        "label_change_rate": None,
    }
    runs = {"runs": {"a": {"dataset": {"name": "digits", "seed": 4}}, "b": {"inherit": "a"}}}
    return {
        "csv labels": Target(
            "x.csv",
            [_csv([header, *photos]), _csv([header[:2], *(r[:2] for r in photos)], ";")],
            read_photo_labels,
            check_photos,
            weight=3,
        ),
        "csv assignments": Target(
            "x.csv", saved(folder, assignments), Assignments.load, check_assignments, weight=3
        ),
        "tsv grid": Target("x.tsv", [_csv(grid, "\t")], read_grid_table, check_grid, weight=3),
        "json metrics": Target(
            "x.json",
            [json.dumps(metrics, indent=2).encode()],
            read_metrics,
            check_metrics,
            weight=3,
        ),
        "yaml configuration": Target(
            "x.yaml",
            [json.dumps(runs).encode(), _YAML, _YAML, CONFIG.read_bytes()],
            load_runs,
            check_runs,
            weight=1,
        ),
    }


_YAML = b"""
defaults: {seed: 3, training: &t {lr: 0.1, batch_size: 64}}
runs:
  a:
    dataset: {name: cifar100, superclass: fish, old_classes: [1, "2"]}
    training: *t
    clustering: {k: '3:20', percentile: '40:95:5'}
  b-1.x: {inherit: a, seed: 5, backbone: {name: small_convnet}, augmentation: {name: affine}}
"""


def check_photos(path: Path, rows: list) -> None:
    for one in rows:
        assert (Path("/root") / one.path).resolve().is_relative_to("/root")
        assert one.split in ("train", "test")
        assert "\n" not in one.label + one.truth


def check_assignments(path: Path, value: Assignments) -> None:
    assert all(0 <= c <= 1 for c in value.confidences)
    columns = [field.name for field in fields(value) if field.name != "left_out"]
    assert len({len(getattr(value, name)) for name in columns}) == 1
    value.summary()
    value.save(path.with_name("again.csv"))
    again = Assignments.load(path.with_name("again.csv"))
    assert (again.paths, again.left_out) == (value.paths, value.left_out)


def check_grid(path: Path, grid: dict[str, np.ndarray]) -> None:
    assert all(np.isfinite(values).all() for values in grid.values())
    assert grid["k"].min() >= 1


def check_metrics(path: Path, metrics: dict) -> None:
    assert all(len(cell) < 20 for cell in row(metrics))


def check_runs(path: Path, runs: dict[str, RunSettings]) -> None:
    for name, run in runs.items():
        assert Path(name).name == name
        assert name != ".."
        run.train_settings(guided=True)
        run.schedule.checkpoint_epochs()


# -- datasets --------------------------------------------------------------------------------------


def _wide_png(pixels: np.ndarray) -> bytes:
    """Colours of 12 bits in a PNG of 16, which Pillow does not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + (row.astype(">u2") * 16).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"sBIT", b"\x0c" * 3), (b"IDAT", zlib.compress(rows)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*chunks, (b"IEND", b""))
    )


def _images(folder: Path) -> Target:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image, contents = Image.fromarray(pixels), []
    twelve_bits, exif = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 16), Image.Exif()
    exif[0x0112] = 6
    for kind, made, options in (
        ("png", image, {}),
        ("png", image.convert("P"), {"transparency": 3}),
        ("png", image.convert("LA"), {}),
        ("jpeg", image, {"exif": exif}),
        ("jpeg", image, {"progressive": True}),
        ("jpeg", image.convert("CMYK"), {}),
        ("tiff", image, {}),
        ("tiff", image, {"compression": "tiff_lzw"}),
        ("tiff", Image.fromarray(pixels[:, :, 0].astype(np.float32)), {}),
        *((kind, image, {}) for kind in ("gif", "webp", "bmp", "ppm", "jpeg2000")),
        *((kind, twelve_bits, {}) for kind in ("png", "tiff", "ppm", "jpeg2000")),
    ):
        target = io.BytesIO()
        made.save(target, kind, **options)
        contents.append(target.getvalue())
    contents += [_wide_png(pixels), b"P6 20 24 65535\n" + (pixels.astype(">u2") * 16).tobytes()]

    def read(path: Path) -> list[np.ndarray]:
        return [decode_image(path), decode_image(path, 4)]

    def check(path: Path, found: list[np.ndarray]) -> None:
        augmentation = build_augmentation(RunSettings().augmentation)
        for array in found:
            assert array.dtype == np.uint8
            assert array.ndim == 3
            assert array.shape[2] == 3
            assert min(array.shape) > 0
        assert augmentation is not None

    # An image may have 200 million pixels, and takes up to 20 bytes for each on its way to RGB.
    # libtiff prints what is wrong with a TIFF file, and Pillow raises it.
    return Target(
        *("x.jpg", contents, read, check, (mutate, mutate_png), 3), memory=2**32, quiet=("",)
    )


def _numbered(values: list[object]) -> str:
    return "".join(f"{i + 1} {value}\n" for i, value in enumerate(values))


def _datasets(folder: Path) -> dict[str, Target]:
    targets = {}
    texts = {
        "images": _numbered([f"{i // 3:03d}.a/{i}.jpg" for i in range(9)]),
        "image_class_labels": _numbered([i // 3 + 1 for i in range(9)]),
        "train_test_split": _numbered([int(i % 3 < 2) for i in range(9)]),
        "classes": _numbered(["001.a", "002.b", "003.c"]),
    }
    for name, text in texts.items():
        place = folder / f"cub {name}" / "CUB_200_2011"
        place.mkdir(parents=True)
        for other, content in texts.items():
            (place / f"{other}.txt").write_text(content)
        targets[f"cub {name}"] = Target(
            f"CUB_200_2011/{name}.txt", [text.encode()], _benchmark("cub"), check_split
        )
    place = folder / "aircraft variants" / "fgvc-aircraft-2013b" / "data"
    place.mkdir(parents=True)
    train = "".join(f"{i:07d} 7{i % 3}7 - {i % 3}\n" for i in range(9))
    (place / "images_variant_test.txt").write_text("1234567 707 - 0\n")
    targets["aircraft variants"] = Target(
        "fgvc-aircraft-2013b/data/images_variant_trainval.txt",
        [train.encode()],
        _benchmark("aircraft"),
        check_split,
    )
    targets |= _cifar() | _scars(folder)
    return targets


def _benchmark(name: str) -> Callable[[Path], tuple[Split, Truth]]:
    module, depth = {"cub": (cub, 1), "aircraft": (aircraft, 2), "scars": (scars, 1)}[name]

    def read(path: Path) -> tuple[Split, Truth]:
        root = path.parents[depth + ("devkit" in path.parts)]
        settings = BenchmarkSettings(name=name, root=str(root), old_classes=[0, 1])
        return split_catalogue(module.catalogue(settings), settings)

    return read


def check_split(path: Path, value: tuple[Split, Truth]) -> None:
    for one in value:
        one.save(path.with_name("again.npz"))
        check_format(path, type(one).load(path.with_name("again.npz")))


def _cifar() -> dict[str, Target]:
    layout = LAYOUTS["cifar10"]
    batch = {
        "data": np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8),
        "labels": [0, 9, 3],
        "filenames": ["a.png"] * 3,
    }
    names = {"label_names": [f"name {i}" for i in range(10)], "num_vis": 3072}

    def check(path: Path, labels: np.ndarray) -> None:
        assert 0 <= labels.min(initial=0) <= labels.max(initial=0) < 10

    def check_names(path: Path, found: list[str]) -> None:
        assert len(set(found)) == 10

    return {
        "cifar batch": Target(
            "data_batch_1",
            [pickle.dumps(batch, protocol) for protocol in (2, 4)],
            lambda path: read_labels(path, layout),
            check,
        ),
        "cifar names": Target(
            "batches.meta",
            [pickle.dumps(names, protocol) for protocol in (0, 2, 4)],
            lambda path: read_class_names(path, layout),
            check_names,
        ),
    }


def _scars(folder: Path) -> dict[str, Target]:
    boxes = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    table = np.zeros((1, 6), dtype=[(field, object) for field in (*boxes, "class", "fname")])
    for i in range(6):
        for field in boxes:
            table[field][0, i] = np.uint16(300 + i)
        table["class"][0, i], table["fname"][0, i] = np.uint8(i % 3 + 1), f"{i:05d}.jpg"
    names = np.array([["car a", "car b", "car c"]], dtype=object)
    contents: dict[str, list[bytes]] = {}
    for name, content in (
        ("cars_meta", {"class_names": names}),
        ("cars_train_annos", {"annotations": table}),
    ):
        for compressed in (False, True):
            target = io.BytesIO()
            savemat(target, content, do_compression=compressed)
            contents.setdefault(name, []).append(target.getvalue())
    targets = {}
    for name in contents:
        place = folder / f"scars {name}" / "stanford_cars" / "devkit"
        place.mkdir(parents=True)
        for other, (first, *_) in contents.items():
            (place / f"{other}.mat").write_bytes(first)
        (place / "cars_test_annos_withlabels.mat").write_bytes(contents["cars_train_annos"][0])
        targets[f"scars {name}"] = Target(
            f"stanford_cars/devkit/{name}.mat",
            contents[name],
            _benchmark("scars"),
            check_split,
            weight=0.3,  # a process for each file: slow
            lazy=True,  # SciPy makes room for what an inner array declares before it reads it
        )
    return targets


def _stored_views(folder: Path) -> Target:
    return Target(
        fuzz_views.PLACE,
        fuzz_views.seeds(folder),
        fuzz_views.read,
        fuzz_views.check,
        (mutate, fuzz_views.mutate_views, fuzz_views.mutate_views),
        2,
    )


def all_targets(folder: Path) -> dict[str, Target]:
    """All readers by name; each has a folder of that name in ``folder``."""
    targets = {
        **_formats(folder),
        "pt checkpoint": _checkpoints(folder),
        "npy stored views": _stored_views(folder),
        **_weights(),
        **_tables(folder),
        "images": _images(folder),
        **_datasets(folder),
    }
    for name, target in targets.items():
        (folder / name / target.place).parent.mkdir(parents=True, exist_ok=True)
    return targets
