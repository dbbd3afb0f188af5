"""The user's own files are inputs: pretrained weights, photographs and their labels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from snakemake_runs import planned, snakemake

TARGETS = ["runs/photos/gallery.html", "runs/mine/report.md", "results/summary.md"]
CHANGES = {
    "runs": {"mine": {"inherit": "photos", "backbone": {"weights": "weights/mine.pth"}}},
    "default_runs": ["photos"],
}
PHOTOS = ["data/photos/labels.csv", "data/photos/a.jpg"]
BROUGHT = ["weights/dino_vits16.safetensors", "weights/mine.pth"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a user's photographs and weights."""
    for name in (*PHOTOS, *BROUGHT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("brought")
    return tmp_path


def test_own_weights_are_inputs_that_no_rule_makes(folder: Path):
    target = "runs/photos/ckpt_epoch010.pt"
    result = snakemake(folder, "--forceall", "--dry-run", "--printshellcmds", "--", target)
    output = result.stdout + result.stderr
    assert " -- runs/photos/split.npz weights/dino_vits16.safetensors -- " in output
    assert "stage weights" not in output
    (folder / BROUGHT[0]).unlink()
    assert planned(folder, target) == {"dataset": 1, "weights": 1, "train": 1}
    fetched = folder / "weights/hub/dino_vits16.safetensors"
    fetched.parent.mkdir()
    fetched.touch()
    assert planned(folder, target) == {"dataset": 1, "train": 1}


def test_no_rule_declares_own_files_as_outputs(folder: Path):
    """Snakemake would delete only files that it made."""
    result = snakemake(folder, "--summary", "--", *TARGETS, changes=CHANGES)
    assert result.returncode == 0, result.stderr
    names = {line.split("\t")[0] for line in result.stdout.splitlines()[1:]}
    assert {name.split("/")[0] for name in names} == {"runs", "results"}
    for name in [*names, "weights/hub/dino_vits16.safetensors"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    result = snakemake(folder, "--delete-all-output", "--dry-run", "--", *TARGETS, changes=CHANGES)
    deleted = set(re.findall(r"Would delete (\S+?)\.?$", result.stdout + result.stderr, re.M))
    assert deleted == names
