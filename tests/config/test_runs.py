"""The configuration: every key is known and bounded, inheritance is what it says."""

import datetime
import itertools
import json
from pathlib import Path

import pytest
import yaml
from gcdflow.config.ranges import parse_range
from gcdflow.config.runs import (
    check_text,
    find_run,
    load_runs,
    merged,
    resolve_default_runs,
    resolve_runs,
    validated,
)
from gcdflow.config.settings import (
    AffineAugmentation,
    ClusteringSettings,
    CropAugmentation,
    DigitsSettings,
    PhotosSettings,
    RunSettings,
    ScheduleSettings,
    Settings,
    SmallConvNetSettings,
    TimmSettings,
    TrainSettings,
)
from gcdflow.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

ROOT = Path(__file__).parents[2]


def sections(model: type[Settings] = RunSettings):
    """All models that a configuration holds, with the union's members."""
    found = {model}
    for field in model.model_fields.values():
        members = getattr(field.annotation, "__args__", (field.annotation,))
        for member in members:
            if isinstance(member, type) and issubclass(member, Settings):
                found |= sections(member)
    return found


def test_all_sections_are_found():
    names = {model.__name__ for model in sections()}
    assert len(names) == 17
    assert {"AffineAugmentation", "TimmSettings", "ClusteringSettings"} <= names


@pytest.mark.parametrize("model", sorted(sections(), key=lambda m: m.__name__))
def test_every_key_has_a_description_and_every_section_a_docstring(model):
    assert model.__doc__
    for name, field in model.model_fields.items():
        is_section = isinstance(field.default, Settings)
        assert field.description or is_section, name


@pytest.mark.parametrize("model", sorted(sections(), key=lambda m: m.__name__))
def test_sections_are_strict_frozen_and_have_defaults(model):
    settings = model()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(model.model_fields)), None)
    with pytest.raises(InputError, match="here: unknown key 'nonsense'"):
        validated(model, {"nonsense": 1}, "here")


def test_defaults_are_those_of_the_design():
    run = RunSettings()
    assert (run.training.lr, run.training.momentum, run.training.weight_decay) == (0.1, 0.9, 1e-4)
    assert (run.training.batch_size, run.training.final_lr_factor) == (128, 1e-3)
    assert run.training.sup_con_temperature == 0.07
    assert (run.schedule.warmup_epochs, run.schedule.total_epochs) == (50, 200)
    assert (run.clustering.w_ce, run.clustering.w_sil, run.clustering.w_mod) == (1, 3, 3)
    assert parse_range(run.clustering.k) == list(range(3, 21))
    assert parse_range(run.clustering.percentile) == list(range(40, 96, 5))
    assert (run.pseudo.loss, run.pseudo.positives, run.pseudo.weights) == (
        *("supcon", "neighbours", "none"),
    )
    assert (run.pseudo.points, run.pseudo.samples) == ("all", "all")
    assert (run.pseudo.pseudo_loss_weight, run.pseudo.temperature) == (1, 0.3)
    assert run.pseudo.gamma_ramp_epochs == 10
    assert run.backbone.trained_blocks == 1  # the field's grad_from_block is 11 of ViT-B's 12


@pytest.mark.parametrize(
    ("k", "percentile", "n"), [("3:20", "40:95:5", 216), ("5,10", "50", 2), ("5,5,6", "50,50", 2)]
)
def test_configurations_are_counted_once(k, percentile, n):
    assert ClusteringSettings(k=k, percentile=percentile).n_configurations() == n


def test_shipped_configuration():
    path = Path(__file__).parents[2] / "config" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    runs = load_runs(path)
    assert {"digits", "cub"} <= runs.keys()
    assert validated(RunSettings, config["defaults"], "defaults") == RunSettings()
    assert resolve_default_runs(config, runs)


