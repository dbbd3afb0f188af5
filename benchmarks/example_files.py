"""Small valid files of many kinds, for the fuzzer and the tests, which break them."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gcdflow.config.settings import TrainSettings
from gcdflow.files.formats import (
    AddedFeatures,
    ArrayFile,
    Classes,
    Features,
    Labels,
    Photographs,
    PseudoLabels,
    Split,
    Truth,
)
from gcdflow.models.model import Model
from gcdflow.training.checkpoint import Checkpoint, frozen_sha256, identified, stored_weights
from scipy.io import savemat

SHA = {"checkpoint": "größe.pt", "checkpoint_sha256": "1f", "fingerprint": "2e", "epoch": 12}
TINY = {
    "seed": 0,
    "augmentation": {"name": "affine"},
    "backbone": {"name": "small_convnet", "width": 2},
    "head": {"hidden_dim": 8, "bottleneck_dim": 4, "out_dim": 6},
    "training": {"batch_size": 8},
    "total_epochs": 10,
}


def written(write: Callable[[Any], object]) -> bytes:
    """The bytes that a function writes into a file."""
    target = io.BytesIO()
    write(target)
    return target.getvalue()


def torch_bytes(value: object, **options) -> bytes:
    """A file of ``torch.save``."""
    return written(partial(torch.save, value, **options))


# -- files of a run --------------------------------------------------------------------------------


def run_parts(n: int = 40, n_train: int = 32) -> dict[str, ArrayFile]:
    """The archives of a run as values: four classes, two of them old; the last samples test."""
    ids = np.arange(n)
    classes, train, rng = ids % 4, ids < n_train, np.random.default_rng(0)
    labels = np.where((classes < 2) & (ids < n_train // 2), classes, -1)
    rows = (np.eye(4)[classes] + rng.normal(0, 0.1, (n, 4))).astype(np.float32)
    names, in_memory = np.array(["ant", "bee"]), np.array([], "U1")
    result = {"n_clusters": 4, "normalize": True, "label_change_rate": 0.1}
    result |= {"agreement": 0.9, "against_labels": 0.05}
    return {
        "split": Split(ids, train, labels >= 0, labels, {"dataset": "digits"}, in_memory, names),
        "truth": Truth(ids, classes, classes < 2, np.array(list("abcd"))),
        "features": Features(ids, rows, labels, train, SHA),
        "pseudo": PseudoLabels(
            indices=ids[train],
            labels=classes[train],
            core_mask=ids[train] < n_train // 2,
            densities=np.ones(n_train, np.float32),
            neighbours=rng.integers(-1, n_train // 2, (n_train, 10)),
            best_params={"k": 3, "density_percentile": 40},
            metadata=SHA | result,
        ),
        "classes": Classes(ids, (classes + (ids % 7 == 0)) % 5, SHA),
        "labels": Labels(ids, labels, np.array(["ant", "bee", "cat"])),
        "photographs": Photographs(
            paths=np.array([f"a b/{i}.jpg" for i in range(n + 3)]),
            present=np.arange(n + 3) > 1,
            indices=np.concatenate([ids, [2**59, 2**59, 5]]),
            sha256=np.array([f"{i:064x}" for i in range(n + 3)]),
            sizes=np.arange(n + 3) * 1000,
            times=np.arange(n + 3) * 10**18 - 5,
            sample_sha256=np.array([f"{i:064x}" for i in range(n - 1)] + [""]),
            source={"dataset": "photos", "root": "x", "split_sha256": "3f", "left_out": {"b": "?"}},
        ),
        "added": AddedFeatures(
            np.array([2**59, 7, 0, 3]), rows[:4], SHA | {"unreadable": {"4f": "torn"}}
        ),
    }


def make_metrics(epoch: int = 50, **changes: object) -> dict[str, Any]:
    """Content of a ``metrics_epoch*.json``."""
    values = {
        "epoch": epoch,
        "transductive": {"all": 0.5, "old": 0.75, "new": 0.0},
        "inductive": {"all": 1.0, "old": 0.12345, "new": None},
        "n_clusters": 12,
        "n_classes": 10,
        "core_ratio": 0.456,
        "label_change_rate": None,
        "agreement": None,
        "against_labels": 0.05,
    }
    return values | changes


def make_estimates(**changes: object) -> dict[str, Any]:
    """Content of an ``estimates_*.json`` of the features of :func:`run_parts`."""
    numbers = {"estimated": 5, "silhouette": 4}
    found = {name: {"n_clusters": n, "seconds": 100.0 * n} for name, n in numbers.items()}
    return {**SHA, "normalize": True, **found} | changes


def make_baseline(epoch: int = 50, method: str = "kmeans", **changes: object) -> dict[str, Any]:
    """Content of a ``baseline_*.json`` of a method that needs the number of clusters."""
    result = {
        "number": "told",
        "transductive": {"all": 0.25, "old": 0.5, "new": None},
        "ari": 0.125,
        "n_clusters": 10,
        "seconds": 1.25,
    }
    estimates = {"estimated": 14, "silhouette": 11}
    results = [result, *(result | {"number": n, "n_clusters": k} for n, k in estimates.items())]
    return {"method": method, "epoch": epoch, "n_classes": 10, "results": results} | changes


def stepped(settings: TrainSettings, seed: int = 0, **changes: object) -> tuple[Model, Checkpoint]:
    """A model after one step of SGD, and its checkpoint."""
    torch.manual_seed(seed)
    model = Model(settings)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if settings.has_classifier:
        shape = settings.objective.n_prototypes, model.backbone.feature_dim
        parameters.append(torch.nn.Parameter(torch.rand(shape)))
        parameters[-1].sum().backward()
        changes = {"prototypes": parameters[-1].detach(), **changes}
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    size = getattr(settings.augmentation, "image_size", 8)
    channels = 3 if settings.augmentation.name == "crop" else 1
    model(torch.rand(4, channels, size, size))[:, 0].sum().backward()
    optimizer.step()
    weights = stored_weights(model, settings)
    sha256 = frozen_sha256(settings)
    known, state = identified(settings, sha256), optimizer.state_dict()
    return model, replace(Checkpoint(3, known, "5" * 64, weights, state, sha256), **changes)


# -- datasets in their own formats, without images -------------------------------------------------


def write_numbered(path: Path, values: Sequence[object]) -> None:
    """CUB's tables: an id and a value in each line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, start=1)))


