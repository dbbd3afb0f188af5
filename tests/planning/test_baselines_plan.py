"""What the rules know of the methods that a run names to compare with."""

from __future__ import annotations

import json
import re

import pytest
from gcdflow.clustering.baselines import NUMBER_FOUND, NUMBER_NEEDED
from gcdflow.config.runs import resolve_runs
from gcdflow.config.settings import BASELINES, NUMBER_FINDERS, RunSettings
from gcdflow.errors import InputError
from gcdflow.planning import baselines, parameters, plan

SCHEDULE = {"warmup_epochs": 5, "refresh_interval": 3, "total_epochs": 8}
DIGITS = {
    "dataset": {"name": "digits"},
    "augmentation": {"name": "affine"},
    "backbone": {"name": "small_convnet"},
    "schedule": SCHEDULE,
}


def settings(**changes: object) -> RunSettings:
    return RunSettings.model_validate(DIGITS | changes)


def test_a_run_compares_with_the_methods_that_it_names():
    assert baselines.baselines(settings(), "a") == baselines.compared_grids(settings(), "a") == []
    run = settings(baselines=["ward", "kmeans"])
    names = ["ward_epoch005", "kmeans_epoch005", "ward_epoch008", "kmeans_epoch008"]
    assert baselines.baselines(run, "a") == [f"runs/a/baseline_{name}.json" for name in names]
    grids = ["runs/a/grid_epoch005.tsv", "runs/a/grid_epoch008.tsv"]
    assert baselines.compared_grids(run, "a") == grids
    assert all(re.fullmatch(baselines.METHOD, method) for method in BASELINES)


def test_inputs_and_flags_of_another_clustering():
    features = {"features": "runs/a/features_epoch008.npz"}
    estimates = {"estimates": "runs/a/estimates_epoch008.json"}
    assert baselines.estimate_inputs(settings(), "a", 8) == features
    for method in BASELINES:
        found = baselines.baseline_inputs(settings(), "a", 8, method)
        given = estimates if method in NUMBER_NEEDED else {}
        assert found == features | {"truth": "runs/a/truth.npz"} | given
    assert (*NUMBER_NEEDED, *NUMBER_FOUND) == BASELINES
    assert tuple(NUMBER_FOUND) == NUMBER_FINDERS
    with pytest.raises(InputError, match="'a' has no checkpoint at epoch 006"):
        baselines.baseline_inputs(settings(), "a", 6, "ward")
    assert baselines.baseline_flags(settings()) == []
    raw = settings(clustering={"normalize": False})
    assert baselines.baseline_flags(raw) == ["--no-normalize"]


def test_a_table_of_runs_takes_the_last_epoch_and_waits_for_what_is_reported():
    runs = {"a": settings(baselines=["ward"]), "b": settings(baselines=["kmeans"]), "c": settings()}
    found = baselines.summary_baselines(runs, ["b", "c", "a"], "sub/{}".format)
    of_b, of_a = (
        f"sub/runs/{name}_epoch008.json" for name in ("b/baseline_kmeans", "a/baseline_ward")
    )
    assert found == [of_b, of_a]
    metrics, found = plan.summary_metrics(runs, runs, str), [path[4:] for path in found]
    targets = ["sub/runs/a/report.md", "sub/runs/c/report.md"]
    asked = plan.results_asked_for(metrics, found, targets, "sub/{}".format)
    assert asked == [metrics["a"], metrics["c"], of_a[4:]]


def test_what_is_only_compared_is_no_setting_of_results():
    for changes in ({"baselines": ["ward"]}, {"clustering": {"label_draws": 5}}):
        run = settings(**changes)
        assert run != settings()
        assert parameters.result_settings(run) == parameters.result_settings(settings())
        assert parameters.train_settings(run, "a", 8) == parameters.train_settings(
            settings(), "a", 8
        )
        assert parameters.cluster_flags(run) == parameters.cluster_flags(settings())
    keys = json.loads(parameters.result_settings(settings()))
    assert "baselines" not in keys
    assert sorted(keys["clustering"]) == [
        "k",
        "merge_by_class",
        "normalize",
        "percentile",
        "w_ce",
        "w_mod",
        "w_sil",
    ]


def test_draws_of_labels_are_searched_over_the_grid_of_the_run():
    assert parameters.evaluate_flags(settings()) == []
    run = settings(clustering={"label_draws": 5, "k": "5,10"})
    assert parameters.evaluate_flags(run) == ["--label-draws", "5", *parameters.cluster_flags(run)]


def test_settings_name_known_methods_once_and_sweeps_may_vary_them():
    def resolved(**changes: object) -> dict[str, RunSettings]:
        return resolve_runs({"runs": {"a": DIGITS | changes}})

    with pytest.raises(InputError, match=r"runs\.a: key 'baselines\.1' is 'kmedians': .*'kmeans'"):
        resolved(baselines=["kmeans", "kmedians"])
    with pytest.raises(InputError, match=r"baselines: 'ward' is in the list 2 times"):
        resolved(baselines=["ward", "kmeans", "ward"])
    sweep = {"inherit": "a", "over": {"baselines": {"none": [], "two": ["ward", "kmeans"]}}}
    runs = resolve_runs({"runs": {"a": DIGITS}, "sweeps": {"s": sweep}})
    assert [runs[name].baselines for name in ("s-none", "s-two")] == [[], ["ward", "kmeans"]]
