"""Runs that agree up to the end of the warm-up train it once; the results are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gcdflow.files.event_log import read_scalars
from snakemake_runs import ROOT, make, planned, snakemake

WEIGHTS = {"low": 0.1, "middle": 0.4, "high": 0.8}
SWEEP = {
    "sweeps": {
        "tries": {
            "inherit": "digits-smoke",
            "schedule": {"total_epochs": 3},
            "over": {"pseudo.pseudo_loss_weight": WEIGHTS},
        }
    }
}
TARGETS = [f"runs/tries-{name}/ckpt_epoch003.pt" for name in WEIGHTS]
OWN = "runs/digits-smoke"


def test_a_sweep_over_pseudo_settings_trains_one_warm_up(tmp_path: Path):
    stages = {"dataset": 3, "features": 3, "cluster": 3}
    warm_up, guided = 1, 3
    assert planned(tmp_path, *TARGETS, changes=SWEEP) == {
        **stages,
        "train": warm_up + guided,
        "share": 2,
    }
    alone = {"dataset": 1, "features": 1, "cluster": 1, "train": 2}
    assert planned(tmp_path, TARGETS[0], changes=SWEEP) == alone
    warm_up_of_another = {"dataset": 2, "train": 1, "share": 1}
    target = "runs/tries-high/ckpt_epoch002.pt"
    assert planned(tmp_path, target, changes=SWEEP) == warm_up_of_another


def test_in_a_module_with_a_prefix(tmp_path: Path):
    ours = tmp_path / "importing"
    (ours / "config").mkdir(parents=True)
    (ours / "config" / "config.yaml").write_text((ROOT / "config" / "config.yaml").read_text())
    (ours / "Snakefile").write_text(
        f"module gcd:\n    snakefile: {json.dumps(str(ROOT / 'Snakefile'))}\n"
        '    config: config\n    prefix: "sub"\nuse rule * from gcd as gcd_*\n'
    )
    targets = [f"sub/{target}" for target in TARGETS]
    plan = planned(ours, *targets, changes=SWEEP, project=ours)
    assert (plan["gcd_train"], plan["gcd_share"]) == (4, 2)
    table = ("sub/runs/digits-smoke/report.md", "sub/results/summary.md")
    plan = planned(ours, *table, changes={"default_runs": ["digits-smoke"]}, project=ours)
    assert (plan["gcd_report"], plan["gcd_summary"]) == (1, 1)
    # What exists below the prefix counts: the last of the runs has trained its own.
    trained = ours / "sub/runs/tries-high/ckpt_epoch002.pt"
    trained.parent.mkdir(parents=True)
    trained.touch()
    arguments = ("--dry-run", "--", targets[0])
    result = snakemake(ours, *arguments, changes=SWEEP, project=ours)
    inputs = "sub/runs/tries-low/split.npz, sub/runs/tries-high/ckpt_epoch002.pt"
    assert f"rule gcd_share:\n    input: {inputs}\n" in result.stdout + result.stderr


@pytest.fixture
def changes() -> dict:
    return {"runs": {"twin": {"inherit": "digits-smoke"}}}


def test_a_shared_warm_up_gives_the_results_of_an_own_one(finished_copy: Path, changes: dict):
    target = "runs/twin/ckpt_epoch003.pt"
    jobs = {"dataset": 1, "share": 1, "features": 1, "cluster": 1, "train": 1}
    assert planned(finished_copy, target, changes=changes) == jobs
    output = make(finished_copy, target, changes=changes)
    assert f"runs/twin/ckpt_epoch002.pt: trained to epoch 2 by {OWN}/ckpt_epoch002.pt" in output
    own, twin = finished_copy / OWN, finished_copy / "runs/twin"
    for name in ("split.npz", "ckpt_epoch002.pt", "truth.npz"):
        assert (twin / name).read_bytes() == (own / name).read_bytes(), name
    for name in ("features_epoch002.npz", "pseudo_epoch002.npz"):  # they name their checkpoint
        with np.load(own / name) as a, np.load(twin / name) as b:
            assert a.files == b.files
            assert all(np.array_equal(a[key], b[key]) for key in a.files if key != "metadata")
    a, b = (torch.load(run / "ckpt_epoch003.pt", weights_only=True) for run in (own, twin))
    assert a["weights"].keys() == b["weights"].keys()
    assert all(torch.equal(a["weights"][name], b["weights"][name]) for name in a["weights"])
    assert a["history"] == b["history"]
    curves, expected = read_scalars(twin / "log")["L_total"], read_scalars(own / "log")["L_total"]
    assert curves == expected[:3]  # of epochs 1 to 3

    # Neither the other run's files nor its place in the configuration make it outdated.
    (own / "ckpt_epoch002.pt").unlink()
    (own / ".made/ckpt_epoch002.pt.json").unlink()
    assert planned(finished_copy, target, changes=changes) == {}


def test_another_split_is_one_sentence(finished_copy: Path, changes: dict):
    with np.load(finished_copy / OWN / "split.npz") as split:
        arrays = dict(split)
    arrays["labels"][arrays["labelled_mask"]] = 0
    (finished_copy / "runs/twin").mkdir()
    np.savez(finished_copy / "runs/twin/split.npz", **arrays)
    target = "runs/twin/ckpt_epoch002.pt"
    result = snakemake(finished_copy, "--cores", "1", "--", target, changes=changes)
    assert result.returncode != 0
    sentence = f"{OWN}/ckpt_epoch002.pt: was trained on another split than runs/twin/split.npz"
    log = (finished_copy / "logs/twin/share_epoch002.log").read_text()
    assert f"share.py: error: {sentence}" in log
    assert log.count("\n") == 1
    assert not (finished_copy / target).exists()