# -- messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainig": {}}, "unknown key 'trainig'"),
        ({"training": {"learning_rate": 1.0}}, "unknown key 'training.learning_rate'"),
        ({"training": {"lr": 0}}, "key 'training.lr' is 0: input should be greater than 0"),
        ({"training": {"lr": "fast"}}, "key 'training.lr' is 'fast': .* valid number$"),
        ({"training": {"lr": "1e-3"}}, "'1e-3': .* \\(YAML reads it as text: .* 1\\.0e-3"),
        (
            {"schedule": {"warmup_epochs": "5"}},
            "key 'schedule.warmup_epochs' is '5': .* valid integer \\(YAML reads it as text: no "
            r"quotation marks; so does --config, use --configfile\)",
        ),
        ({"training": {"batch_size": 12.5}}, "key 'training.batch_size' is 12.5: .* valid integer"),
        ({"training": {"batch_size": True}}, "key 'training.batch_size' is True: .*integer"),
        ({"training": {"lr": float("nan")}}, "key 'training.lr' is nan: .* finite"),
        ({"training": {"contrast_samples": "some"}}, "'some': input should be 'all' or 'unlab"),
        ({"training": None}, "key 'training' is None: .* valid dictionary"),
        ({"training": {"lr": -1, "momentum": 2}}, "training.lr.*; key 'training.momentum' is 2"),
        ({"seed": -1}, "key 'seed' is -1: .* greater than or equal to 0"),
        ({"seed": 2**32}, "key 'seed' is 4294967296: .* less than or equal to 4294967295"),
        ({"dataset": {"name": "cub", "seed": 2**32}}, "key 'dataset.seed' is 4294967296"),
        (
            {"dataset": {"name": "digits", "prop_train_labels": 0}},
            "key 'dataset.prop_train_labels' is 0: .*greater",
        ),
        (
            {"dataset": {"name": "cub", "old_classes": [0, 1.5]}},
            "key 'dataset.old_classes.1' is 1.5: .*integer; .*string",
        ),
        (
            {"dataset": {"name": "cub", "old_classes": ["robin", False]}},
            r"'dataset.old_classes.1' is False: .*string \(YAML reads no, .*: put text into quot",
        ),
        (
            {"dataset": {"name": "cub", "old_classes": [None]}},
            r"'dataset.old_classes.0' is None: .*string \(YAML reads no, on, null",
        ),
        (
            {"dataset": {"name": "cub", "old_classes": [datetime.date(2024, 1, 1)]}},
            r"'dataset.old_classes.0' is datetime.date\(2024.*string \(YAML reads .*2024-01-01",
        ),
        (
            {"dataset": {"name": "image_folder", "classes": ["a", 8]}},
            r"'dataset.classes.1' is 8: .*string \(YAML reads .* 010, .*: put text into quotation",
        ),
        (
            {"dataset": {"name": "photos", "real_classes": [None]}},
            r"'dataset.real_classes.0' is None: .*string \(YAML reads .*null",
        ),
        (
            {"dataset": {"name": "cifar10", "superclass": "trees"}},
            "dataset: superclass is 'trees', but only cifar100 has some",
        ),
        ({"dataset": {"name": "photos", "seed": 1}}, "unknown key 'dataset.seed'"),
        ({"dataset": {"name": "cat"}}, "key 'dataset.name' is 'cat': expected 'cub', .*'digits'"),
        ({"augmentation": {"name": "blur"}}, "key 'augmentation.name' is 'blur': expected 'crop"),
        ({"augmentation": {"flip": False}}, "key 'augmentation.name' is missing"),
        ({"augmentation": 5}, "key 'augmentation' is 5"),
        ({"augmentation": {"name": "crop", "crop": 5}}, "unknown key 'augmentation.crop'"),
        ({"augmentation": {"name": "crop", "flip": 1}}, "key 'augmentation.flip' is 1"),
        ({"backbone": {"name": "small_convnet", "model": "x"}}, "unknown key 'backbone.model'"),
        ({"crop": 1}, "unknown key 'crop'"),
        (
            {"schedule": {"warmup_epochs": 300}},
            r"schedule: warmup_epochs \(300\) is larger than total_epochs \(200\)",
        ),
        ({"schedule": {"total_epochs": 1000}}, "key 'schedule.total_epochs' is 1000"),
        ({"clustering": {"k": 12}}, "clustering.k: found 12, expected a range in quotes"),
        ({"clustering": {"k": "5:3"}}, "clustering.k: '5:3' is not a range 'first:last"),
        ({"clustering": {"k": "0:3"}}, "clustering.k: '0:3' holds 0, expected 1 or more"),
        (
            {"clustering": {"percentile": "90,101"}},
            "clustering.percentile: '90,101' holds 101, expected 0 to 100",
        ),
        (
            {"backbone": {"name": "small_convnet"}},
            "backbone 'small_convnet' takes the views of augmentation 'affine', found 'crop'",
        ),
        ([], r"here: \[\]: input should be a valid dictionary"),
    ],
)
def test_message_names_the_key_and_the_value(values, message):
    with pytest.raises(InputError, match=rf"^here: .*{message}" if values else message) as info:
        validated(RunSettings, values, "here")
    assert "\n" not in str(info.value)