def write_cub(root: Path, n_classes: int = 3, per_class: int = 3) -> list[str]:
    """The tables of CUB, the last image of each class for testing; returns the images' paths."""
    folder, names = root / "CUB_200_2011", [f"{c + 1:03d}.Bird_{c + 1}" for c in range(n_classes)]
    paths = [f"{name}/{name[4:]}_{i:04d}.jpg" for name in names for i in range(per_class)]
    write_numbered(folder / "images.txt", paths)
    write_numbered(folder / "classes.txt", names)
    of_images = np.repeat(np.arange(n_classes) + 1, per_class)
    write_numbered(folder / "image_class_labels.txt", of_images)
    write_numbered(folder / "train_test_split.txt", ([1] * (per_class - 1) + [0]) * n_classes)
    return paths


def write_variants(root: Path, split: str, pairs: Sequence[tuple[str, str]]) -> None:
    """A list of FGVC-Aircraft: an image and its variant in each line."""
    path = root / "fgvc-aircraft-2013b" / "data" / f"images_variant_{split}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{image} {variant}\n" for image, variant in pairs))


def write_cars(root: Path, name: str, classes: Sequence[object], files=None, **options) -> None:
    """Annotations of Stanford Cars; a class of None: without classes, as for the test split."""
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    if classes[0] is None:
        fields.remove("class")
    table = np.zeros((1, len(classes)), dtype=[(field, object) for field in fields])
    for i, value in enumerate(classes):
        for field in fields[:4]:
            table[field][0, i] = np.uint16(300 + i)
        table["fname"][0, i] = files[i] if files else f"{i + 1:05d}.jpg"
        if value is not None:
            table["class"][0, i] = np.uint8(value) if isinstance(value, int) else value
    write_mat(root, name, {"annotations": table}, **options)


def write_mat(root: Path, name: str, content: dict[str, Any], **options) -> None:
    """A MATLAB file of Stanford Cars, such as its ``devkit/cars_meta``."""
    path = root / "stanford_cars" / f"{name}.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, content, **options)
