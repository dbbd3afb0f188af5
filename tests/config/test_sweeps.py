"""Sweeps stand for one run of each combination of values."""

import re

import pytest
from gcdflow.config.runs import resolve_default_runs, resolve_runs
from gcdflow.config.sweeps import combinations, titles
from gcdflow.errors import InputError

DIGITS = {
    "dataset": {"name": "digits"},
    "augmentation": {"name": "affine"},
    "backbone": {"name": "small_convnet"},
}


def config(**sweeps) -> dict:
    return {"runs": {"base": DIGITS}, "sweeps": sweeps}


def test_every_combination_is_a_run_with_its_settings_and_inheritance():
    sweep = {
        "inherit": "base",
        "dataset": {"prop_train_labels": 0.25},
        "over": {"dataset.old_classes": {"low": [0, 1], "high": [8, 9]}, "seed": [0, 7]},
    }
    runs = resolve_runs(config(study=sweep))
    names = ["study-low-seed0", "study-low-seed7", "study-high-seed0", "study-high-seed7"]
    assert list(runs) == ["base", *names]
    assert [runs[name].seed for name in names] == [0, 7, 0, 7]
    assert [runs[name].dataset.old_classes for name in names] == [[0, 1]] * 2 + [[8, 9]] * 2
    assert {runs[name].dataset.prop_train_labels for name in names} == {0.25}
    assert {runs[name].dataset.name for name in names} == {"digits"}
    assert runs["base"].dataset.prop_train_labels == 0.5


def test_names_of_texts_numbers_and_named_values():
    over = {"dataset.superclass": ["trees"], "training.lr": [0.1], "seed": {"first": 3}}
    assert combinations("s", over, "x") == {
        "s-trees-lr0.1-first": {
            "dataset": {"superclass": "trees"},
            "training": {"lr": 0.1},
            "seed": 3,
        }
    }


def test_a_value_may_be_a_whole_section():
    over = {"backbone": {"small": {"width": 4}, "wide": {"width": 64}}}
    runs = resolve_runs(config(net={"inherit": "base", "over": over}))
    assert [runs[name].backbone.width for name in ("net-small", "net-wide")] == [4, 64]


def test_a_run_may_inherit_from_a_run_of_a_sweep():
    settings = config(s={"inherit": "base", "over": {"seed": [5]}})
    settings["runs"]["more"] = {"inherit": "s-seed5", "training": {"lr": 0.5}}
    runs = resolve_runs(settings)
    assert (runs["more"].seed, runs["more"].training.lr) == (5, 0.5)


def test_default_runs_may_name_sweeps_and_have_each_run_once():
    settings = config(s={"inherit": "base", "over": {"seed": [0, 1]}})
    runs = resolve_runs(settings)
    settings["default_runs"] = ["s-seed1", "s", "base"]
    assert resolve_default_runs(settings, runs) == ["s-seed1", "s-seed0", "base"]
    settings["default_runs"] = ["t"]
    with pytest.raises(InputError, match=r"there is no run 't' \(runs: base, .*; sweeps: s\)"):
        resolve_default_runs(settings, runs)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        (None, "sweeps.s.over: expected a mapping of keys to lists of values"),
        ({}, "sweeps.s.over: expected a mapping"),
        ([1], "sweeps.s.over: expected a mapping"),
        ({"seed": []}, "sweeps.s.over.seed: expected a list of values, or a mapping of names"),
        ({"seed": {}}, "sweeps.s.over.seed: expected a list of values"),
        ({"seed": 3}, "sweeps.s.over.seed: expected a list of values"),
        ({"seed": "012"}, "sweeps.s.over.seed: expected a list of values"),
        ({7: [1]}, "sweeps.s.over.7: expected the name of a setting"),
        (
            {"seed": [[1, 2]]},
            r"over.seed: \[1, 2\] cannot be part of a run's name; give the values",
        ),
        ({"training.deterministic": [True]}, "True cannot be part of a run's name"),
        ({"seed": {False: 1}}, "over.seed: YAML reads the name of a value as False; put it into"),
        ({"seed": {None: 1}}, "over.seed: YAML reads the name of a value as None; put it into qu"),
        ({"seed": [1, 1]}, "two of its runs would be called 's-seed1'; give the values names"),
        ({"seed": [0], "seed.x": [0]}, "another key of the sweep has set 'seed' as a whole"),
        ({"seed.x": [0], "seed": [0]}, "over.seed: another key of the sweep sets this too"),
        ({"seed": list(range(10_001))}, "makes 10001 runs, expected at most 10000"),
        ({"seed": ["../up"]}, r"'\.\./up' cannot be part of a run's name; give the values names"),
        (
            {"clustering.k": ["3:20"]},
            "'3:20' cannot be part of a run's name; give the values names",
        ),
        ({"seed": ["zero"]}, "runs.s-zero: key 'seed' is 'zero': input should be a valid integer"),
        ({"training.rate": [1]}, "runs.s-rate1: unknown key 'training.rate'"),
    ],
)
def test_bad_sweeps(over, message):
    with pytest.raises(InputError, match=f"^here: .*{message}"):
        resolve_runs(config(s={"inherit": "base", "over": over}), "here")


