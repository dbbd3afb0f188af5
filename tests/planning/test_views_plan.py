"""Which runs share stored views, and when nobody needs them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from gcdflow.config.runs import merged, names_of_runs, resolve_runs
from gcdflow.config.settings import RunSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import write_json
from gcdflow.planning import plan
from gcdflow.planning.parameters import views_settings
from gcdflow.planning.stored_views import runs_by_views, runs_of_views, unneeded_views, views_file

RUN = {
    "dataset": {"name": "image_folder", "old_classes": ["a"]},
    "augmentation": {"name": "crop", "image_size": 224},
    "backbone": {"name": "timm", "model": "dino_vits16"},
    "training": {"views": 8},
    "schedule": {"warmup_epochs": 1, "refresh_interval": 1, "total_epochs": 2},
}


def run(**changes: object) -> RunSettings:
    return RunSettings.model_validate(merged(RUN, changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"gpus": 2},
        {"dataset": {"seed": 3, "old_classes": ["b"], "prop_train_labels": 0.2}},
        {"head": {"out_dim": 8}},
        {"schedule": {"total_epochs": 9}},
        {"training": {"lr": 0.3, "batch_size": 8}},
        {"pseudo": {"points": "all"}},
        {"clustering": {"k": "3,4"}},
    ],
)
def test_what_comes_after_the_frozen_part_makes_no_other_file(changes: dict):
    assert views_file(run(**changes)) == views_file(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": {"folder": "others"}},
        {"augmentation": {"flip": False}},
        {"backbone": {"model": "dino_vits8"}},
        {"backbone": {"trained_blocks": 2}},
        {"backbone": {"weights": "mine.safetensors"}},
        {"training": {"views": 9}},
    ],
)
def test_what_the_frozen_part_sees_makes_another_file(changes: dict):
    assert views_file(run(**changes)) != views_file(run())


def test_weights_of_the_same_bytes_are_the_same_wherever_they_lie(tmp_path: Path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    a, b, c = (run(backbone={"weights": str(tmp_path / f"{name}.safetensors")}) for name in "abc")
    assert views_file(a) == views_file(b) != views_file(c)
    assert views_settings(a) == views_settings(b)
    assert str(tmp_path) not in views_settings(a)


def test_random_weights_have_the_seed_of_the_run():
    random = {"backbone": {"weights": "random"}}
    assert views_file(run(**random)) != views_file(run(**random, seed=1))


def test_fresh_views_need_no_file_and_nothing_frozen_gives_none():
    assert views_file(run(training={"views": None})) is None
    assert plan.train_inputs(run(training={"views": None}), "a", 1) == {"split": "runs/a/split.npz"}
    message = (
        "runs.a: training.views is 4, but nothing of backbone 'small_convnet' is frozen, so there "
        "is nothing to store; set it to null"
    )
    small = {"augmentation": {"name": "affine"}, "backbone": {"name": "small_convnet"}}
    with pytest.raises(InputError, match=message):
        resolve_runs({"runs": {"a": {**small, "training": {"views": 4}}}})


def test_training_and_features_take_the_file():
    path = views_file(run())
    assert plan.train_inputs(run(), "a", 1)["views"] == path
    assert plan.features_inputs(run(), "a", 2)["views"] == path


def test_the_first_run_gives_the_images():
    runs = {"a": run(training={"views": None}), "b": run(), "c": run(seed=1), "d": run(seed=2)}
    owners = runs_by_views(runs, str)
    assert owners == {views_file(run()): ["b", "c", "d"]}
    digest = Path(views_file(run())).stem
    assert runs_of_views(owners, digest) == ["b", "c", "d"]
    with pytest.raises(InputError, match=rf"views/00\.npy \(there are: views/{digest}\.npy \(b\)"):
        runs_of_views(owners, "00")


def test_existing_views_stay_with_the_run_that_they_were_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    runs, path = {"a": run(), "b": run(seed=1)}, Path(views_file(run()))
    record = {"outputs": {path.name: ""}, "inputs": {"../runs/b/split.npz": ""}, "beside": []}

    def owners(maker: str) -> list[str]:
        record["inputs"] = {f"../runs/{maker}/split.npz": "", "../weights/w.safetensors": ""}
        write_json(tmp_path / "below/views/.made" / f"{path.name}.json", record)
        (tmp_path / "below" / path).touch()
        return runs_by_views(runs, "below/{}".format)[str(path)]

    assert owners("a") == ["a", "b"]
    assert owners("b") == ["b", "a"]
    assert owners("gone") == ["a", "b"]
    split = tmp_path / "below/runs/gone/split.npz"
    split.parent.mkdir(parents=True)
    split.touch()
    assert owners("gone") == ["gone", "a", "b"]
    (tmp_path / "below" / path).unlink()  # is made again, from what the configuration has
    assert runs_by_views(runs, "below/{}".format)[str(path)] == ["a", "b"]
    # The files of such a run are plain files: no rule makes them again.
    for others, makes_it in (((), True), ({"gone"}, False)):
        names = re.compile(names_of_runs(others) + "/split.npz")
        assert bool(names.fullmatch("gone/split.npz")) == makes_it
        assert names.fullmatch("gone2/split.npz")


def test_views_are_needed_until_all_their_runs_have_all_checkpoints_and_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    runs = {"a": run(), "b": run(seed=1), "other": run(augmentation={"flip": False})}
    owners, path = runs_by_views(runs, str), f"below/{views_file(run())}"
    files = [
        Path("below/runs", name, file.format(epoch))
        for name in ("a", "b")
        for epoch in ("001", "002")
        for file in ("ckpt_epoch{}.pt", "features_epoch{}.npz")
    ]
    for file in [Path(path), *files]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    Path("below/views/ffffffffffffffff.npy").touch()  # of a run that is not in the configuration

    def unneeded() -> list[str]:
        return unneeded_views(owners, runs, lambda path: f"below/{path}")

    assert unneeded() == [path]
    for file in files:
        file.unlink()
        assert unneeded() == []
        file.touch()
    os.unlink(path)
    assert unneeded() == []
