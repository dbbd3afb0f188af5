"""The schedule of a training, its objective, and what a segment depends on."""

import itertools
import json
from pathlib import Path

import pytest
from gcdflow.config.runs import load_runs, resolve_runs, validated
from gcdflow.config.settings import RunSettings, ScheduleSettings, TrainSettings
from gcdflow.errors import InputError
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]


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
