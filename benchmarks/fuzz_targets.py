"""The readers that are fuzzed: valid files for each, and what must hold of whatever is read."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_views
import numpy as np
import safetensors.torch
import timm
import torch
from example_files import (
    TINY,
    make_baseline,
    make_estimates,
    make_metrics,
    run_parts,
    stepped,
    written,
)
from fuzz_mutations import (
    Mutation,
    broken_as_declared,
    broken_json,
    mutate,
    mutate_npy,
    mutate_npz,
    mutate_pt,
)
from gcdflow.categories.assignments import Assignments
from gcdflow.clustering.heatmap import read_grid_table
from gcdflow.config.runs import load_runs
from gcdflow.config.settings import RunSettings, TrainSettings
from gcdflow.data.datasets.photos import read_labels as read_photo_labels
from gcdflow.evaluation.comparison import COLUMNS, Compared, cells, compared, markdown_comparison
from gcdflow.evaluation.report import read_measured, read_metrics, row
from gcdflow.files.declared import BASELINE, ESTIMATES, GRID
from gcdflow.files.formats import ArrayFile, Features, Split
from gcdflow.models.model import Model
from gcdflow.models.weights import convert_weights, load_weights
from gcdflow.training.checkpoint import Checkpoint, restore_model

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


def saved(path: Path, value: Any) -> bytes:
    """The bytes that ``save`` writes."""
    value.save(path)
    return path.read_bytes()


# -- files between the stages ----------------------------------------------------------------------


def _archives(folder: Path) -> dict[str, Target]:
    targets = {}
    for value in run_parts(12, 9).values():
        kind = type(value)
        mutations = (mutate, mutate_npz, broken_as_declared(kind.declared))
        seeds = [saved(folder / "seed", value)]
        targets[f"npz {kind.__name__}"] = Target(
            "x.npz", seeds, kind.load, check_archive, mutations, weight=2
        )
        if kind is Split:
            images = np.array([f"a/ö{i}.jpg" for i in value.indices])
            source = {"dataset": "cub", "root": "x", "left_out": {"b.jpg": "torn"}}
            seeds.append(saved(folder / "seed", replace(value, source=source, paths=images)))
        if kind is Features:
            rows, labels = value.features.astype(float), value.labels.astype(np.int16)
            write = partial(np.savez_compressed, features=rows, labels=labels)
            seeds.append(written(write))
            arrays = (rows, np.asfortranarray(rows.astype(">f4")))
            alone = [written(partial(np.save, arr=array)) for array in arrays]
            targets["npy Features"] = Target(
                "x.npy", alone, kind.load, check_archive, (mutate, mutate_npy)
            )
    return targets


def check_archive(path: Path, value: ArrayFile) -> None:
    """All is as declared, number by number, and equal when written and read."""
    n = len(value.indices)
    for field in value.declared.fields:
        found = getattr(value, field.name)
        if field.keys:
            field.keys.model_validate(found)
            continue
        below = len(getattr(value, field.below)) if field.below else field.most + 1
        assert found.ndim == len(field.axes)
        assert found.dtype.isnative
        assert (
            found.dtype.kind == {"int64": "i", "bool": "b", "float32": "f", "text": "U"}[field.kind]
        )
        assert field.axes[0] != "n" or len(found) == n > 0
        assert not field.unique or len(set(found.tolist()) - {""}) == len(found)
        assert field.least is None or all(
            field.least <= number < below for number in found.reshape(-1).tolist()
        )
    for invariant in value.invariants:
        assert invariant(value) is None
    if isinstance(value, Split):
        assert all((Path("/x") / p).resolve().is_relative_to("/x") for p in value.paths.tolist())
        assert (value.labelled_mask <= value.train_mask).all()
    value.save(path.with_name("again.npz"))
    again = type(value).load(path.with_name("again.npz"))
    for field in fields(value):
        np.testing.assert_array_equal(getattr(value, field.name), getattr(again, field.name))


def _checkpoint(folder: Path) -> Target:
    settings = TrainSettings.model_validate(TINY)
    rolling = {"prototypes": torch.rand(3, 6), "pseudo_sha256": "7" * 64, "rolling": {"key": "x"}}
    values = [stepped(settings, **changes)[1] for changes in ({}, rolling)]
    simgcd = TINY | {"objective": {"name": "simgcd", "n_prototypes": 3}}
    values.append(stepped(TrainSettings.model_validate(simgcd))[1])

    def read(path: Path) -> tuple[Checkpoint, Model]:
        checkpoint = Checkpoint.load(path)
        return checkpoint, restore_model(path, checkpoint)

    seeds = [saved(folder / "seed", value) for value in values]
    return Target("x.pt", seeds, read, check_checkpoint, (mutate, mutate_pt, mutate_pt))


def check_checkpoint(path: Path, value: tuple[Checkpoint, Model]) -> None:
    """Everything is finite and fits the model, and a training can continue with its momenta."""
    checkpoint, model = value
    check_weights(path, model)
    assert 0 <= checkpoint.epoch <= checkpoint.settings.total_epochs
    trained = [p for p in model.parameters() if p.requires_grad]
    options = checkpoint.settings.training
    if checkpoint.settings.has_classifier:
        trained.append(torch.nn.Parameter(checkpoint.prototypes))
    optimizer = torch.optim.SGD(trained, lr=options.lr, momentum=options.momentum)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": checkpoint.optimizer["state"]})
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    checkpoint.save(path.with_name("again.pt"))


def _weights() -> dict[str, Target]:
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=32, depth=1, embed_dim=12)
    state = vit.state_dict()
    full = {"teacher": {f"backbone.{k}": v for k, v in state.items()}, "epoch": 3}
    new = [written(partial(torch.save, content)) for content in (state, full)]
    old = [written(partial(torch.save, state, _use_new_zipfile_serialization=False))]

    def read(path: Path) -> torch.nn.Module:
        load_weights(vit, path)
        return vit

    def read_foreign(path: Path) -> torch.nn.Module:
        convert_weights(path, path.with_name("converted.safetensors"))
        return read(path.with_name("converted.safetensors"))

    target = partial(Target, check=check_weights, weight=0.6)
    tensors = [safetensors.torch.save(state)]
    return {
        "weights .pth": target("x.pth", new, read=read_foreign, mutations=(mutate, mutate_pt)),
        "weights old .pth": target("x.pth", old, read=read_foreign, weight=0.4),
        "weights safetensors": target("x.safetensors", tensors, read=read),
    }


def check_weights(path: Path, value: torch.nn.Module) -> None:
    """All weights are numbers."""
    assert all(torch.isfinite(tensor).all() for tensor in value.state_dict().values())


# -- tables and texts ------------------------------------------------------------------------------


def _csv(rows: list[list[object]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


def _tables(folder: Path) -> dict[str, Target]:
    photos = [["path", "label", "split", "truth"], ["a.jpg", "owl", "", ""]]
    photos += [["b/c d.jpg", "", "test", "crow"], ['"ö".png', "", "", ""]]
    both = [_csv(photos), _csv([line[:2] for line in photos], ";")]
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
    grid, cell = [list(GRID.columns())], dict.fromkeys(GRID.columns(), 0.5) | {"n_core": 9}
    for k, p in ((3, 40), (3, 60), (5, 40), (5, 60)):
        row = {"k": k, "density_percentile": p, "score": f"{k / p:.4f}", "n_clusters": k + 1}
        grid.append(list((cell | row).values()))
    found = {"transductive": {"all": 0.5, "old": 1.0, "new": None}, "ari": -0.1}
    found |= {"inductive": found["transductive"], "n_categories": 7}
    metrics = [
        json.dumps(one, indent=2).encode()
        for one in (
            make_metrics(ari=0.5, label_draws=5, k_range=[9, 12]),
            make_metrics(classifier=found),
        )
    ]
    estimates = json.dumps(make_estimates(), indent=2).encode()
    baseline = json.dumps(make_baseline(), indent=2).encode()
    read_estimates = partial(read_measured, file=ESTIMATES)
    read_baseline, runs = partial(read_measured, file=BASELINE), [_YAML, CONFIG.read_bytes()]
    rows, table = saved(folder / "seed", assignments), partial(Target, "x.csv", weight=3)
    return {
        "csv labels": table(both, read_photo_labels, check_photos),
        "csv assignments": table([rows], Assignments.load, check_assignments),
        "tsv grid": table([_csv(grid, "\t")], read_grid_table, check_grid),
        "json metrics": table(metrics, read_metrics, check_metrics, (mutate, broken_json)),
        "json estimates": table(
            [estimates], read_estimates, check_estimates, (mutate, broken_json)
        ),
        "json baseline": table([baseline], read_baseline, check_baseline, (mutate, broken_json)),
        "yaml configuration": Target("x.yaml", runs, load_runs, check_runs),
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
    others = ("left_out", "class_names")
    columns = [field.name for field in fields(value) if field.name not in others]
    assert len({len(getattr(value, name)) for name in columns}) == 1
    value.summary()
    value.save(path.with_name("again.csv"))
    again = Assignments.load(path.with_name("again.csv"))
    assert (again.paths, again.left_out) == (value.paths, value.left_out)


def check_grid(path: Path, grid: dict[str, np.ndarray]) -> None:
    assert all(np.isfinite(values).all() for values in grid.values())
    assert grid["k"].min() >= 1


def check_metrics(path: Path, metrics: dict) -> None:
    assert all(len(cell) < 40 for cell in row(metrics))
    markdown_comparison(compared([metrics], []))


def check_estimates(path: Path, estimates: dict) -> None:
    for name in ("estimated", "silhouette"):
        assert 1 <= estimates[name]["n_clusters"] <= 10**9
        assert 0 <= estimates[name]["seconds"] <= 10**9


def check_baseline(path: Path, baseline: dict) -> None:
    for result in baseline["results"]:
        found = Compared(baseline["epoch"], baseline["method"], result)
        assert len(cells(found)) == len(COLUMNS)


def check_runs(path: Path, runs: dict[str, RunSettings]) -> None:
    for name, run in runs.items():
        assert Path(name).name == name != ".."
        run.train_settings(guided=True)
        run.checkpoint_epochs()


def _stored_views(folder: Path) -> Target:
    seeds = fuzz_views.seeds(folder)
    return Target(
        *(fuzz_views.PLACE, seeds, fuzz_views.read, fuzz_views.check),
        (mutate, fuzz_views.mutate_views, fuzz_views.mutate_views),
        2,
    )


def file_targets(folder: Path) -> dict[str, Target]:
    """Readers of files of a run, of weights, and of what people write."""
    others = {"pt checkpoint": _checkpoint(folder), "npy stored views": _stored_views(folder)}
    return {**_archives(folder), **others, **_weights(), **_tables(folder)}
