"""The user's own files are inputs: pretrained weights, photographs and their labels."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from snakemake_runs import make, planned, snakemake

TARGETS = ["runs/photos/gallery.html", "runs/mine/report.md", "results/summary.md"]
CHANGES = {
    "runs": {"mine": {"inherit": "photos", "backbone": {"weights": "weights/mine.pth"}}},
    "default_runs": ["photos"],
}
PHOTOS = ["data/photos/labels.csv", "data/photos/a.jpg"]
BROUGHT = ["weights/efficientnet_lite0.safetensors", "weights/mine.pth"]


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
    assert " -- runs/photos/split.npz weights/efficientnet_lite0.safetensors -- " in output
    assert "stage weights" not in output
    (folder / BROUGHT[0]).unlink()
    assert planned(folder, target) == {"dataset": 1, "weights": 1, "views": 1, "train": 1}
    fetched = folder / "weights/hub/efficientnet_lite0.safetensors"
    fetched.parent.mkdir()
    fetched.touch()
    assert planned(folder, target) == {"dataset": 1, "views": 1, "train": 1}


def test_no_rule_declares_own_files_as_outputs(folder: Path):
    """Snakemake would delete only files that it made."""
    result = snakemake(folder, "--summary", "--", *TARGETS, changes=CHANGES)
    assert result.returncode == 0, result.stderr
    names = {line.split("\t")[0] for line in result.stdout.splitlines()[1:]}
    assert {name.split("/")[0] for name in names} == {"runs", "results", "views", "weights"}
    assert "weights/converted/mine.safetensors" in names
    for name in [*names, "weights/hub/efficientnet_lite0.safetensors"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    result = snakemake(folder, "--delete-all-output", "--dry-run", "--", *TARGETS, changes=CHANGES)
    deleted = set(re.findall(r"Would delete (\S+?)\.?$", result.stdout + result.stderr, re.M))
    assert deleted == names


def test_a_file_of_pytorch_is_converted_once(tmp_path: Path):
    torch.manual_seed(0)
    (tmp_path / "x").mkdir()
    state = timm.create_model("test_vit", num_classes=0).state_dict()
    torch.save({"teacher": {f"backbone.{k}": v for k, v in state.items()}}, tmp_path / "x/my.pth")

    changes = {"runs": {"mine": {"inherit": "photos", "backbone": {"weights": "x/my.pth"}}}}
    converted = tmp_path / "weights/converted/my.safetensors"
    make(tmp_path, str(converted.relative_to(tmp_path)), changes=changes)
    found = safetensors.torch.load_file(converted)
    assert found.keys() == state.keys()
    target = "runs/mine/ckpt_epoch010.pt"
    assert planned(tmp_path, target, changes=changes) == {"dataset": 1, "views": 1, "train": 1}
    arguments = ["--dry-run", "--", "weights/converted/other.safetensors"]
    result = snakemake(tmp_path, *arguments, changes=changes)
    assert result.returncode != 0
    assert "no run names a weight file that this could be made from" in result.stdout


def test_weights_in_the_box_need_no_network(tmp_path: Path):
    make(tmp_path, "weights/hub/efficientnet_lite0.safetensors")
    found = safetensors.torch.load_file(tmp_path / "weights/hub/efficientnet_lite0.safetensors")
    assert found["conv_head.weight"].shape == (1280, 320, 1, 1)
