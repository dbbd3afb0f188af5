"""Categories before any training, of a run that starts from pretrained weights."""

from __future__ import annotations

import csv
import html
import json
import os
import re
import shlex
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from gcdflow.config.runs import merged
from small_views import RUN, write_pictures
from snakemake.cli import get_argument_parser
from snakemake_runs import make, planned, snakemake

PHOTOS = merged(
    RUN,
    {
        "dataset": {"name": "photos", "folder": "mine"},
        "backbone": {"weights": "weights/mine.safetensors"},
        "schedule": {"warmup_epochs": 1, "refresh_interval": 1, "total_epochs": 1},
        "clustering": {"k": "3,5", "percentile": "50,90"},
    },
)
LOOK = merged(PHOTOS, {"schedule": {"warmup_epochs": 0, "total_epochs": 0}})
GUIDED = merged(PHOTOS, {"schedule": {"warmup_epochs": 0}})
RANDOM = merged(RUN, {"dataset": {"name": "image_folder", "folder": "mine"}})
CHANGES = {"runs": {"mine": PHOTOS, "look": LOOK, "guided": GUIDED, "random": RANDOM}}
PAGE, GALLERY = "runs/mine/first_look.html", "runs/mine/gallery.html"
OPTIONS = ("--set-threads", "train=1", "features=1", "views=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs with labels for some of two classes, and weights."""
    folder = tmp_path_factory.mktemp("photographs")
    pictures = sorted(write_pictures(folder / "data/mine").rglob("*.png"))
    with open(folder / "data/mine/labels.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "truth"])
        for number, path in enumerate(pictures):
            truth = path.parent.name
            label = truth if truth in ("c0", "c1") and number % 2 else ""
            table.writerow([path.relative_to(folder / "data/mine"), label, truth])
    torch.manual_seed(0)
    state = timm.create_model("test_vit", num_classes=0, img_size=32).state_dict()
    (folder / "weights").mkdir()
    safetensors.torch.save_file(state, folder / "weights/mine.safetensors")
    return folder


def categories(path: Path) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return [row["category"] for row in csv.DictReader(file)]


def test_a_first_look_trains_nothing_and_makes_no_views(folder: Path):
    jobs = ["dataset", "photographs", "labels", "thumbs", "train", "features"]
    jobs += ["cluster_first_look", "added_first_look", "assign_first_look", "first_look"]
    assert planned(folder, PAGE, changes=CHANGES) == dict.fromkeys(jobs, 1)
    targets = (PAGE, "runs/mine/metrics_epoch000.json")
    said = make(folder, *targets, changes=CHANGES, options=OPTIONS)
    time = r"(?:about \d+ \w+|between \d+ \w+ and \d+ \w+)"
    (command,) = re.findall(rf"next: train, which takes {time} here, .*: (snak.*)", said)
    assert html.escape(command) in (folder / PAGE).read_text(), "the page has the same"
    parsed = get_argument_parser().parse_args(shlex.split(command)[1:])
    assert list(parsed.targets) == [GALLERY]
    assert parsed.forcerun == {"dataset"}
    assert str(parsed.directory) == str(folder), "and the options of this call"
    assert len(parsed.configfile) == 2
    (again,) = re.findall(r"Save, and run <code>(snak[^<]*)</code>", (folder / PAGE).read_text())
    alone = shlex.join(shlex.split(command)[:-2]).replace(GALLERY, PAGE)
    assert html.unescape(again) == alone, "corrections look again, with the same options"
    assert len(categories(folder / "runs/mine/first_look.csv")) == 48
    metrics = json.loads((folder / "runs/mine/metrics_epoch000.json").read_text())
    assert metrics["epoch"] == 0
    # Training reuses all of it; its first segment does not depend on the look.
    rest = planned(folder, GALLERY, changes=CHANGES)
    names = ("views", "train", "features", "added", "cluster_final", "assign", "gallery")
    assert rest == dict.fromkeys(names, 1)


def test_a_picture_that_was_changed_without_another_size_is_looked_at(folder: Path):
    make(folder, PAGE, changes=CHANGES, options=OPTIONS)
    path = folder / "data/mine/train/c3/1.png"
    before, stamp = path.read_bytes(), path.stat()
    path.write_bytes(before[:-1] + b"\0")
    assert path.stat().st_size == stamp.st_size
    plan = planned(folder, PAGE, changes=CHANGES)
    names = ("photographs", "thumbs", "labels", "added_first_look", "cluster_first_look")
    assert plan == dict.fromkeys([*names, "assign_first_look", "first_look"], 1)
    path.write_bytes(before)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert planned(folder, PAGE, changes=CHANGES) == {}


def test_jobs_of_a_cluster_name_the_call_that_submitted_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The command line of their own Snakemake has other options, and no profile."""
    monkeypatch.setenv("GCDFLOW_CALL", json.dumps([["--profile", "profiles/slurm"], []]))
    of_job = ("--mode", "remote", "--target-jobs", "labels:run=mine", "--allowed-rules", "labels")
    options = ("--cores", "1", "--force", "--dry-run", "--printshellcmds")
    result = snakemake(folder, *of_job, *options, changes=CHANGES)
    command = f"--again 'snakemake --profile profiles/slurm {GALLERY} --forcerun dataset'"
    assert command in result.stdout + result.stderr


def test_a_page_names_the_command_that_makes_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    call = [["--cores", "all"], ["--configfile", "short.yaml"]]
    monkeypatch.setenv("GCDFLOW_CALL", json.dumps(call))
    for rule, page in (("gallery", GALLERY), ("first_look", PAGE)):
        of_job = ("--mode", "remote", "--target-jobs", f"{rule}:run=mine", "--allowed-rules", rule)
        flags = ("--cores", "1", "--force", "--dry-run", "--printshellcmds")
        result = snakemake(folder, *of_job, *flags, changes=CHANGES)
        command = f"--again 'snakemake --cores all {page} --configfile short.yaml'"
        assert command in result.stdout + result.stderr


def test_a_run_of_no_epochs_ends_with_the_look(folder: Path):
    look = "runs/look/first_look.html"
    targets = ("runs/look/gallery.html", "runs/look/report.md", PAGE, look)
    make(folder, *targets, changes=CHANGES, options=OPTIONS)
    assert not (folder / "views").exists()
    assert "Next:" not in (folder / "runs/look/first_look.html").read_text()
    report = (folder / "runs/look/report.md").read_text()
    assert "|   000 |" in report
    assert categories(folder / "runs/look/assignments.csv") == categories(
        folder / "runs/mine/first_look.csv"
    )


def test_sidecars_are_made_if_asked_for(folder: Path):
    make(folder, "runs/look/sidecars", changes=CHANGES, options=OPTIONS)
    with open(folder / "runs/look/assignments.csv", encoding="utf-8-sig", newline="") as file:
        sure = [row["path"] for row in csv.DictReader(file) if row["doubtful"] == "false"]
    found = (folder / "runs/look/sidecars").rglob("*.xmp")
    names = {path.relative_to(folder / "runs/look/sidecars").as_posix() for path in found}
    assert names == {f"{path}.xmp" for path in sure}
    assert list((folder / "data/mine").rglob("*.xmp")) == []


def test_a_corrected_label_is_in_the_next_look(folder: Path):
    make(folder, PAGE, changes=CHANGES, options=OPTIONS)
    table = folder / "data/mine/labels.csv"
    table.write_text(table.read_text().replace("train/c3/0.png,,", "train/c3/0.png,c3,"))
    again = dict.fromkeys(("labels", "cluster_first_look", "assign_first_look", "first_look"), 1)
    assert planned(folder, PAGE, changes=CHANGES) == again
    make(folder, PAGE, changes=CHANGES)
    assert "c3" in categories(folder / "runs/mine/first_look.csv")


def test_a_failed_listing_leaves_the_run_as_it_was(folder: Path):
    make(folder, PAGE, changes=CHANGES, options=OPTIONS)
    table, split = folder / "data/mine/labels.csv", folder / "runs/mine/split.npz"
    before, right = split.read_bytes(), table.read_bytes()
    other = merged(CHANGES, {"runs": {"mine": {"dataset": {"real_classes": ["NA"]}}}})

    def list_again(changes: dict) -> None:
        table.write_bytes(right + b"train/elsewhere.png,c1,\r\n")
        again = ("--cores", "2", PAGE, "--forcerun", "dataset")
        result = snakemake(folder, *again, changes=changes)
        assert result.returncode != 0
        assert "elsewhere.png" in result.stdout + result.stderr
        assert split.read_bytes() == before
        assert (folder / "runs/mine/truth.npz").exists()
        table.write_bytes(right)

    list_again(CHANGES)
    assert planned(folder, PAGE, changes=CHANGES) == {}
    list_again(other)
    assert planned(folder, PAGE, changes=other)["dataset"] == 1, (
        "the split is not of these settings"
    )
    make(folder, PAGE, changes=other, options=OPTIONS)
    assert planned(folder, PAGE, changes=other) == {}


def test_the_look_may_guide_the_first_epoch(folder: Path):
    make(folder, "runs/guided/ckpt_epoch001.pt", changes=CHANGES, options=OPTIONS)
    checkpoint = torch.load(folder / "runs/guided/ckpt_epoch001.pt", weights_only=True)
    assert json.loads(checkpoint["history"])["1"]["L_pseudo"] > 0


def test_random_weights_have_no_first_look(folder: Path):
    result = snakemake(folder, "-n", "--", "runs/random/first_look.html", changes=CHANGES)
    assert result.returncode != 0
    assert "run 'random' has no checkpoint at epoch 000" in result.stdout + result.stderr