# -- ranges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3:6", [3, 4, 5, 6]),
        ("40:95:5", list(range(40, 100, 5))),
        ("3:8:2", [3, 5, 7]),
        ("4:4", [4]),
        ("7,5", [7, 5]),
        ("9", [9]),
        (" 1, 2 ", [1, 2]),
    ],
)
def test_range(text, values):
    assert parse_range(text) == values


@pytest.mark.parametrize(
    "text", ["", "a", "3:", "5:3", "1:2:3:4", "1:9:0", "9:1:-1", "1.5", "1,,2"]
)
def test_not_a_range(text):
    with pytest.raises(ValueError, match=r"is not a range 'first:last\[:step\]' \(ends included\)"):
        parse_range(text)


# -- schedule --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warmup", "interval", "total", "epochs"),
    [
        (50, 50, 200, [50, 100, 150, 200]),
        (50, 40, 200, [50, 90, 130, 170, 200]),
        (5, 10, 5, [5]),
        (1, 500, 3, [1, 3]),
    ],
)
def test_checkpoint_epochs(warmup, interval, total, epochs):
    schedule = ScheduleSettings(warmup_epochs=warmup, refresh_interval=interval, total_epochs=total)
    assert schedule.segment_ends() == epochs


@given(st.integers(1, 99), st.integers(1, 99), st.integers(0, 99))
def test_segments_are_whole_but_the_last(warmup, interval, more):
    schedule = ScheduleSettings(
        warmup_epochs=warmup, refresh_interval=interval, total_epochs=warmup + more
    )
    epochs = schedule.segment_ends()
    lengths = [b - a for a, b in itertools.pairwise(epochs)]
    assert epochs[0] == warmup
    assert epochs[-1] == warmup + more
    assert all(length == interval for length in lengths[:-1])
    assert all(0 < length <= interval for length in lengths)


# -- what a segment depends on ---------------------------------------------------------------------


def test_warm_up_settings_ignore_what_cannot_touch_it():
    one = RunSettings()
    other = validated(
        RunSettings,
        {
            "schedule": {"warmup_epochs": 20, "refresh_interval": 7},
            "pseudo": {"loss": "prototypical"},
            "clustering": {"k": "5"},
            "dataset": {"name": "digits"},
        },
        "here",
    )
    assert one.train_settings(guided=False) == other.train_settings(guided=False)
    assert one.train_settings(guided=True) != other.train_settings(guided=True)


def test_the_usual_objective_is_not_written():
    """So that fingerprints and parameters of runs from before it was a choice stay valid."""
    usual = RunSettings()
    named = RunSettings.model_validate({"objective": {"name": "contrastive"}})
    assert named == usual
    for settings in (usual, usual.train_settings(True), usual.train_settings(False)):
        assert "objective" not in settings.model_dump()
        assert "objective" not in json.loads(settings.model_dump_json())
    assert "objective" not in named.for_results()
    other = validated(RunSettings, {"objective": {"name": "simgcd"}}, "here")
    assert other.for_results()["objective"]["n_prototypes"] is None
    assert other.train_settings(True).model_dump()["objective"]["temperature"] == 0.1
    assert "gpus" not in other.for_results()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "simgdc"}, "key 'objective.name' is 'simgdc': expected"),
        ({"n_prototypes": 10}, "key 'objective.name' is missing"),
        ({"name": "contrastive", "n_prototypes": 10}, "unknown key 'objective.n_prototypes'"),
        (
            {"name": "simgcd", "n_prototypes": 1},
            "'objective.n_prototypes' is 1: input should be gr",
        ),
        ({"name": "simgcd", "teacher_temperature": 0}, "'objective.teacher_temperature' is 0"),
        ({"name": "simgcd", "entropy_weight": -1}, "'objective.entropy_weight' is -1"),
    ],
)
def test_objectives_that_are_refused(values, message):
    with pytest.raises(InputError) as info:
        resolve_runs({"runs": {"a": {"objective": values}}})
    assert message in str(info.value)


