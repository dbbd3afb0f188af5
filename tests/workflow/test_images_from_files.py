"""Runs on image files, from the disk to pseudo labels and a gallery, by configuration alone."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from snakemake_runs import make, planned, snakemake

# A vision transformer of 0.3 million weights, and images that fit it.
SMALL = {
    "augmentation": {"name": "crop", "resize": 40, "image_size": 32},
    "backbone": {"name": "timm", "model": "test_vit", "weights": "vit.pth"},
    "head": {"hidden_dim": 32, "bottleneck_dim": 16, "out_dim": 32},
    "schedule": {"warmup_epochs": 1, "refresh_interval": 1, "total_epochs": 2},
    "training": {"batch_size": 16},
    "clustering": {"k": "3,5", "percentile": "30,60"},
}


def picture(rng: np.random.Generator, label: int, size: tuple[int, int]) -> Image.Image:
    """A noisy picture whose colour depends on its class."""
    colour = np.random.default_rng(label).integers(40, 216, 3)
    noise = rng.normal(0, 25, (size[1], size[0], 3))
    return Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8))


def write_weights(directory: Path) -> None:
    torch.manual_seed(0)
    vit = timm.create_model("test_vit", num_classes=0, img_size=48)
    torch.save({"teacher": {f"backbone.{k}": v for k, v in vit.state_dict().items()}}, directory)


@pytest.fixture
def cub(tmp_path: Path) -> Path:
    """Twelve classes of eight JPEGs, as CUB's archive unpacks, and a weight file."""
    rng, folder = np.random.default_rng(0), tmp_path / "data" / "CUB_200_2011"
    tables = {"images": [], "image_class_labels": [], "train_test_split": [], "classes": []}
    for label in range(12):
        name = f"{label + 1:03d}.Bird_{label + 1}"
        tables["classes"].append(name)
        (folder / "images" / name).mkdir(parents=True)
        for i in range(8):
            path = f"{name}/Bird_{i:04d}.jpg"
            size = (60, 45) if i % 2 else (41, 64)
            picture(rng, label, size).save(folder / "images" / path)
            tables["images"].append(path)
            tables["image_class_labels"].append(label + 1)
            tables["train_test_split"].append(int(i < 6))
    for name, values in tables.items():
        lines = (f"{i} {value}\n" for i, value in enumerate(values, start=1))
        (folder / f"{name}.txt").write_text("".join(lines))
    write_weights(tmp_path / "vit.pth")
    return tmp_path


def test_a_small_cub_from_jpegs_to_pseudo_labels(cub: Path):
    run = {"inherit": "cub", "dataset": {"old_classes": [5, 0, 2, 7, 9, 11]}, **SMALL}
    targets = [f"runs/mini/pseudo_epoch{epoch:03d}.npz" for epoch in (1, 2)]
    make(cub, *targets, "runs/mini/metrics_epoch002.json", changes={"runs": {"mini": run}})
    with np.load(cub / targets[1], allow_pickle=False) as pseudo:
        assert len(pseudo["labels"]) == 72
    with np.load(cub / "runs/mini/split.npz", allow_pickle=False) as split:
        assert split["labelled_mask"].sum() == 18  # half of the 36 training images of old classes
        assert split["old_class_names"][0] == "006.Bird_6"
    checkpoint = torch.load(cub / "runs/mini/ckpt_epoch002.pt", weights_only=True)
    stored = [name for name in checkpoint["weights"] if name.startswith("backbone.")]
    assert stored
    assert all(".blocks.5." in name for name in stored)
    for name in ("001.Bird_1/Bird_0003.jpg", "012.Bird_12/Bird_0007.jpg"):
        path = cub / "data/CUB_200_2011/images" / name
        path.write_bytes(path.read_bytes()[:300])
        (cub / "runs/mini/split.npz").unlink(missing_ok=True)
        result = snakemake(
            cub, "--cores", "2", "--", "runs/mini/split.npz", changes={"runs": {"mini": run}}
        )
        assert result.returncode != 0
        assert f"{name}: not a readable image" in result.stdout + result.stderr
        picture(np.random.default_rng(0), 0, (60, 45)).save(path)


def test_missing_weights_are_named_before_anything_runs(cub: Path):
    run = {"inherit": "cub", **SMALL, "backbone": {"name": "timm", "weights": "w/absent.pth"}}
    target = "runs/mini/pseudo_epoch001.npz"
    result = snakemake(cub, "--dry-run", "--", target, changes={"runs": {"mini": run}})
    assert result.returncode != 0
    sentence = "runs.mini: backbone.weights: no file at w/absent.pth; put it there"
    assert sentence in result.stdout + result.stderr


def test_pretrained_weights_without_network_say_which_file_to_put_where(tmp_path: Path):
    result = snakemake(tmp_path, "--cores", "1", "--", "weights/hub/dino_vitb16.safetensors")
    assert result.returncode != 0
    output = result.stdout + result.stderr
    assert "put that file at weights/dino_vitb16.safetensors, or name the official file" in output
    assert not (tmp_path / "weights/hub/dino_vitb16.safetensors").exists()


