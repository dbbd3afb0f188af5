"""Every stage, given valid files of another run: one sentence, and nothing is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from example_files import make_estimates, make_metrics, run_parts, stepped
from gcdflow.categories.assignments import COLUMNS, assign
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.training.checkpoint import Checkpoint, restore_model
from stage_processes import in_process

N, N_TRAIN = 40, 32
METRICS = make_metrics(12, n_classes=4)
OTHER_CLASSES = json.dumps(METRICS | {"epoch": 25, "n_classes": 9})
ESTIMATES = make_estimates()
GRID = "k\tdensity_percentile\tscore\tn_clusters\n"
LARGE_GRID = GRID + "".join(f"{i + 1}\t{i / 20}\t1\t4\n" for i in range(1500))


@pytest.fixture
def parts() -> dict:
    """The archives of a run as values."""
    return run_parts(N, N_TRAIN)


COMMANDS = {
    "cluster": "--features features.npz --labels labels.npz --previous pseudo.npz --k 3 "
    "--percentile 50 --threads 1 --output out",
    "evaluate": "--features features.npz --pseudo-labels pseudo.npz --truth truth.npz "
    "--classes classes.npz --threads 1 --output out",
    "estimate": "--features features.npz --threads 1 --output out",
    "baseline": "--method ward --features features.npz --truth truth.npz "
    "--estimates estimates.json --threads 1 --output out",
    "assign": "--split split.npz --features features.npz --pseudo-labels pseudo.npz "
    "--labels labels.npz --threads 1 --output out",
    "gallery": "--split split.npz --assignments assignments.csv --threads 1 --output out",
    "report": "--run x --output out metrics.json other.json",
    "heatmap": "--grid-table grid.tsv --output out",
}


@pytest.fixture
def run(tmp_path, parts, monkeypatch):
    """Call a stage in a folder of the files of a run, of which some are replaced by ``changes``."""

    def call(stage: str, **changes: object) -> tuple[int, str]:
        monkeypatch.chdir(tmp_path)
        for name, value in {**parts, **changes}.items():
            if hasattr(value, "save"):
                value.save(f"{name}.npz")
        assign(Path("split.npz"), Path("features.npz"), Path("pseudo.npz")).save(
            "assignments.csv"
        ) if not changes else None
        for epoch, name in ((12, "metrics"), (25, "other")):
            Path(f"{name}.json").write_text(json.dumps(METRICS | {"epoch": epoch}))
        Path("estimates.json").write_text(json.dumps(ESTIMATES))
        Path("grid.tsv").write_text(f"{GRID}3\t40\t1.5\t4\n")
        for name, value in changes.items():
            if isinstance(value, str):
                Path(name.replace("_", ".")).write_text(value)
        Path("out").write_text("good")
        done = in_process(stage, *COMMANDS[stage].split())
        # What it logs begins with the time.
        return done.returncode, re.sub(r"^\d\d:.*\n", "", done.stderr, flags=re.MULTILINE)

    return call


@pytest.mark.parametrize("stage", COMMANDS)
def test_the_right_files_are_taken(run, tmp_path, stage):
    code, said = run(stage)
    assert code == 0, said
    assert (tmp_path / "out").read_bytes() != b"good"


def of_other_ids(value):
    return replace(value, indices=value.indices + 1000)


def first(value, n: int):
    """The first samples alone."""
    cut = {k: v[:n] for k, v in vars(value).items() if len(np.shape(v)) and len(v) >= N_TRAIN}
    return replace(value, **cut)


def with_metadata(value, **changes):
    return replace(value, metadata=value.metadata | changes)


def with_value(value, name: str, position: int, new: object):
    array = getattr(value, name).copy()
    array[position] = new
    return replace(value, **{name: array})


def reversed_classes(truth):
    return replace(truth, labels=truth.labels[::-1], old_mask=truth.old_mask[::-1])


def without_labels(split):
    return replace(split, labels=np.full(N, -1), labelled_mask=np.zeros(N, bool))


def all_of_class_0(features):
    return replace(features, labels=np.zeros(N, np.int64))


def estimates_with(**changes) -> str:
    return json.dumps(ESTIMATES | changes)


def estimated_as(n_clusters: float) -> str:
    return estimates_with(estimated={"n_clusters": n_clusters, "seconds": 1.0})


WRONG = [
    # stage, file, how it is changed, what is said
    ("cluster", "features", lambda v: with_value(v, "features", 3, np.nan), "of 1 of 40 samples"),
    ("cluster", "features", lambda v: with_metadata(v, epoch=None), "key 'epoch' is None"),
    ("cluster", "labels", of_other_ids, "40 of 40 expected samples are missing"),
    ("cluster", "labels", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    ("cluster", "pseudo", of_other_ids, "previous pseudo labels: 32 of 32 expected"),
    ("cluster", "pseudo", lambda v: first(v, 30), "previous pseudo labels: 2 of 32 expected"),
    ("evaluate", "features", lambda v: with_metadata(v, fingerprint="x"), "made from other feat"),
    ("evaluate", "pseudo", lambda v: with_metadata(v, checkpoint_sha256="x"), "made from other f"),
    ("evaluate", "pseudo", lambda v: first(v, 30), "2 of 32 expected samples are missing"),
    ("evaluate", "pseudo", lambda v: with_metadata(v, normalize="yes"), "'normalize' is 'yes'"),
    ("evaluate", "pseudo", lambda v: with_value(v, "densities", 3, 0), "first: 0.0 of sample 3"),
    (
        "evaluate",
        "features",
        lambda v: with_value(v, "train_mask", 3, False),
        "1 of its 32 samples",
    ),
    ("evaluate", "classes", of_other_ids, "40 of 40 expected samples are missing"),
    ("evaluate", "classes", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    ("evaluate", "classes", lambda v: with_metadata(v, fingerprint="x"), "made from other feat"),
    ("evaluate", "classes", lambda v: with_value(v, "labels", 3, -1), "first: -1 of sample 3"),
    ("evaluate", "truth", of_other_ids, "40 of 40 expected samples are missing"),
    ("evaluate", "truth", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    ("evaluate", "truth", reversed_classes, "samples have another class than in features.npz"),
    ("evaluate", "truth", lambda v: with_value(v, "labels", 3, 4), "expected -1…3"),
    ("estimate", "features", all_of_class_0, "32 of 32 training samples are labelled, expected"),
    ("estimate", "features", lambda v: replace(v, labels=v.labels * 0 - 1), "0 of 32 training sa"),
    ("estimate", "features", lambda v: replace(v, train_mask=v.indices == 0), "1 of 1 training sa"),
    ("estimate", "features", lambda v: with_value(v, "features", 3, np.nan), "of 1 of 40 samples"),
    ("baseline", "features", lambda v: with_metadata(v, fingerprint="x"), "json: was made from o"),
    ("baseline", "features", lambda v: with_metadata(v, checkpoint_sha256="x"), "sha256 differs"),
    ("baseline", "features", lambda v: replace(v, labels=v.labels * 0 - 1), "0 of 32 training sa"),
    ("baseline", "truth", of_other_ids, "40 of 40 expected samples are missing"),
    ("assign", "split", of_other_ids, "40 of 40 expected samples are missing"),
    ("assign", "split", without_labels, "'labels' of 8 samples is not that of split.npz (first: s"),
    ("assign", "split", lambda v: with_value(v, "train_mask", 39, True), "'train_mask' of 1 sam"),
    ("assign", "features", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    ("assign", "pseudo", lambda v: with_metadata(v, fingerprint="x"), "made from other features"),
    ("assign", "labels", of_other_ids, "40 of 40 expected samples are missing"),
    ("gallery", "split", of_other_ids, "expected '1000' as in split.npz"),
    ("gallery", "split", lambda v: first(v, 39), "holds 40 images, expected the 39 of split.npz"),
]


@pytest.mark.parametrize(("stage", "name", "change", "message"), WRONG)
def test_files_of_another_run(run, tmp_path, parts, stage, name, change, message):
    run(stage)  # also what is derived from the right files
    code, said = run(stage, **{name: change(parts[name])})
    assert code == 2, said
    assert said.startswith(f"{stage}.py: error: ")
    assert said.count("\n") == 1
    assert message in said
    assert (tmp_path / "out").read_text() == "good"
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]


TABLES = {
    "report": "other_json",
    "baseline": "estimates_json",
    "heatmap": "grid_tsv",
    "gallery": "assignments_csv",
}


@pytest.mark.parametrize(
    ("stage", "text", "message"),
    [
        ("report", json.dumps(METRICS), "is of epoch 12, as metrics.json is"),
        ("report", OTHER_CLASSES, "against 9 classes, metrics.json against 4 classes"),
        ("report", json.dumps(METRICS).replace("0.75", "7.5"), "'transductive.old' is 7.5 ("),
        ("report", json.dumps(METRICS).replace("0.75", "NaN"), "NaN is not a number"),
        ("report", json.dumps(METRICS | {"epoch": True}), "key 'epoch' is True (input"),
        ("report", "[" * 50_000, "nested too deeply"),
        ("baseline", "{", "estimates.json: not an estimates file (not JSON text"),
        ("baseline", "{}", "key 'normalize' is missing"),
        ("baseline", estimates_with(fingerprint="x"), "features.npz (fingerprint differs)"),
        ("baseline", estimates_with(checkpoint_sha256="x"), "features.npz (checkpoint_sha256 dif"),
        ("baseline", estimates_with(normalize=False), "'normalize' is False, expected True"),
        ("baseline", estimates_with(silhouette={"n_clusters": 4}), "silhouette.seconds' is miss"),
        ("baseline", estimated_as(1), "'estimated' has n_clusters 1, expected 2 (the labelled cl"),
        ("baseline", estimated_as(33), "n_clusters 33, expected 2 (the labelled classes) to 32 ("),
        ("baseline", estimated_as(4.5), "key 'estimated.n_clusters' is 4.5 (input"),
        ("heatmap", f"{GRID}3\t40\tnan\t4\n", "score is not finite"),
        ("heatmap", f"{GRID}3\t400\t1\t4\n", "density_percentile is 400, expected 0 to 100"),
        ("heatmap", f"{GRID}3\t40\t1\t4\n3\t40\t1\t4\n", "a configuration occurs twice"),
        ("heatmap", LARGE_GRID, "a grid of 1500 times 1500"),
        ("heatmap", "k\tx" + "y" * 200_000, "field larger than field limit"),
        ("gallery", "path,category\n0,ant\n", "the first line names other columns"),
    ],
)
def test_tables_of_another_run(run, tmp_path, stage, text, message):
    run(stage)
    code, said = run(stage, **{TABLES[stage]: text})
    assert code == 2, said
    assert said.count("\n") == 1
    assert message in said
    assert (tmp_path / "out").read_text() == "good"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("confidence", "1.5"),
        ("confidence", "nan"),
        ("confidence", "1_0"),
        ("core_point", "yes"),
        ("split", "validation"),
        ("cluster", "-1"),
        ("cluster", "9" * 30),
        ("category", ""),
        ("path", ""),
        ("label", "bee"),
    ],
)
def test_rows_of_assignments(run, column, value):
    row = dict.fromkeys(COLUMNS, "") | {"path": "0", "category": "ant", "confidence": "1.000"}
    row |= {"doubtful": "false", "core_point": "true", "label": "ant", "split": "train"}
    row |= {"cluster": "0", column: value}
    columns = ",".join(COLUMNS)
    code, said = run("gallery", assignments_csv=f"{columns}\n{','.join(row.values())}\n")
    assert code == 2
    assert f"row 1 has the {column} '{value}'" in said


# -- checkpoints -----------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tiny_settings) -> Checkpoint:
    return stepped(tiny_settings)[1]


def _nan(checkpoint: Checkpoint) -> None:
    next(iter(checkpoint.weights.values())).view(-1)[0] = float("nan")


def _infinite_momentum(checkpoint: Checkpoint) -> None:
    checkpoint.optimizer["state"][0]["momentum_buffer"].view(-1)[0] = float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, "a damaged checkpoint .holds numbers that are NaN or infinite"),
        (_infinite_momentum, "a damaged checkpoint .holds numbers that are NaN or infinite"),
        (lambda c: setattr(c, "epoch", 11), "is of epoch 11, expected 0…10"),
        (lambda c: setattr(c, "epoch", -1), "epoch is -1, expected"),
        (lambda c: setattr(c, "epoch", True), "epoch is True, expected a whole number"),
        (lambda c: setattr(c, "split_sha256", "5"), "split_sha256 is '5', expected 64"),
        (lambda c: setattr(c, "pseudo_sha256", 5), "pseudo_sha256 is 5, expected 64"),
        (lambda c: setattr(c, "prototypes", torch.ones(3)), "prototypes is not a table"),
        (lambda c: setattr(c, "rolling", {"first_epoch": -1}), "first_epoch is -1"),
        (
            lambda c: setattr(c, "rolling", {"speeds": {"1": 1.0}}),
            "speeds is not a table of numbers",
        ),
        (lambda c: setattr(c, "rolling", {"step": "x"}), "step is 'x', expected a whole number"),
        (lambda c: setattr(c, "rolling", {"n_counted": -1}), "n_counted is -1, expected a whole"),
        (lambda c: setattr(c, "rolling", {"n_skipped": 1.0}), "n_skipped is 1.0, expected a whole"),
        (lambda c: setattr(c, "rolling", {"sums": {"x": 1.0}}), "sums is not a table of 0-d tens"),
        (lambda c: setattr(c, "rolling", {"sums": {"x": torch.ones(1)}}), "sums is not a table"),
        (lambda c: setattr(c, "history", {99: {"L_total": 1.0}}), "history is of other epochs tha"),
        (
            lambda c: setattr(c, "history", {1: {"L_total": "x"}}),
            "history holds something other than numbers",
        ),
        (lambda c: setattr(c, "history", {1: 2.0}), "history is not a table of epochs"),
        (lambda c: setattr(c, "rolling", {"x": torch.ones(1).to_sparse()}), "an unusual kind"),
        (lambda c: setattr(c, "rolling", {"x": torch.ones(1).expand(9)}), "of fewer numbers"),
        (lambda c: c.weights.update(x=3), "weights holds something other than tensors"),
        (lambda c: c.optimizer["state"].update({99: {}}), "the stored optimizer does not fit"),
        (
            lambda c: c.optimizer["state"].update({0: torch.zeros(3)}),
            "stored optimizer does not fit",
        ),
        (lambda c: c.optimizer.clear(), "the stored optimizer does not fit"),
        (lambda c: c.optimizer["state"][0].clear(), "the stored optimizer does not fit"),
        (
            lambda c: c.optimizer["state"][0].update(momentum_buffer=torch.ones(1)),
            "the stored optimizer does not fit",
        ),
        (
            lambda c: c.weights.update({k: v.double() for k, v in c.weights.items()}),
            "the stored weights do not fit",
        ),
    ],
)
def test_checkpoints_of_wrong_content(tmp_path, checkpoint, change, message):
    path = tmp_path / "c.pt"
    checkpoint.save(path)
    restore_model(path, Checkpoint.load(path))
    change(checkpoint)
    checkpoint.save(path)
    with pytest.raises(InputError, match=rf"c\.pt: .*{message}"):
        restore_model(path, Checkpoint.load(path))


def test_features_of_a_checkpoint_of_another_split(tmp_path, parts, checkpoint):
    from gcdflow.training.features import extract_features

    parts["split"].save(tmp_path / "split.npz")
    checkpoint.save(tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"c\.pt: was trained on another split than .*split\.npz"):
        extract_features(tmp_path / "c.pt", tmp_path / "split.npz", device="cpu")


def test_a_split_of_more_images_than_the_dataset_has(tmp_path, parts, checkpoint):
    from gcdflow.training.features import extract_features

    split, ids = parts["split"], np.arange(2000)
    longer = {
        name: np.concatenate([getattr(split, name), np.full(1960, value)])
        for name, value in (("train_mask", True), ("labelled_mask", False), ("labels", -1))
    }
    replace(split, indices=ids, **longer).save(tmp_path / "split.npz")
    checkpoint.split_sha256 = sha256_file(tmp_path / "split.npz")
    checkpoint.save(tmp_path / "c.pt")
    with pytest.raises(InputError, match=r"split\.npz: asks for image 1[89]\d\d .* that has 1797"):
        extract_features(tmp_path / "c.pt", tmp_path / "split.npz", device="cpu", num_workers=0)
