"""A finished run: the files of the contract, one curve per tag, and no leaked truth."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from gcdflow.files.event_log import read_scalars
from gcdflow.files.formats import Truth
from snakemake_runs import make

RUN = "runs/digits-smoke"
EPOCHS = (2, 3, 4)
TRAIN_TAGS = {"L_total", "L_contrast", "L_supcon", "gamma", "learning_rate", "images_per_second"}
PSEUDO_TAGS = {
    f"pseudo/{name}"
    for name in ("n_clusters", "core_ratio", "k", "density_percentile", "score", "against_labels")
}
ACCURACY_TAGS = {f"{p}_acc_{part}" for p in ("val", "test") for part in ("all", "old", "new")}


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def test_files_follow_the_contract(finished_run: Path):
    run = finished_run / RUN
    split, features = arrays(run / "split.npz"), arrays(run / "features_epoch003.npz")
    pseudo = arrays(run / "pseudo_epoch003.npz")
    n, n_train = 1797, int(split["train_mask"].sum())
    assert {k: (v.dtype.str[1:], v.shape) for k, v in features.items() if k != "metadata"} == {
        "indices": ("i8", (n,)),
        "features": ("f4", (n, features["features"].shape[1])),
        "labels": ("i8", (n,)),
        "train_mask": ("b1", (n,)),
    }
    described = {k: (v.dtype.str[1:], v.shape) for k, v in pseudo.items() if v.ndim}
    assert described == {
        "indices": ("i8", (n_train,)),
        "labels": ("i8", (n_train,)),
        "core_mask": ("b1", (n_train,)),
        "densities": ("f4", (n_train,)),
        "neighbours": ("i8", (n_train, 10)),
    }
    assert set(json.loads(str(pseudo["best_params"]))) == {"k", "density_percentile"}
    metadata = json.loads(str(pseudo["metadata"]))
    assert metadata["checkpoint"] == "ckpt_epoch003.pt"
    assert len(metadata["checkpoint_sha256"]) == len(metadata["fingerprint"]) == 64
    assert metadata["n_clusters"] == pseudo["labels"].max() + 1
    assert 0 <= metadata["label_change_rate"] <= 1
    assert -1 <= metadata["agreement"] <= 1
    assert 0 <= metadata["against_labels"] <= 1
    assert set(pseudo["indices"]) == set(split["indices"][split["train_mask"]])
    np.testing.assert_array_equal(features["labels"] >= 0, split["labelled_mask"])


def test_metrics_and_report(finished_run: Path):
    run = finished_run / RUN
    metrics = json.loads((run / "metrics_epoch003.json").read_text())
    for kind in ("transductive", "inductive"):
        assert set(metrics[kind]) == {"all", "old", "new", "all_v1", "old_v1", "new_v1"}
        assert all(0 <= value <= 1 for value in metrics[kind].values())
    assert metrics["n_classes"] == 10
    table = (run / "report.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ") and line[2:6].strip()]
    assert len([row for row in rows if row.split("|")[1].strip().isdigit()]) == len(EPOCHS)
    grid = (run / "grid_epoch003.tsv").read_text().splitlines()
    assert len(grid) == 1 + 4


def test_every_tag_is_one_curve_over_the_whole_run(finished_run: Path):
    curves = read_scalars(finished_run / RUN / "log")
    steps = {tag: [step for step, _ in points] for tag, points in curves.items()}
    every_epoch, refreshes = list(range(1, EPOCHS[-1] + 1)), list(EPOCHS)
    expected = dict.fromkeys(TRAIN_TAGS, every_epoch)
    expected |= dict.fromkeys(PSEUDO_TAGS | ACCURACY_TAGS, refreshes)
    # The warm-up has no pseudo-label loss, and the first labels have no predecessors.
    expected |= {"L_pseudo": [3, 4], "pseudo/label_change_rate": [3, 4], "pseudo/agreement": [3, 4]}
    assert steps == expected
    assert [value for _, value in curves["gamma"]] == [0.0, 0.0, 0.5, 1.0]


def test_every_rule_logs_one_last_line_about_its_result(finished_run: Path):
    logs = finished_run / "logs/digits-smoke"
    for name, result in {
        "settings": "config.yaml: dataset digits, backbone small_convnet, 4 epochs",
        "dataset": "split.npz: digits: 1797 samples",
        "train_epoch003": "ckpt_epoch003.pt: trained to epoch 3 of 4",
        "features_epoch003": "features_epoch003.npz: 1797 features",
        "cluster_epoch003": "pseudo_epoch003.npz: ",
        "evaluate_epoch003": "metrics_epoch003.json: transductive all",
        "report": "report.md: 3 epochs",
    }.items():
        assert result in (logs / f"{name}.log").read_text().splitlines()[-1]
    assert "epoch 3/3  L_total" in (logs / "train_epoch003.log").read_text()
    clustered = (logs / "cluster_epoch003.log").read_text().splitlines()[-1]
    assert re.search(
        r"% of labels changed, agreement 0\.\d+, \d+\.\d% of labelled samples", clustered
    )


def test_no_temporary_or_rolling_file_is_left(finished_run: Path):
    left = [path for path in (finished_run / "runs").rglob("*") if path.name.startswith(".")]
    assert [path for path in left if path.is_file()] == []


def test_permuted_truth_changes_only_the_metrics(complete_run: Path, tmp_path: Path):
    run = tmp_path / RUN
    run.mkdir(parents=True)
    shutil.copy2(complete_run / RUN / "split.npz", run)
    truth = Truth.load(complete_run / RUN / "truth.npz")
    labelled = arrays(run / "split.npz")["labelled_mask"]
    labels, old_mask = truth.labels.copy(), truth.old_mask.copy()
    order = np.random.default_rng(0).permutation(np.flatnonzero(~labelled))
    labels[~labelled], old_mask[~labelled] = truth.labels[order], truth.old_mask[order]
    replace(truth, labels=labels, old_mask=old_mask).save(run / "truth.npz")

    make(tmp_path, f"{RUN}/metrics_epoch004.json", f"{RUN}/assignments.csv")
    kinds = ("ckpt_epoch{:03d}.pt", "features_epoch{:03d}.npz", "pseudo_epoch{:03d}.npz")
    same = [kind.format(epoch) for kind in kinds for epoch in EPOCHS] + ["assignments.csv"]
    for name in same:
        assert (run / name).read_bytes() == (complete_run / RUN / name).read_bytes(), name
    metrics = (run / "metrics_epoch004.json").read_text()
    assert metrics != (complete_run / RUN / "metrics_epoch004.json").read_text()