PHOTOS = {"photos": {"dataset": {"name": "photos", "folder": "mine"}, **SMALL}}
PHOTOS["photos"]["schedule"] = {"warmup_epochs": 1, "refresh_interval": 1, "total_epochs": 1}
GALLERY = "runs/photos/gallery.html"


def write_table(directory: Path, rows: dict[str, str]) -> None:
    with open(directory / "data" / "mine" / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows.items()])


def assignments(directory: Path) -> dict[str, dict[str, str]]:
    with open(directory / "runs/photos/assignments.csv", encoding="utf-8-sig", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def test_photographs_are_sorted_and_a_correction_does_not_train_again(tmp_path: Path):
    rng, labels = np.random.default_rng(0), {}
    for label, name in enumerate(["robin", "wren", "crow", "gull"]):
        (tmp_path / "data" / "mine" / f"tour{label}").mkdir(parents=True)
        for i in range(12):
            path = f"tour{label}/{i}.png"
            picture(rng, label, (50, 40)).save(tmp_path / "data" / "mine" / path)
            if label < 2 and i < 6:
                labels[path] = name
    (tmp_path / "data" / "mine" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    write_table(tmp_path, labels)
    write_weights(tmp_path / "vit.pth")
    make(tmp_path, GALLERY, changes={"runs": PHOTOS})
    first = assignments(tmp_path)
    assert len(first) == 49
    torn = first["torn.jpg"]
    assert torn["category"] == ""
    assert torn["problem"].startswith("not a readable image")
    assert f"torn.jpg: {torn['problem']}" in (tmp_path / GALLERY).read_text()
    assert all(first[path]["category"] == name for path, name in labels.items())
    assert (tmp_path / GALLERY).stat().st_size > 10_000
    assert len(list((tmp_path / "runs/photos/thumbs").iterdir())) == 48
    assert "Save labels.csv" in (tmp_path / GALLERY).read_text()
    assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == {}

    labels |= {"tour3/0.png": "gull", "tour3/1.png": "gull", "tour0/5.png": ""}
    write_table(tmp_path, labels)
    expected = {"labels": 1, "cluster_final": 1, "assign": 1, "gallery": 1}
    assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == expected
    output = make(tmp_path, GALLERY, changes={"runs": PHOTOS})
    assert "2 added, 0 changed, 1 removed since training began" in output
    second = assignments(tmp_path)
    assert second["tour3/0.png"]["category"] == second["tour3/1.png"]["category"] == "gull"
    assert {row["label"] for row in second.values()} == {"robin", "wren", "gull", ""}
    assert second["tour0/5.png"]["label"] == ""

    folder, again = tmp_path / "data" / "mine", "snakemake --cores all runs/photos/gallery.html"
    picture(rng, 0, (50, 40)).save(folder / "tour0" / "new.png")
    assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == expected
    output = make(tmp_path, GALLERY, changes={"runs": PHOTOS})
    assert "1 photographs were added since training began (first: tour0/new.png)" in output
    assert f"train again: {again} --forcerun dataset" in output
    assert assignments(tmp_path) == second
    assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == {}
    plan = forced_plan(tmp_path)
    assert {"dataset", "train", "features", "labels", "gallery"} <= plan.keys()

    def sentence() -> str:
        result = snakemake(tmp_path, "--cores", "2", "--", GALLERY, changes={"runs": PHOTOS})
        assert result.returncode != 0
        return result.stdout + result.stderr

    (folder / "tour1" / "3.png").rename(tmp_path / "3.png")
    assert "1 of 48 photographs of the run are gone (first: tour1/3.png)" in sentence()
    (tmp_path / "3.png").rename(folder / "tour1" / "3.png")
    write_table(tmp_path, {**labels, "elsewhere.png": "gull"})
    assert "are not among the photographs of data/mine (first: elsewhere.png)" in sentence()
    (folder / "labels.csv").unlink()
    assert "labels.csv: no such file; write one with the columns path" in sentence()
    folder.rename(tmp_path / "elsewhere")
    assert "no folder of photographs at data/mine; put them there" in sentence()


def forced_plan(directory: Path) -> dict[str, int]:
    """The jobs that the command in the messages would run."""
    arguments = ["--dry-run", "--cores", "2", GALLERY, "--forcerun", "dataset"]
    result = snakemake(directory, *arguments, changes={"runs": PHOTOS})
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    table = output.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_other_runs_have_no_table_of_labels(tmp_path: Path):
    result = snakemake(tmp_path, "--dry-run", "--", "runs/digits-smoke/labels.npz")
    assert result.returncode != 0
    assert "dataset 'digits', which has no CSV file of labels" in result.stdout + result.stderr
