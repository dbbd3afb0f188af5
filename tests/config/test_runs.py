"""Runs inherit from the defaults and from each other, and are found by name."""

import pytest
from gcdflow.config.runs import find_run, merged, resolve_default_runs, resolve_runs
from gcdflow.config.settings import (
    AffineAugmentation,
    CropAugmentation,
    DigitsSettings,
    PhotosSettings,
    SmallConvNetSettings,
    TimmSettings,
)
from gcdflow.errors import InputError


def test_paths_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    values = {"name": "photos", "root": "~/data", "folder": "~/photos", "labels": "~/l.csv"}
    run = {"dataset": values, "backbone": {"name": "timm", "weights": "~/w.pth"}}
    settings = resolve_runs({"runs": {"a": run}})["a"]
    assert settings.dataset.root == "/home/me/data"
    assert settings.dataset.folder == "/home/me/photos"
    assert settings.dataset.labels == "/home/me/l.csv"
    assert settings.backbone.named_file == "/home/me/w.pth"
    assert settings.train_settings(False).backbone.weights == "/home/me/w.pth"

    # All others mean what they always did, so that nothing is trained again.
    for path in ("data", "/data", "./~/data", "data~", "~nobody-here/data", "a/~"):
        assert PhotosSettings(root=path, folder=path, labels=path).root == path


def test_merge_is_deep_and_changes_neither():
    base = {"training": {"lr": 0.1, "momentum": 0.5}, "seed": 1}
    override = {"training": {"lr": 0.2}}
    assert merged(base, override) == {"training": {"lr": 0.2, "momentum": 0.5}, "seed": 1}
    assert base == {"training": {"lr": 0.1, "momentum": 0.5}, "seed": 1}
    assert override == {"training": {"lr": 0.2}}


def test_a_run_inherits_from_defaults_and_from_another_run():
    runs = resolve_runs(
        {
            "defaults": {"seed": 3, "training": {"lr": 0.5, "momentum": 0.1}},
            "runs": {
                "child": {"inherit": "parent", "training": {"lr": 0.7}},
                "parent": {"seed": 4, "training": {"batch_size": 8}},
                "plain": None,
            },
        }
    )
    child = runs["child"]
    assert (child.seed, child.training.lr, child.training.momentum) == (4, 0.7, 0.1)
    assert child.training.batch_size == 8
    assert child.training.weight_decay == 1e-4
    assert runs["parent"].training.lr == 0.5
    assert runs["plain"].seed == 3
    assert list(runs) == ["child", "parent", "plain"]


