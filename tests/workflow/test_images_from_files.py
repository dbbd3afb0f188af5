"""Runs on image files, from the disk to pseudo labels and a gallery, by configuration alone."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from example_files import write_cub
from PIL import Image
from snakemake_runs import jobs_of, make, planned, snakemake
from stage_processes import in_process

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
    """Twelve classes of eight JPEGs, seven for training, as CUB's archive unpacks; and weights."""
    rng, images = np.random.default_rng(0), tmp_path / "data" / "CUB_200_2011" / "images"
    images.mkdir(parents=True)
    for i, path in enumerate(write_cub(tmp_path / "data", n_classes=12, per_class=8)):
        (images / path).parent.mkdir(exist_ok=True)
        picture(rng, i // 8, (60, 45) if i % 2 else (41, 64)).save(images / path)
    write_weights(tmp_path / "vit.pth")
    return tmp_path


def test_a_small_cub_from_jpegs_to_pseudo_labels(cub: Path):
    run = {"inherit": "cub", "dataset": {"old_classes": [5, 0, 2, 7, 9, 11]}, **SMALL}
    make(cub, "runs/mini/metrics_epoch001.json", changes={"runs": {"mini": run}})
    with np.load(cub / "runs/mini/pseudo_epoch001.npz", allow_pickle=False) as pseudo:
        assert len(pseudo["labels"]) == 84
    with np.load(cub / "runs/mini/split.npz", allow_pickle=False) as split:
        assert split["labelled_mask"].sum() == 21  # half of the 42 training images of old classes
        assert split["old_class_names"][0] == "006.Bird_6"
    checkpoint = torch.load(cub / "runs/mini/ckpt_epoch001.pt", weights_only=True)
    stored = [name for name in checkpoint["weights"] if name.startswith("backbone.")]
    assert stored
    assert all(".blocks.5." in name for name in stored)
    for name in ("001.Bird_1/Bird_1_0003.jpg", "012.Bird_12/Bird_12_0007.jpg"):
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
LABELS = {f"tour{n}/{i}.png": name for n, name in enumerate(("robin", "wren")) for i in range(6)}


def write_table(directory: Path, rows: dict[str, str]) -> None:
    with open(directory / "data" / "mine" / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *rows.items()])


