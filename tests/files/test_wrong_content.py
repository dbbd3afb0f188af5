"""Every stage, given valid files of another run: one sentence, and nothing is written."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gcdflow.categories.assignments import COLUMNS, assign
from gcdflow.errors import InputError
from gcdflow.evaluation.report import read_metrics, read_run
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Features, Labels, PseudoLabels, Split, Truth
from gcdflow.models.model import Model
from gcdflow.training.checkpoint import Checkpoint, restore_model, stored_weights

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
N, N_TRAIN = 40, 32
SHA = {"checkpoint": "c.pt", "checkpoint_sha256": "1f", "fingerprint": "2e", "epoch": 12}
METRICS = {
    "epoch": 12,
    "transductive": {"all": 0.5, "old": 0.75, "new": 0.0},
    "inductive": {"all": 1.0, "old": 0.5, "new": None},
    "n_clusters": 4,
    "n_classes": 4,
    "core_ratio": 0.4,
    "label_change_rate": None,
}


@pytest.fixture
def parts() -> dict:
    """The files of a run as values: four classes, two of them old, eight test samples."""
    classes, ids = np.arange(N) % 4, np.arange(N)
    train, rng = np.arange(N) < N_TRAIN, np.random.default_rng(0)
    labels = np.where((classes < 2) & (np.arange(N) < 16), classes, -1)
    rows = (np.eye(4)[classes] + rng.normal(0, 0.1, (N, 4))).astype(np.float32)
    names = np.array(["ant", "bee"])
    source = {"dataset": "digits"}
    return {
        "split": Split(ids, train, labels >= 0, labels, source, np.array([], "U1"), names),
        "truth": Truth(ids, classes, classes < 2, np.array(list("abcd"))),
        "features": Features(ids, rows, labels, train, SHA),
        "pseudo": PseudoLabels(
            *(ids[train], classes[train], np.arange(N_TRAIN) < 16),
            *(np.ones(N_TRAIN, np.float32), {"k": 3}, SHA | {"normalize": True}),
        ),
        "labels": Labels(ids, labels, np.array(["ant", "bee", "cat"])),
    }


COMMANDS = {
    "cluster": "--features features.npz --labels labels.npz --previous pseudo.npz --k 3 "
    "--percentile 50 --threads 1 --output out",
    "evaluate": "--features features.npz --pseudo-labels pseudo.npz --truth truth.npz --threads 1 "
    "--output out",
    "assign": "--split split.npz --features features.npz --pseudo-labels pseudo.npz "
    "--labels labels.npz --threads 1 --output out",
    "gallery": "--split split.npz --assignments assignments.csv --threads 1 --output out",
    "report": "--run x --output out metrics.json other.json",
    "heatmap": "--grid-table grid.tsv --output out",
}


@pytest.fixture
def run(tmp_path, parts, monkeypatch, capsys):
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
        Path("grid.tsv").write_text("k\tdensity_percentile\tscore\tn_clusters\n3\t40\t1.5\t4\n")
        for name, value in changes.items():
            if isinstance(value, str):
                Path(name.replace("_", ".")).write_text(value)
        Path("out").write_text("good")
        monkeypatch.setattr(sys, "argv", [f"{stage}.py", *COMMANDS[stage].split()])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / f"{stage}.py"), run_name="__main__")
        except SystemExit as error:
            code = error.code
        return code, capsys.readouterr().err

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


WRONG = [
    # stage, file, how it is changed, what is said
    ("cluster", "features", lambda v: with_value(v, "features", 3, np.nan), "of 1 of 40 samples"),
    ("cluster", "features", lambda v: with_value(v, "labels", 3, -2), "'labels' holds -2"),
    ("cluster", "features", lambda v: with_value(v, "features", 3, 1e30), "at most 1e"),
    ("cluster", "features", lambda v: with_metadata(v, epoch=None), "epoch None, expected 0…999"),
    ("cluster", "labels", of_other_ids, "40 of 40 expected samples are missing"),
    ("cluster", "labels", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    ("cluster", "pseudo", of_other_ids, "previous pseudo labels are of other samples"),
    ("cluster", "pseudo", lambda v: first(v, 30), "previous pseudo labels are of other samples"),
    ("evaluate", "features", lambda v: with_metadata(v, fingerprint="x"), "made from other feat"),
    ("evaluate", "pseudo", lambda v: with_metadata(v, checkpoint_sha256="x"), "made from other f"),
    ("evaluate", "pseudo", lambda v: first(v, 30), "2 of 32 expected samples are missing"),
    ("evaluate", "pseudo", lambda v: with_metadata(v, n_clusters=9), "n_clusters 9, but 'labels'"),
    ("evaluate", "pseudo", lambda v: with_metadata(v, normalize="yes"), "normalize 'yes'"),
    ("evaluate", "pseudo", lambda v: with_value(v, "densities", 3, np.nan), "not positive num"),
    ("evaluate", "pseudo", lambda v: with_value(v, "densities", 3, np.inf), "not positive num"),
    ("evaluate", "pseudo", lambda v: with_value(v, "densities", 3, 0), "first: 0.0 of sample 3"),
    ("evaluate", "pseudo", lambda v: with_value(v, "core_mask", slice(None), False), "no core po"),
    (
        "evaluate",
        "features",
        lambda v: with_value(v, "train_mask", 3, False),
        "1 of its 32 samples are test samples",
    ),
    ("evaluate", "truth", of_other_ids, "40 of 40 expected samples are missing"),
    ("evaluate", "truth", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    (
        "evaluate",
        "truth",
        lambda v: replace(v, labels=v.labels[::-1], old_mask=v.old_mask[::-1]),
        "labelled samples have another class than in features.npz",
    ),
    ("evaluate", "truth", lambda v: with_value(v, "labels", 3, 4), "outside -1…3"),
    ("evaluate", "truth", lambda v: with_value(v, "old_mask", 3, True), "calls class 3 old for"),
    ("assign", "split", of_other_ids, "40 of 40 expected samples are missing"),
    (
        "assign",
        "split",
        lambda v: replace(
            v, labels=np.full(N, -1), labelled_mask=np.zeros(N, bool), train_mask=v.train_mask
        ),
        "'labels' of 8 samples is not that of split.npz (first: sample 0)",
    ),
    ("assign", "split", lambda v: with_value(v, "train_mask", 39, True), "'train_mask' of 1 sam"),
    ("assign", "features", lambda v: first(v, 39), "1 of 40 expected samples are missing"),
    ("assign", "pseudo", lambda v: with_metadata(v, fingerprint="x"), "made from other features"),
    ("assign", "labels", of_other_ids, "40 of 40 expected samples are missing"),
    ("assign", "split", lambda v: replace(v, old_class_names=np.array(["a", "a"])), "than once"),
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


@pytest.mark.parametrize(
    ("stage", "name", "text", "message"),
    [
        ("report", "other_json", json.dumps(METRICS), "is of epoch 12, as metrics.json is"),
        (
            "report",
            "other_json",
            json.dumps(METRICS | {"epoch": 25, "n_classes": 9}),
            "was measured against 9 classes, metrics.json against 4 classes",
        ),
        ("report", "other_json", json.dumps(METRICS).replace("0.75", "7.5"), "old is 7.5, expec"),
        ("report", "other_json", json.dumps(METRICS).replace("0.75", "NaN"), "NaN is no number"),
        ("report", "other_json", json.dumps(METRICS | {"epoch": True}), "epoch is True, expected"),
        ("report", "other_json", "[" * 50_000, "nested too deeply"),
        ("heatmap", "grid_tsv", "k\tdensity_percentile\tscore\tn_clusters\n3\t40\tnan\t4\n", "fin"),
        ("heatmap", "grid_tsv", "k\tdensity_percentile\tscore\tn_clusters\n3\t400\t1\t4\n", "400"),
        (
            "heatmap",
            "grid_tsv",
            "k\tdensity_percentile\tscore\tn_clusters\n" + "3\t40\t1\t4\n" * 2,
            "a configuration is there twice",
        ),
        ("heatmap", "grid_tsv", "k\tx" + "y" * 200_000, "field larger than field limit"),
        ("gallery", "assignments_csv", "path,category\n0,ant\n", "the first line names other col"),
    ],
)
def test_tables_of_another_run(run, tmp_path, stage, name, text, message):
    run(stage)
    code, said = run(stage, **{name: text})
    assert code == 2, said
    assert said.count("\n") == 1
    assert message in said
    assert (tmp_path / "out").read_text() == "good"


def test_a_grid_too_large_for_a_picture(run, tmp_path):
    rows = "".join(f"{i + 1}\t{i / 20}\t1\t4\n" for i in range(1500))
    code, said = run("heatmap", grid_tsv=f"k\tdensity_percentile\tscore\tn_clusters\n{rows}")
    assert (code, "a grid of 1500 times 1500" in said) == (2, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"confidence": "1.5"},
        {"confidence": "nan"},
        {"confidence": "1_0"},
        {"core_point": "yes"},
        {"split": "validation"},
        {"cluster": "-1"},
        {"cluster": "9" * 30},
        {"category": ""},
        {"path": ""},
        {"label": "bee"},
    ],
)
def test_rows_of_assignments(run, changes):
    row = dict.fromkeys(COLUMNS, "") | {"path": "0", "category": "ant", "confidence": "1.000"}
    row |= {"doubtful": "false", "core_point": "true", "label": "ant", "split": "train"}
    row |= {"cluster": "0", **changes}
    ((column, value),) = changes.items()
    columns = ",".join(COLUMNS)
    code, said = run("gallery", assignments_csv=f"{columns}\n{','.join(row.values())}\n")
    assert code == 2
    assert f"row 1 has the {column} '{value}'" in said


# -- checkpoints -----------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tiny_settings) -> Checkpoint:
    torch.manual_seed(0)
    model = Model(tiny_settings)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    model(torch.rand(4, 1, 8, 8))[:, 0].sum().backward()
    optimizer.step()
    return Checkpoint(
        *(3, tiny_settings, "5" * 64, stored_weights(model, tiny_settings)),
        *(optimizer.state_dict(), scheduler.state_dict()),
    )


def _nan(checkpoint: Checkpoint) -> None:
    next(iter(checkpoint.weights.values())).view(-1)[0] = float("nan")


def _infinite_momentum(checkpoint: Checkpoint) -> None:
    checkpoint.optimizer["state"][0]["momentum_buffer"].view(-1)[0] = float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_nan, "a damaged checkpoint .holds numbers that are NaN or infinite"),
        (_infinite_momentum, "a damaged checkpoint .holds numbers that are NaN or infinite"),
        (lambda c: setattr(c, "epoch", 11), "is of epoch 11, expected 1…10"),
        (lambda c: setattr(c, "epoch", 0), "is of epoch 0, expected 1…10"),
        (lambda c: setattr(c, "epoch", True), "epoch is True, expected a whole number"),
        (lambda c: setattr(c, "split_sha256", "5"), "split_sha256 is '5', expected 64"),
        (lambda c: setattr(c, "pseudo_sha256", 5), "pseudo_sha256 is 5, expected 64"),
        (lambda c: setattr(c, "prototypes", torch.ones(3)), "prototypes is no table"),
        (lambda c: setattr(c, "rolling", {"first_epoch": -1}), "first_epoch is -1"),
        (lambda c: setattr(c, "rolling", {"speeds": {"1": 1.0}}), "speeds is no table of numbers"),
        (lambda c: setattr(c, "history", {99: {"L_total": 1.0}}), "history is of other epochs tha"),
        (lambda c: setattr(c, "history", {1: {"L_total": "x"}}), "history holds what is no number"),
        (lambda c: setattr(c, "history", {1: 2.0}), "history is no table of epochs"),
        (lambda c: setattr(c, "rolling", {"x": torch.ones(1).to_sparse()}), "an unusual kind"),
        (lambda c: setattr(c, "rolling", {"x": torch.ones(1).expand(9)}), "of fewer numbers"),
        (lambda c: c.weights.update(x=3), "weights holds what is no tensor"),
        (lambda c: c.scheduler.update(step=3), "the stored scheduler is not one of this project"),
        (lambda c: c.scheduler.pop("base_lrs"), "the stored scheduler is not one of this project"),
        (lambda c: c.optimizer["state"].update({99: {}}), "the stored optimizer does not fit"),
        (
            lambda c: c.optimizer["state"].update({0: torch.zeros(3)}),
            "stored optimizer does not fit",
        ),
        (
            lambda c: c.optimizer["param_groups"][0].update(params=torch.arange(3)),
            "stored optimizer does not fit",
        ),
        (lambda c: c.optimizer["param_groups"].clear(), "the stored optimizer does not fit"),
        (lambda c: c.optimizer["param_groups"][0].update(lr="x"), "stored optimizer does not fit"),
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
    with pytest.raises(InputError, match=r"split\.npz: asks for image 1999 .* that has 1797"):
        extract_features(tmp_path / "c.pt", tmp_path / "split.npz", device="cpu", num_workers=0)


def test_metrics_of_one_run(tmp_path):
    paths = [tmp_path / f"{epoch}.json" for epoch in (12, 25)]
    for path in paths:
        path.write_text(json.dumps(METRICS | {"epoch": int(path.stem)}))
    assert [one["epoch"] for one in read_run(paths)] == [12, 25]
    assert read_run(paths)[0] == read_metrics(paths[0])
