"""Runs that share stored views: who makes them, who uses them, and when they may go."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gcdflow.config.runs import merged
from small_views import RUN, write_pictures
from snakemake_runs import make, planned, snakemake

DATASET = {"name": "image_folder", "folder": "images", "old_classes": ["c0", "c1"]}
FIRST = merged(
    RUN, {"dataset": DATASET, "schedule": {"warmup_epochs": 1, "total_epochs": 1}, "gpus": 1}
)
# Another draw of labels, other losses, another head: all that comes after the frozen part.
SECOND = merged(
    FIRST,
    {"dataset": {"seed": 1}, "training": {"lr": 0.01}, "head": {"out_dim": 8}},
)
RUNS = {"a": FIRST, "b": SECOND, "flat": merged(FIRST, {"augmentation": {"flip": False}})}
CHANGES = {"runs": RUNS}
A, B = "runs/a/features_epoch001.npz", "runs/b/features_epoch001.npz"
# One thread a stage; random weights of one seed are the same for both runs.
OPTIONS = ("--set-threads", "train=1", "features=1", "views=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "data" / "images")
    return tmp_path


def files_of_views(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "views").glob("*.npy"))


def test_runs_share_a_file_and_only_a_target_of_its_own_deletes_it(folder: Path):
    both = {"dataset": 2, "views": 1, "train": 2, "features": 2}
    assert planned(folder, A, B, changes=CHANGES) == both
    other = "runs/flat/ckpt_epoch001.pt"
    assert planned(folder, A, other, changes=CHANGES)["views"] == 2
    make(folder, A, changes=CHANGES, options=OPTIONS)
    (name,) = files_of_views(folder)
    rest = {"dataset": 1, "train": 1, "features": 1}
    assert planned(folder, A, B, changes=CHANGES) == rest
    output = make(folder, "delete_views", changes=CHANGES)
    assert "nothing is deleted: there are no stored views whose runs are all done" in output
    assert files_of_views(folder) == [name]  # b needs it
    make(folder, B, changes=CHANGES, options=OPTIONS)
    assert planned(folder, A, B, changes=CHANGES) == {}
    # Views stay with the run that they were made from, whatever becomes of it in the configuration.
    for runs in ({"b": SECOND}, {"before": merged(FIRST, {"seed": 1}), **RUNS}):
        assert planned(folder, B, changes={"runs": runs}) == {}
    alone = {"runs": {"b": SECOND}}
    result = snakemake(folder, "--dry-run", "--forceall", "--", B, changes=alone)
    assert result.returncode == 0, result.stdout + result.stderr
    output = make(folder, "delete_views", changes=CHANGES)
    assert f"stored views deleted: views/{name}, 0.1 MB" in output
    assert list((folder / "views").glob("*.np*")) + list((folder / "views").glob(".*.*")) == []
    assert planned(folder, A, B, changes=CHANGES) == {}


def test_the_truth_is_no_input_and_strange_targets_are_named(folder: Path):
    result = snakemake(folder, "--dry-run", "--printshellcmds", "--", A, changes=CHANGES)
    commands = re.findall(
        r"^Shell command: .*; stage (\w+) (.*)$", result.stdout + result.stderr, re.MULTILINE
    )
    assert [stage for stage, _ in commands] == ["dataset", "views", "train", "features"]
    assert {stage for stage, flags in commands if "truth" in flags} == {"dataset"}
    assert all(" --views views/" in f for stage, f in commands if stage in ("train", "features"))
    strange = "views/0123456789abcdef.npy"
    result = snakemake(folder, "--dry-run", "--", strange, changes=CHANGES)
    assert result.returncode != 0
    assert f"has the stored views {strange} (there are: views/" in result.stdout + result.stderr
