"""The study: its pictures as folders, its splits, its tables."""

from __future__ import annotations

import csv
import gzip
import json
import os
import runpy
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_files import make_baseline, make_metrics
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.digits import catalogue
from gcdflow.files.formats import Features, PseudoLabels, Split, Truth
from PIL import Image

CLASSIFIER = {
    "transductive": {"all": 0.4, "old": 0.5, "new": 0.3},
    "inductive": {"all": 0.4, "old": 0.5, "new": 0.3},
    "ari": 0.3,
    "n_categories": 11,
}
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
DATA = runpy.run_path(str(BENCHMARKS / "study_data.py"))
STUDY = runpy.run_path(str(BENCHMARKS / "study.py"))


def listed() -> list[dict[str, str]]:
    with (BENCHMARKS / "clipart.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_list_names_each_picture_once():
    rows = listed()
    names = [(row["class"], row["path"].replace("/", "__")) for row in rows]
    assert len(set(names)) == len(rows) == 1619
    assert len({row["class"] for row in rows}) == 27


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    """A package with the listed pictures, one that is not listed, and each its path as content."""
    tree = tmp_path / "tree"
    for path in [*(row["path"] for row in listed()), "other.png"]:
        file = tree / DATA["PICTURES"] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    linked = tree / DATA["PICTURES"] / listed()[3]["path"]
    linked.unlink()
    linked.symlink_to(os.path.relpath(tree / DATA["PICTURES"] / "other.png", linked.parent))
    control = tree / "DEBIAN" / "control"
    control.parent.mkdir()
    control.write_text(
        "Package: openclipart-png\nVersion: 1\nArchitecture: all\n"
        "Maintainer: n <n@n>\nDescription: n\n"
    )
    subprocess.run(
        ["dpkg-deb", "-Znone", "-b", tree, tmp_path / "c.deb"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return tmp_path / "c.deb"


def test_clip_art_lies_in_folders_of_classes(deb: Path, tmp_path: Path):
    target = tmp_path / "data" / "clipart"
    DATA["lay_out_clipart"](target, deb)
    assert sorted(path.name for path in target.iterdir()) == ["train"]
    found = {path.relative_to(target / "train") for path in target.rglob("*.png")}
    assert found == {Path(r["class"], r["path"].replace("/", "__")) for r in listed()}
    row = listed()[7]
    picture = target / "train" / row["class"] / row["path"].replace("/", "__")
    assert picture.read_text() == row["path"]
    row = listed()[3]  # a symbolic link in the package
    picture = target / "train" / row["class"] / row["path"].replace("/", "__")
    assert picture.read_text() == "other.png"
    deb.unlink()
    DATA["lay_out_clipart"](target, deb)  # an existing folder is kept
    assert not (tmp_path / "data" / "clipart.partial").exists()


def test_what_a_kill_has_left_is_made_anew(deb: Path, tmp_path: Path):
    left = tmp_path / "clipart.partial" / "train" / "toys" / "half.png"
    left.parent.mkdir(parents=True)
    left.touch()
    DATA["lay_out_clipart"](tmp_path / "clipart", deb)
    assert not (tmp_path / "clipart" / "train" / "toys" / "half.png").exists()


def test_digits_become_images_of_their_pixels(tmp_path: Path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 784))
    rows = np.column_stack([pixels, [4, 0, 4]]).astype(float)
    table = tmp_path / "mnist_5k.csv.gz"
    table.write_bytes(gzip.compress("\n".join(",".join(map(str, r)) for r in rows).encode()))
    DATA["lay_out_mnist"](tmp_path / "mnist", table)
    found = sorted(str(p.relative_to(tmp_path / "mnist")) for p in tmp_path.rglob("*.png"))
    assert found == ["train/0/0001.png", "train/4/0000.png", "train/4/0002.png"]
    image = np.asarray(Image.open(tmp_path / "mnist" / "train" / "4" / "0002.png"))
    np.testing.assert_array_equal(image, pixels[2].reshape(28, 28))


def test_the_splits_are_those_that_the_configuration_describes():
    runs = STUDY["configured_runs"]()
    digits = {"first": [0, 1, 2, 3, 4], "odd": [1, 3, 5, 7, 9]}
    digits |= {"last": [5, 6, 7, 8, 9], "even": [0, 2, 4, 6, 8]}
    for n in range(1, 5):
        digits[f"random{n}"] = sorted(np.random.default_rng(n).permutation(10)[:5].tolist())
    classes = {"clipart": sorted({row["class"] for row in listed()}), "mnist5k": list("0123456789")}
    found: dict[str, list] = {}
    for half in ("develop", "report"):
        for name in STUDY["SETS"]:
            for split in STUDY["splits"](runs, name, half):
                which = split.removeprefix(f"{name}-{half}-")
                found.setdefault(f"{name}-{half}", []).append(which)
                for run in (runs[f"{split}-with"], runs[f"{split}-without"]):
                    if name == "digits":
                        assert run.dataset.old_classes == digits[which.partition("-")[0]]
                        continue
                    draw, names = int(which.removeprefix("draw")), classes[name]
                    order = np.random.default_rng(1000 + draw).permutation(len(names))
                    old = [names[i] for i in sorted(order[: len(names) // 2])]
                    assert run.dataset.old_classes == old
                    assert run.dataset.seed == draw
                first, *_, guided, alone = STUDY["stages"](runs, split)
                is_raw = first.title == "raw"
                assert is_raw == (name != "digits") == (first.epoch == 0)
                assert first.epoch in runs[first.run].checkpoint_epochs()
                assert guided.epoch == alone.epoch == runs[alone.run].schedule.total_epochs
                guided, alone = runs[guided.run], runs[alone.run]
                assert alone.pseudo.pseudo_loss_weight == 0
                assert alone.objective.name == "contrastive"
                strength = guided.pseudo.pseudo_loss_weight
                assert guided.objective.guided_by == "each"
                assert guided.objective.name == "simgcd" if name != "digits" else strength > 0
                same = {"pseudo": guided.pseudo, "objective": guided.objective}
                assert alone.model_copy(update=same) == guided
    assert {half: len(which) for half, which in found.items()} == {
        "digits-develop": 8,
        "clipart-develop": 4,
        "mnist5k-develop": 2,
        "digits-report": 8,
        "clipart-report": 5,
        "mnist5k-report": 5,
    }
    for name in STUDY["SETS"]:
        assert not {*found[f"{name}-develop"]} & {*found[f"{name}-report"]}


def scored(value: float, clusters: int) -> dict:
    return {
        key: dict.fromkeys(("all", "old", "new", "ari"), value) | {"clusters": clusters}
        for key in STUDY["CLUSTERINGS"]
    }


def test_the_table_has_means_and_deviations():
    lines = list(STUDY["table"]({("clipart", "raw"): [scored(0.4, 20), scored(0.5, 31)]}))
    assert len(lines) == 5
    assert lines[2] == (
        "| clipart | raw | SSDDBC, K unknown | 45.0 ± 7.1 | 45.0 ± 7.1 | 45.0 ± 7.1 | 45.0 ± 7.1 "
        "| 26 ± 7.8 |"
    )
    assert "told K" in lines[3]
    assert "told K" in lines[4]


def test_the_comparison_is_split_by_split():
    results = {
        ("digits", "after the warm-up"): [scored(0.1, 9), scored(0.1, 9)],
        ("digits", "with"): [scored(0.96, 10), scored(0.90, 11)],
        ("digits", "without"): [scored(0.92, 11), scored(0.91, 11)],
    }
    lines = list(STUDY["comparison"](results))
    assert lines[2:] == [
        "| digits | all | +1.5 ± 3.5 | 1 of 2 | -1.0 | +4.0 |",
        "| digits | ari | +1.5 ± 3.5 | 1 of 2 | -1.0 | +4.0 |",
    ]


def split_and_truth(folder: Path, n: int = 120) -> tuple[Split, Truth]:
    """The first ``n`` images of the run `digits`, with split and truth where the run has them."""
    settings = STUDY["configured_runs"]()["digits"]
    whole, truth = split_catalogue(catalogue(settings.dataset), settings.dataset)
    kept = {name: getattr(whole, name)[:n] for name in ("indices", "labels")}
    split = replace(
        whole,
        **kept,
        train_mask=np.ones(n, dtype=bool),
        labelled_mask=kept["labels"] >= 0,
    )
    truth = replace(
        truth, indices=truth.indices[:n], labels=truth.labels[:n], old_mask=truth.old_mask[:n]
    )
    folder.mkdir(parents=True)
    split.save(folder / "split.npz")
    truth.save(folder / "truth.npz")
    return split, truth


def test_stages_are_scored_once_and_again_when_their_files_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "digits"
    split, truth = split_and_truth(run)
    trained = STUDY["Stage"]("trained", "digits", 7)
    features = np.eye(10, dtype=np.float32)[truth.labels] + 0.01 * np.arange(10, dtype=np.float32)
    Features(split.indices, features, split.labels, split.train_mask, {"epoch": 7}).save(
        run / "features_epoch007.npz"
    )
    n = len(features)
    for clusters, accuracy in ((truth.labels, 1.0), (np.zeros(n, dtype=np.int64), None)):
        PseudoLabels(
            split.indices,
            clusters,
            np.ones(n, dtype=bool),
            np.ones(n, dtype=np.float32),
            np.empty((n, 0), dtype=np.int64),
            {"k": 5, "density_percentile": 50},
            {},
        ).save(run / "pseudo_epoch007.npz")
        found = STUDY["scores"](trained)
        assert {len(numbers) for numbers in found.values()} == {5}
        assert found["kmeans"]["clusters"] == found["semi_supervised_kmeans"]["clusters"] == 10
        assert found["semi_supervised_kmeans"]["all"] == 1
        if accuracy is not None:
            assert found["ssddbc"] == {"all": 1, "old": 1, "new": 1, "ari": 1, "clusters": 10}
    counts = np.bincount(truth.labels[split.labels < 0])
    assert found["ssddbc"]["all"] == pytest.approx(counts.max() / counts.sum())
    assert found["ssddbc"]["clusters"] == 1

    def forbidden(*arguments, **options):
        raise AssertionError("clustered again")

    monkeypatch.setitem(STUDY["scores"].__globals__, "_scores", forbidden)
    assert STUDY["scores"](trained) == found


def test_methods_are_compared_over_the_choices_of_old_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    runs = STUDY["configured_runs"]()
    asked: list[Path] = []

    def make(wanted: list[Path], cores: int) -> None:
        """Metrics and baselines; those of SSDDBC differ from run to run."""
        asked.extend(wanted)
        for number, path in enumerate(wanted):
            path.parent.mkdir(parents=True, exist_ok=True)
            stage, *method, _ = path.stem.split("_")
            if stage == "baseline":
                path.write_text(json.dumps(make_baseline(125, "_".join(method))))
                continue
            shares = {"all": 0.1 * number, "old": 0.5, "new": 0.5}
            extra = {} if runs[path.parent.name].baselines else {"classifier": CLASSIFIER}
            path.write_text(json.dumps(make_metrics(125, transductive=shares, ari=0.5, **extra)))

    monkeypatch.setitem(STUDY["compare_methods"].__globals__, "make_files", make)
    STUDY["compare_methods"](runs, ["digits"], 1)
    assert {path.stem[-3:] for path in asked} == {"125"}
    assert len(asked) == 10 + 5 * 5
    table = Path("results/study/methods-digits.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert ["digits-methods", "SSDDBC", "found", "5", "20.0 ± 15.8"] in [row[:5] for row in rows]
    assert ["digits-classifier", "SSDDBC", "found", "5", "70.0 ± 15.8"] in [row[:5] for row in rows]
    assert ["digits-classifier", "classifier", "-", "5", "40.0 ± 0.0"] in [row[:5] for row in rows]
    assert sum(row[:1] == ["digits-methods"] and row[2] == "told" for row in rows) == 5