def test_published_settings_of_simgcd():
    run = load_runs(ROOT / "config" / "config.yaml")["cub-simgcd"]
    options, training = run.objective, run.training
    assert (options.n_prototypes, options.temperature, options.entropy_weight) == (200, 0.1, 2)
    assert (options.first_teacher_temperature, options.teacher_temperature) == (0.07, 0.04)
    assert (options.teacher_ramp_epochs, run.schedule.total_epochs) == (30, 200)
    assert (training.batch_size, training.lr, training.weight_decay) == (128, 0.1, 5e-5)
    assert (training.contrast_temperature, training.sup_con_temperature) == (1.0, 0.07)
    assert (training.sup_con_weight, run.backbone.model) == (0.35, "dino_vitb16")
    head = run.head
    assert (head.n_layers, head.hidden_dim, head.bottleneck_dim, head.out_dim) == (
        3,
        2048,
        256,
        None,
    )


OBJECTIVES = [{"name": "contrastive"}, {"name": "simgcd"}, {"name": "simgcd", "n_prototypes": 9}]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("guided", [False, True])
def test_train_settings_survive_json(guided, objective):
    run = validated(RunSettings, {"objective": objective}, "here")
    settings = run.train_settings(guided=guided)
    assert validated(TrainSettings, settings.model_dump(), "here") == settings
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


# -- inheritance -----------------------------------------------------------------------------------


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


def test_load_runs(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("defaults: {seed: 2}\nruns:\n  größe: {}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"c\.yaml: run name 'größe' is a folder name"):
        load_runs(path)
    path.write_text("defaults: {seed: 2}\nruns: {x: }\n")
    assert load_runs(path)["x"].seed == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a mapping with 'defaults' and 'runs'"),
        (b"- 1", "expected a mapping with 'defaults' and 'runs'"),
        (b"a: [1", "not valid YAML"),
        (b"a: \xff", "not valid YAML"),
        (b"runs: {a: !!python/object/apply:os.getcwd []}", "not valid YAML"),
    ],
)
def test_bad_file(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"c\.yaml: {message}") as info:
        load_runs(path)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    ("written", "number"),
    [("010", 8), ("0_1_0", 8), ("1:30", 90), ("-012", -10), ("1_0", 10), ("0x1F", 31)],
)
@pytest.mark.parametrize(
    "text",
    [
        "runs:\n  a: {dataset: {name: cub, old_classes: [3,\n     NUMBER]}}",
        "runs: {}\nsweeps:\n  s: {over: {dataset.old_classes: {x: [NUMBER]}}}",
        "x: &list\n  - NUMBER\nruns: {a: {dataset: {old_classes: *list}}}",
    ],
)
def test_numbers_of_classes_that_yaml_reads_as_others(tmp_path, text, written, number):
    path = tmp_path / "c.yaml"
    path.write_text(text.replace("NUMBER", written))
    expected = rf"c\.yaml, line [23]: old_classes: YAML reads {written} as the number {number}; "
    with pytest.raises(InputError, match=expected + ".* in quotation marks"):
        check_text(path)
    path.write_text(text.replace("NUMBER", f"'{written}'"))
    check_text(path)


def test_loading_checks_the_numbers_of_classes_and_no_others(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("runs: {a: {seed: 010, dataset: {name: cub, old_classes: [0, 7, 10, -1]}}}")
    assert load_runs(path)["a"].dataset.old_classes == [0, 7, 10, -1]
    path.write_text("runs: {a: {dataset: {name: cub, old_classes: [017]}}}")
    with pytest.raises(InputError, match=r"^\S*c\.yaml, line 1: old_classes: YAML reads 017 as"):
        load_runs(path)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("runs: {a: {seed: 1}}\nruns: {b: {}}\n", "runs", (2, 1)),
        ("runs:\n  a: {seed: 1}\n  b: {}\n  a: {seed: 2}\n", "a", (4, 2)),
        ("runs: {a: {seed: 1, seed: 2}}", "seed", (1, 1)),
    ],
)
def test_a_key_that_occurs_twice_is_not_lost(tmp_path, text, key, lines):
    (tmp_path / "c.yaml").write_text(text)
    expected = rf"c\.yaml, line {lines[0]}: the key '{key}' is in line {lines[1]} already"
    with pytest.raises(InputError, match=expected):
        load_runs(tmp_path / "c.yaml")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent.yaml: cannot be read \(No such file"):
        load_runs(tmp_path / "absent.yaml")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        load_runs(tmp_path)


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
