"""Features of added photographs: read once, kept by content, from one checkpoint."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from example_files import stepped
from gcdflow.config.settings import PhotosSettings, TrainSettings
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.photos import catalogue
from gcdflow.data.datasets.seen_photos import content_id, see_photographs
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import AddedFeatures, load_kept
from gcdflow.models.weights import write_safetensors
from gcdflow.training.added import added_features
from gcdflow.training.features import extract_features
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
TIMM = {
    "seed": 0,
    "augmentation": {"name": "crop", "resize": 40, "image_size": 32},
    "backbone": {"name": "timm", "model": "test_vit", "weights": "vit.safetensors"},
    "head": {"hidden_dim": 8, "bottleneck_dim": 4, "out_dim": 6},
    "training": {"batch_size": 8},
    "total_epochs": 10,
}


class Run:
    """A run on three photographs, after one step of training."""

    def __init__(self, folder: Path):
        self.folder, self.photos = folder, folder / "data" / "photos"
        self.photos.mkdir(parents=True)
        for i in range(3):
            self.draw(f"{i}.png", i)
        (self.photos / "labels.csv").write_text("path,label\n0.png,owl\n")
        split, _ = split_catalogue(catalogue(PhotosSettings()), PhotosSettings())
        split.save("split.npz")
        torch.manual_seed(0)
        vit = timm.create_model("test_vit", num_classes=0, img_size=32)
        write_safetensors(vit.state_dict(), folder / "vit.safetensors")
        self.train()

    def draw(self, name: str, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(self.photos / name)

    def train(self, seed: int = 0) -> None:
        settings = TrainSettings.model_validate(TIMM)
        digest = sha256_file("split.npz")
        stepped(settings, seed=seed, split_sha256=digest)[1].save("ckpt.pt")
        weights = Path("vit.safetensors")
        files = (Path("ckpt.pt"), Path("split.npz"))
        extract_features(*files, num_workers=0, weights=weights).save("f.npz")

    def add(self) -> tuple[AddedFeatures, int]:
        """What the stages `photographs` and `added` make."""
        see_photographs(Path("split.npz"), None, 1).save("photographs.npz")
        paths = map(Path, ("split.npz", "photographs.npz", "f.npz", "ckpt.pt"))
        before = load_kept(AddedFeatures, Path("added.npz"))
        weights = Path("vit.safetensors")
        added, new = added_features(*paths, before, num_workers=0, weights=weights)
        added.save("added.npz")
        return AddedFeatures.load("added.npz"), new

    def id_of(self, name: str) -> int:
        return content_id(sha256_file(self.photos / name))


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path)


def test_nothing_was_added(run: Run):
    added, new = run.add()
    assert (len(added.indices), added.features.shape, new) == (0, (0, 64), 0)
    assert added.unreadable == {}


def test_new_ones_are_read_once_and_kept(run: Run, caplog):
    caplog.set_level(logging.INFO)
    run.draw("x.png", 7)
    first, new = run.add()
    assert (first.indices.tolist(), new) == ([run.id_of("x.png")], 1)
    run.draw("y.png", 8)
    (run.photos / "x.png").rename(run.photos / "z.png")
    caplog.clear()
    second, new = run.add()
    assert (second.indices.tolist(), new) == ([run.id_of("z.png"), run.id_of("y.png")], 1)
    assert "checked 1 image in" in caplog.text
    np.testing.assert_array_equal(second.features[:1], first.features)
    (run.photos / "z.png").unlink()
    third, new = run.add()
    assert (third.indices.tolist(), new) == (second.indices.tolist(), 0)  # it may come back

    # They are what the features of samples are.
    (run.photos / "labels.csv").write_text("path,label\n0.png,owl\n")
    split, _ = split_catalogue(catalogue(PhotosSettings()), PhotosSettings())
    split.save("other.npz")
    settings = TrainSettings.model_validate(TIMM)
    stepped(settings, split_sha256=sha256_file("other.npz"))[1].save("other.pt")
    weights = Path("vit.safetensors")
    files = (Path("other.pt"), Path("other.npz"))
    whole = extract_features(*files, num_workers=0, weights=weights)
    at = split.paths.tolist().index("y.png")
    np.testing.assert_allclose(third.features[1], whole.features[at], atol=1e-5)


def test_unreadable_ones_are_tried_once_for_each_content(run: Run, caplog):
    caplog.set_level(logging.INFO)
    torn = run.photos / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff")
    added, new = run.add()
    assert new == 0
    assert list(added.unreadable) == [sha256_file(torn)]
    assert added.unreadable[sha256_file(torn)].startswith("not a readable image")
    caplog.clear()
    assert run.add()[0].unreadable == added.unreadable
    assert "checked" not in caplog.text
    run.draw("good.png", 5)
    (run.photos / "good.png").replace(torn)
    added, new = run.add()
    assert (added.indices.tolist(), new) == ([run.id_of("torn.jpg")], 1)


def test_another_checkpoint_takes_nothing_of_before(run: Run):
    run.draw("x.png", 7)
    first, _ = run.add()
    run.train(seed=1)
    second, new = run.add()
    assert new == 1
    assert second.metadata["checkpoint_sha256"] != first.metadata["checkpoint_sha256"]
    assert not np.array_equal(second.features, first.features)


def test_files_that_do_not_belong_together(run: Run):
    run.draw("x.png", 7)
    run.add()
    paths = {"split": "split.npz", "seen": "photographs.npz"}
    paths |= {"features": "f.npz", "checkpoint": "ckpt.pt"}

    def refused(message: str, **others: str) -> None:
        files = [Path(path) for path in (paths | others).values()]
        with pytest.raises(InputError, match=message):
            added_features(*files, None, num_workers=0, weights=Path("vit.safetensors"))

    split, _ = split_catalogue(catalogue(PhotosSettings()), PhotosSettings())
    split.save("other.npz")
    refused(r"photographs\.npz: is of another split than other\.npz", split="other.npz")
    stepped(TrainSettings.model_validate(TIMM), seed=3)[1].save("other.pt")
    refused(r"f\.npz: was made from another checkpoint than other\.pt", checkpoint="other.pt")
    Path("vit.safetensors").write_bytes(b"other")
    refused(r"vit\.safetensors: not the weight file that ckpt\.pt was trained with")


def test_the_stage_imports_torch_only_for_new_photographs(run: Run):
    see_photographs(Path("split.npz"), None, 1).save("photographs.npz")
    command = "--split split.npz --photographs photographs.npz --features f.npz "
    command += "--checkpoint ckpt.pt --weights vit.safetensors --output added.npz --num-workers 0"
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0] + '/..')\n"
        "runpy.run_path(sys.argv[0], run_name='__main__'); print('torch' in sys.modules)"
    )

    def stage() -> tuple[str, str]:
        arguments = [sys.executable, "-c", code, SCRIPTS / "added.py", *command.split()]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        return done.stdout.strip(), done.stderr.splitlines()[-1]

    imported, said = stage()
    assert imported == "False"
    assert said.endswith("added.npz: 0 features of added photographs, 0 of them new")
    run.draw("x.png", 7)
    see_photographs(Path("split.npz"), None, 1).save("photographs.npz")
    imported, said = stage()
    assert imported == "True"
    assert said.endswith("added.npz: 1 features of added photographs, 1 of them new")


def test_values_that_do_not_fit(tmp_path: Path):
    value = AddedFeatures(np.array([1, 2]), np.ones((2, 3), np.float32), {})
    for wrong in (np.ones((1, 3), np.float32), np.ones((0, 3), np.float32)):
        replace(value, features=wrong).save(tmp_path / "x.npz")
        with pytest.raises(InputError, match="arrays differ in length"):
            AddedFeatures.load(tmp_path / "x.npz")
