"""Settings: every key is known, described and bounded, and messages name it."""

import datetime

import pytest
from gcdflow.config.ranges import parse_range
from gcdflow.config.runs import validated
from gcdflow.config.settings import ClusteringSettings, RunSettings, Settings
from gcdflow.errors import InputError
from pydantic import ValidationError


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