def assignments(directory: Path) -> dict[str, dict[str, str]]:
    return {row["path"]: row for row in read_rows(directory / "runs/photos/assignments.csv")}


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sorted_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 48 photographs of four kinds, one that cannot be read, and their gallery."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label in range(4):
        (folder / "data" / "mine" / f"tour{label}").mkdir(parents=True)
        for i in range(12):
            picture(rng, label, (50, 40)).save(folder / "data" / "mine" / f"tour{label}/{i}.png")
    (folder / "data" / "mine" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    write_table(folder, LABELS)
    write_weights(folder / "vit.pth")
    make(folder, GALLERY, changes={"runs": PHOTOS})
    return folder


@pytest.fixture
def photos(sorted_photos: Path, tmp_path: Path) -> Path:
    """A copy of it with its modification times; tests may change it."""
    return shutil.copytree(sorted_photos, tmp_path / "copy", copy_function=shutil.copy2)


def test_photographs_are_sorted_and_a_correction_does_not_train_again(photos: Path):
    tmp_path, labels = photos, dict(LABELS)
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

    folder = tmp_path / "data" / "mine"
    again = rf"train again: snakemake --cores all {GALLERY} --directory \S+ .* --forcerun dataset"
    shutil.copy(folder / "tour0" / "0.png", folder / "tour0" / "scan")
    write_table(tmp_path, {**labels, "tour0/scan": "robin"})
    output = make(tmp_path, GALLERY, changes={"runs": PHOTOS})
    (said,) = set(re.findall(again, output))
    assert re.search(r" --snakefile \S+/Snakefile --configfile \S+/config.yaml \S+\.json ", said)
    assert assignments(tmp_path) == second
    assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == {}
    plan = forced_plan(tmp_path)
    assert {"dataset", "train", "features", "labels", "gallery"} <= plan.keys()

    def sentence() -> str:
        result = snakemake(tmp_path, "--cores", "2", "--", GALLERY, changes={"runs": PHOTOS})
        assert result.returncode != 0
        return result.stdout + result.stderr

    folder = tmp_path / "data" / "mine"
    write_table(tmp_path, {**labels, "elsewhere.png": "gull"})
    assert "no file elsewhere.png in data/mine; correct the path, or remove the line" in sentence()
    (folder / "labels.csv").unlink()
    assert "labels.csv: no such file; write one with the columns path" in sentence()
    folder.rename(tmp_path / "elsewhere")
    assert "no folder of photographs at data/mine; put them there" in sentence()


ADDITION = dict.fromkeys(("photographs", "added", "thumbs", "assign", "gallery"), 1)


def test_photographs_come_go_and_move_without_training(photos: Path):
    tmp_path, labels, folder = photos, dict(LABELS), photos / "data" / "mine"
    rng = np.random.default_rng(1)
    first, trained = assignments(tmp_path), states(tmp_path)
    assert len(first) == 49

    def step(expected: dict[str, int]) -> tuple[str, dict[str, dict[str, str]]]:
        """Make the gallery again by these jobs, of which none trains or reads what is known."""
        assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == expected
        output = make(tmp_path, GALLERY, changes={"runs": PHOTOS})
        assert planned(tmp_path, GALLERY, changes={"runs": PHOTOS}) == {}
        assert states(tmp_path) == trained
        return output, assignments(tmp_path)

    # Added: each goes to its category, one that cannot be read is listed.
    for name, label in (("tour0/new.png", 0), ("new/a.png", 2)):
        (folder / name).parent.mkdir(exist_ok=True)
        picture(rng, label, (50, 40)).save(folder / name)
    (folder / "half.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    clustered = (tmp_path / "runs/photos/pseudo_final.npz").stat().st_mtime_ns
    output, second = step(ADDITION)
    assert "52 photographs: 3 added, 0 renamed or moved, 0 removed since training" in output
    assert "since training began; 1 could not be read then" in output
    assert "2 features of added photographs, 2 of them new; 2 cannot be read" in output
    assert second["half.jpg"]["problem"].startswith("not a readable image")
    assert second.keys() - first.keys() == {"tour0/new.png", "new/a.png", "half.jpg"}
    assert {path: second[path]["category"] for path in first} == {
        path: row["category"] for path, row in first.items()
    }

    # A second addition reads the newest alone; what moved is what it was.
    picture(rng, 1, (50, 40)).save(folder / "new" / "b.png")
    shutil.move(folder / "tour2", folder / "black birds")
    (folder / "new" / "a.png").rename(folder / "new" / "c.png")
    output, third = step(ADDITION)
    assert "53 photographs: 4 added, 12 renamed or moved, 0 removed since training" in output
    assert "checked 1 image in" in output
    assert "3 features of added photographs, 1 of them new; 2 cannot be read" in output
    for new, old in [("new/c.png", "new/a.png")] + [
        (f"black birds/{i}.png", f"tour2/{i}.png") for i in range(12)
    ]:
        assert third[new] == second[old] | {"path": new}
    assert len(third) == 53
    assert (tmp_path / "runs/photos/pseudo_final.npz").stat().st_mtime_ns == clustered

    # A listed one keeps its label under another name; lines label added and moved ones.
    (folder / "tour0" / "0.png").rename(folder / "tour0" / "zero.png")
    write_table(tmp_path, labels | {"new/b.png": "tit", "black birds/3.png": "rook"})
    with_labels = ADDITION | {"labels": 1, "cluster_final": 1}
    output, fourth = step(with_labels)
    assert "1 added, 0 changed, 0 removed since training began; 1 of added photographs" in output
    assert fourth["tour0/zero.png"]["label"] == "robin"
    assert fourth["new/b.png"]["category"] == fourth["new/b.png"]["label"] == "tit"
    assert fourth["black birds/3.png"]["label"] == "rook"

    # Removed ones leave the tables, and nothing asks for them.
    shutil.rmtree(folder / "tour1")
    (folder / "half.jpg").unlink()
    output, fifth = step(with_labels)
    gone = {path for path in fourth if path.startswith("tour1/") or path == "half.jpg"}
    assert len(gone) == 13
    assert fifth.keys() == fourth.keys() - gone
    assert '"path":"tour1/' not in (tmp_path / GALLERY).read_text()
    assert '"path":"new/c.png"' in (tmp_path / GALLERY).read_text()

    # The same by hand, in a folder of its own.
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(folder / "new" / "c.png", other / "x.png")
    found = tmp_path / "found.csv"
    arguments = ("--run", "runs/photos", "--images", other, "--output", found)
    done = in_process("predict", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["path"]: row for row in read_rows(found)}
    assert rows == {"x.png": fifth["new/c.png"] | {"path": "x.png", "split": "test"}}


def states(directory: Path) -> dict[str, int]:
    """When the files of training were made."""
    names = ("split.npz", "ckpt_epoch001.pt", "features_epoch001.npz")
    return {name: (directory / "runs/photos" / name).stat().st_mtime_ns for name in names}


def forced_plan(directory: Path) -> dict[str, int]:
    """The jobs that the command in the messages would run."""
    arguments = ["--dry-run", "--cores", "2", GALLERY, "--forcerun", "dataset"]
    return jobs_of(snakemake(directory, *arguments, changes={"runs": PHOTOS}))


def test_other_runs_have_no_table_of_labels(tmp_path: Path):
    result = snakemake(tmp_path, "--dry-run", "--", "runs/digits-smoke/labels.npz")
    assert result.returncode != 0
    assert "dataset 'digits', which has no CSV file of labels" in result.stdout + result.stderr
