"""Runs with a classifier: what is planned for them, and what they make."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gcdflow.files.formats import Classes, Features, Truth
from sklearn.metrics import adjusted_rand_score
from snakemake_runs import make, planned, snakemake

RUN = "runs/classified"


def classified(n_prototypes: int | None) -> dict:
    """A configuration with a run of digits-smoke that trains a classifier."""
    objective = {"name": "simgcd", "n_prototypes": n_prototypes}
    return {"runs": {"classified": {"inherit": "digits-smoke", "objective": objective}}}


def test_a_run_from_clusters_takes_the_warm_up_and_is_measured_by_its_classifier(
    finished_copy: Path,
):
    changes = classified(None)
    stages = {"train": 2, "features": 3, "cluster": 3, "classes": 2, "evaluate": 3}
    once = dict.fromkeys(("settings", "dataset", "share", "report"), 1)
    assert planned(finished_copy, f"{RUN}/report.md", changes=changes) == stages | once
    make(finished_copy, f"{RUN}/report.md", changes=changes)
    run = finished_copy / RUN
    assert planned(finished_copy, f"{RUN}/report.md", changes=changes) == {}
    classes, truth = Classes.load(run / "classes_epoch004.npz"), Truth.load(run / "truth.npz")
    features = Features.load(run / "features_epoch004.npz")
    metrics = json.loads((run / "metrics_epoch004.json").read_text())["classifier"]
    order = {index: row for row, index in enumerate(truth.indices.tolist())}
    rows = np.array([order[index] for index in classes.indices.tolist()])
    hidden = features.train_mask & (features.labels == -1)
    expected = adjusted_rand_score(truth.labels[rows][hidden], classes.labels[hidden])
    assert abs(metrics["ari"] - expected) < 1e-12
    assert "classifier" not in json.loads((run / "metrics_epoch002.json").read_text())
    report = (run / "report.md").read_text()
    assert report.count("| classifier |") == 2
    assert report.count("| SSDDBC     |") == 2


def test_a_told_number_trains_without_clusterings(tmp_path: Path):
    changes = classified(10)
    plan = planned(tmp_path, f"{RUN}/ckpt_epoch004.pt", changes=changes)
    assert plan == {"dataset": 1, "train": 3}
    plan = planned(tmp_path, f"{RUN}/metrics_epoch002.json", changes=changes)
    assert plan == dict.fromkeys(
        ("dataset", "train", "features", "classes", "cluster", "evaluate"), 1
    )


def test_an_epoch_without_a_classifier_is_refused_by_one_sentence(tmp_path: Path):
    target = f"{RUN}/classes_epoch002.npz"
    result = snakemake(tmp_path, "--dry-run", "--", target, changes=classified(None))
    assert result.returncode != 0
    expected = "error: run 'classified' has no classifier at epoch 002; its objective is 'simgcd'"
    assert expected in result.stdout + result.stderr