def test_another_name_replaces_a_section_whole():
    runs = resolve_runs(
        {
            "defaults": {
                "augmentation": {"name": "crop", "resize": 300},
                "backbone": {"name": "timm", "model": "dino_vits16"},
                "dataset": {"name": "cub", "root": "/somewhere", "seed": 3, "old_classes": [4]},
            },
            "runs": {
                "same": {"augmentation": {"name": "crop", "flip": False}},
                "unnamed": {"backbone": {"trained_blocks": 3}},
                "other": {
                    "augmentation": {"name": "affine"},
                    "backbone": {"name": "small_convnet", "width": 3},
                    "dataset": {"name": "digits"},
                },
                "photos": {"dataset": {"name": "photos"}},
            },
        }
    )
    assert runs["same"].augmentation == CropAugmentation(resize=300, flip=False)
    assert runs["unnamed"].backbone == TimmSettings(model="dino_vits16", trained_blocks=3)
    assert runs["other"].augmentation == AffineAugmentation()
    assert runs["other"].backbone == SmallConvNetSettings(width=3)
    assert runs["same"].dataset.old_classes == [4]
    # How any dataset is treated stays, as far as the other kind knows it.
    assert runs["other"].dataset == DigitsSettings(root="/somewhere", seed=3)
    assert runs["photos"].dataset == PhotosSettings(root="/somewhere")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"run": {}}, r"unknown key 'run' \(expected: defaults, runs, sweeps, default_runs\)"),
        ({1: {}, "run": {}}, "unknown key '1'"),
        ({"runs": None}, "'runs' must be a mapping"),
        ({"defaults": []}, "'defaults' must be a mapping"),
        ({"defaults": {"sed": 1}}, "defaults: unknown key 'sed'"),
        ({"runs": {"a": {"training": {"lr": -1}}}}, "runs.a: key 'training.lr' is -1"),
        ({"runs": {"a": []}}, "runs.a must be a mapping"),
        ({"runs": {"a/b": {}}}, "run name 'a/b' is a folder name too"),
        ({"runs": {"": {}}}, "run name '' is a folder name too"),
        ({"runs": {"..": {}}}, r"run name '\.\.' is a folder name too"),
        ({"runs": {2024: {}}}, "run name 2024 is not text; put it in quotes"),
        (
            {"runs": {"a": {"inherit": "z"}, "b": {}}},
            r"runs.a.inherit: there is no run 'z' \(runs: a, b\)",
        ),
        ({"runs": {"a": {"inherit": ["b"]}, "b": {}}}, r"runs.a.inherit: there is no run '\['b'\]"),
        ({"runs": {"a": {"inherit": "a"}}}, r"runs.a: inherits in a circle \(a → a\)"),
        (
            {"runs": {"a": {"inherit": "b"}, "b": {"inherit": "c"}, "c": {"inherit": "b"}}},
            r"runs.a: inherits in a circle \(a → b → c → b\)",
        ),
    ],
)
def test_bad_configuration(config, message):
    with pytest.raises(InputError, match=rf"^here: {message}"):
        resolve_runs(config, "here")


def test_default_runs():
    runs = resolve_runs({"runs": {"a": {}, "b": {}}})
    assert resolve_default_runs({"default_runs": ["b"]}, runs) == ["b"]
    assert resolve_default_runs({}, runs) == []
    with pytest.raises(InputError, match="'default_runs' must be a list"):
        resolve_default_runs({"default_runs": "a"}, runs)
    for name in ("c", ["a"]):
        with pytest.raises(InputError, match=r"default_runs: there is no run .* \(runs: a, b\)"):
            resolve_default_runs({"default_runs": [name]}, runs)


def test_find_run():
    runs = resolve_runs({"runs": {"a": {"seed": 5}, "b": {}}})
    assert find_run(runs, "a").seed == 5
    with pytest.raises(InputError, match=r"no run 'c' in the configuration \(runs: a, b\)"):
        find_run(runs, "c")


def test_a_mistyped_run_is_recognised_and_the_list_of_runs_is_short():
    runs = resolve_runs({"runs": {name: {} for name in ["photos", *(f"r{i}" for i in range(40))]}})
    expected = r"no run 'fotos' .*; did you mean 'photos'\? \(runs: photos, .* and 33 more\)"
    with pytest.raises(InputError, match=expected):
        find_run(runs, "fotos")
    with pytest.raises(InputError, match="run 'Photos'; did you mean 'photos'"):
        resolve_default_runs({"default_runs": ["Photos"]}, runs)
    with pytest.raises(InputError, match=r"a\.inherit: there is no run 'photo'; did you mean 'pho"):
        resolve_runs({"runs": {"photos": {}, "a": {"inherit": "photo"}}})


def test_another_dataset_keeps_what_all_datasets_share():
    shared = {"name": "cub", "root": "/x", "seed": 3, "prop_train_labels": 0.25}
    digits = {
        "dataset": {"name": "digits"},
        "augmentation": {"name": "affine"},
        "backbone": {"name": "small_convnet"},
    }
    runs = resolve_runs({"defaults": {"dataset": shared}, "runs": {"other": digits}})
    assert runs["other"].dataset == DigitsSettings(root="/x", seed=3, prop_train_labels=0.25)
