"""New images by a finished run: as `evaluate` sorts them, and what can be wrong."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gcdflow
import numpy as np
import pytest
from gcdflow.categories.assignments import COLUMNS, assign
from gcdflow.clustering.predict import cluster_test_samples, load_clustered
from gcdflow.clustering.search import cluster_features
from gcdflow.config.settings import ClusteringSettings
from gcdflow.data.datasets.digits import open_images
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Features, PseudoLabels, Split
from gcdflow.training.checkpoint import Checkpoint
from gcdflow.training.features import extract_features
from PIL import Image
from small_training import settings

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
IMAGES = open_images({}, None).read(np.arange(1797))


@pytest.fixture(scope="module")
def made(tmp_path_factory, split_path: Path) -> Path:
    """A run on digits with a network that has not learned anything."""
    from example_files import stepped

    run = tmp_path_factory.mktemp("runs") / "digits"
    run.mkdir()
    shutil.copy(split_path, run / "split.npz")
    checkpoint, features = run / "ckpt_epoch003.pt", run / "features_epoch003.npz"
    stepped(settings(), split_sha256=sha256_file(split_path))[1].save(checkpoint)
    found = extract_features(checkpoint, run / "split.npz", device="cpu", num_workers=0)
    found.save(features)
    pseudo, _ = cluster_features(found, ClusteringSettings(k="5", percentile="40"), threads=1)
    pseudo.save(run / "pseudo_epoch003.npz")
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "runs" / "digits")
    return Path("runs/digits")


def predict(run: Path, images, **options):
    return gcdflow.predict(run, images, **{"threads": 1, "num_workers": 0, **options})


def test_the_test_split_gets_what_evaluate_gives(run: Path):
    paths = run / "features_epoch003.npz", run / "pseudo_epoch003.npz"
    features, pseudo, at = load_clustered(*paths)
    test, clusters = cluster_test_samples(features, pseudo, at)  # as `evaluate` does
    assert len(test) > 1000
    assert len(np.unique(clusters)) > 1
    found = predict(run, IMAGES[features.indices[test]], unknown=0)
    np.testing.assert_array_equal(found.clusters, clusters)
    whole = assign(run / "split.npz", *paths)
    assert found.categories == [whole.categories[i] for i in test]
    np.testing.assert_allclose(found.confidences, whole.confidences[test], atol=2e-3)
    assert found.paths == [str(i) for i in range(len(test))]
    assert set(found.labels) == {""}
    assert not found.core_mask.any()
    assert not found.train_mask.any()
    assert found.left_out == {}

    few = predict(run, IMAGES[features.indices[test]])
    assert len(few.left_out) < 0.06 * len(test)
    assert few.categories == [
        category
        for name, category in zip(found.paths, found.categories, strict=True)
        if name not in few.left_out
    ]


def test_files_are_sorted_as_the_same_images_in_memory(run: Path, tmp_path: Path):
    folder = tmp_path / "new"
    (folder / "more").mkdir(parents=True)
    names = ["0.png", "1.png", "more/2.png"]
    for i, name in enumerate(names):
        Image.fromarray(IMAGES[i, :, :, 0]).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    expected = predict(run, IMAGES[:3], unknown=0)
    found = predict(run, folder, unknown=0)
    assert found.paths == names
    assert found.categories == expected.categories
    assert found.left_out["torn.jpg"].startswith("not a readable image")
    assert predict(run, [folder / name for name in names], unknown=0).paths == [
        str(folder / name) for name in names
    ]
    assert predict(run, str(folder / "1.png"), unknown=0).categories == found.categories[1:2]
    only_torn = predict(run, [folder / "torn.jpg"])
    assert only_torn.paths == []
    assert list(only_torn.left_out) == [str(folder / "torn.jpg")]

    output = tmp_path / "found.csv"
    arguments = ["--run", run, "--images", folder, "--output", output, "--unknown", "0"]
    command = [sys.executable, SCRIPTS / "predict.py", *arguments, "--num-workers", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "found.csv: 3 images in" in done.stderr.splitlines()[-1]
    with open(output, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == [*names, "torn.jpg"]
    assert [row["category"] for row in rows] == [*expected.categories, ""]


def test_nothing_is_written_into_the_run(run: Path):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    predict(run, IMAGES[:2])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_images_that_are_none(run: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    Image.new("L", (9, 8)).save(tmp_path / "wide.png")
    for images, message in (
        (tmp_path / "empty", r"empty: holds no images, expected at least one"),
        (tmp_path / "nowhere", r"nowhere: no such image, or folder of images"),
        ([tmp_path / "wide.png", "gone.png"], r"^gone\.png: no such image"),
        ([], r"^images: holds no images"),
        (IMAGES[:0], r"^images: holds no images"),
        (IMAGES[:2] / 255, r"^images: found float64 with 4 dimensions, expected uint8 \(images"),
        (IMAGES[0, :, :, 0], r"^images: found uint8 with 2 dimensions"),
        (tmp_path / "wide.png", r"wide\.png: has 9 × 8 pixels, expected 8 × 8 as the run's images"),
    ):
        with pytest.raises(InputError, match=message):
            predict(run, images)
    for share in (-0.1, 1, 1.5):
        with pytest.raises(InputError, match=f"unknown is {share}, expected a share from 0 to be"):
            predict(run, IMAGES[:2], unknown=share)


def test_runs_that_are_none(run: Path, tmp_path: Path):
    def refused(message: str, folder: Path = run) -> None:
        with pytest.raises(InputError, match=message):
            predict(folder, IMAGES[:2])

    refused(r"nowhere: no such folder of a run, such as runs/photos", Path("nowhere"))
    refused(r"holds no pseudo labels; make the run first", tmp_path)
    checkpoint = run / "ckpt_epoch003.pt"
    content = checkpoint.read_bytes()
    other = replace(Checkpoint.load(checkpoint), split_sha256="5" * 64)
    other.save(checkpoint)
    refused(r"features_epoch003\.npz: was made from another checkpoint than .*ckpt_epoch003\.pt")
    checkpoint.unlink()
    refused(r"ckpt_epoch003\.pt: cannot be read \(No such file")
    checkpoint.write_bytes(content)
    split = Split.load(run / "split.npz")
    replace(split, train_mask=np.ones(len(split.indices), bool)).save(run / "split.npz")
    refused(r"'train_mask' of \d+ samples is not that of .*split\.npz")
    features = Features.load(run / "features_epoch003.npz")
    metadata = features.metadata | {"fingerprint": "x"}
    replace(features, metadata=metadata).save(run / "features_epoch003.npz")
    refused(r"pseudo_epoch003\.npz: was made from other features")


def test_the_last_clustering_counts(run: Path):
    expected = predict(run, IMAGES[:20]).categories
    pseudo = PseudoLabels.load(run / "pseudo_epoch003.npz")
    assert len(set(expected)) > 1
    metadata = pseudo.metadata | {"n_clusters": 1}
    earlier = replace(pseudo, labels=np.zeros_like(pseudo.labels), metadata=metadata)
    earlier.save(run / "pseudo_epoch001.npz")
    assert predict(run, IMAGES[:20]).categories == expected


def test_an_import_of_the_package_is_light():
    code = "import sys, gcdflow; print(sorted({'torch', 'numpy', 'sklearn'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert gcdflow.predict.__module__ == "gcdflow.prediction"
    with pytest.raises(AttributeError, match="module 'gcdflow' has no attribute 'nothing'"):
        _ = gcdflow.nothing