def test_runs_of_other_draws_of_labels_share_a_title():
    sweep = {"inherit": "base", "over": {"dataset.seed": [0, 1], "seed": [0, 1]}}
    runs = resolve_runs(config(s=sweep))
    names = [name for name in runs if name.startswith("s-")]
    assert len(names) == 4
    assert set(titles(runs, names).values()) == {"s"}


def test_names_are_not_taken_twice():
    taken = config(base={"over": {"seed": [1]}})
    with pytest.raises(InputError, match=r"sweeps\.base: a run has this name too"):
        resolve_runs(taken)
    taken = config(s={"inherit": "base", "over": {"seed": [1]}})
    taken["runs"]["s-seed1"] = DIGITS
    with pytest.raises(InputError, match=r"sweeps\.s: another run has the name 's-seed1'"):
        resolve_runs(taken)
    taken = config(
        s={"inherit": "base", "over": {"seed": [1]}},
        **{"s-seed1": {"inherit": "base", "over": {"x": {}}}},
    )
    with pytest.raises(InputError, match=re.escape("sweeps.s-seed1.over.x")):
        resolve_runs(taken)


@pytest.mark.parametrize("sweep", [None, [], "x"])
def test_a_sweep_is_a_mapping(sweep):
    with pytest.raises(InputError, match=r"sweeps\.s must be a mapping of keys to values"):
        resolve_runs(config(s=sweep))


def test_titles_are_what_runs_of_equal_settings_have_in_common():
    settings = config(s={"inherit": "base", "over": {"seed": [0, 1], "training.lr": [0.1, 0.2]}})
    settings["runs"] |= {
        "base-seed3": {"inherit": "base", "seed": 3},
        "odd-seed3": {"inherit": "base", "training": {"lr": 0.5}},
        "odd-seed4": {"inherit": "base", "training": {"lr": 0.6}},
    }
    runs = resolve_runs(settings)
    assert titles(runs, ["s-seed0-lr0.1", "s-seed1-lr0.1", "s-seed0-lr0.2", "s-seed0-lr0.1"]) == {
        "s-seed0-lr0.1": "s-lr0.1",
        "s-seed1-lr0.1": "s-lr0.1",
        "s-seed0-lr0.2": "s-lr0.2",
    }
    assert titles(runs, ["base-seed3", "base"]) == {"base-seed3": "base", "base": "base"}
    assert titles(runs, ["odd-seed3", "odd-seed4"]) == {
        "odd-seed3": "odd-seed3",
        "odd-seed4": "odd-seed4",
    }


def test_values_of_over_replace_those_of_the_sweep():
    sweep = {
        **{"inherit": "base", "seed": 9, "training": {"lr": 0.5, "momentum": 0.5}},
        "over": {"seed": [0, 1], "training.lr": [0.1]},
    }
    runs = resolve_runs(config(s=sweep))
    found = [runs[f"s-seed{n}-lr0.1"] for n in (0, 1)]
    assert [(run.seed, run.training.lr) for run in found] == [(0, 0.1), (1, 0.1)]
    assert found[0].training.momentum == 0.5


def test_runs_on_other_numbers_of_gpus_share_a_title():
    settings = config()
    settings["runs"]["base-seed3"] = {"inherit": "base", "seed": 3, "gpus": 2}
    runs = resolve_runs(settings)
    assert titles(runs, ["base", "base-seed3"]) == {"base": "base", "base-seed3": "base"}
