"""What the rules know of a run: its epochs, and the inputs of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import RunSettings
from gcdflow.errors import InputError
from gcdflow.planning import parameters, plan
from planned_runs import SCHEDULE, settings
from pydantic import ValidationError

DIGITS = {
    "dataset": {"name": "digits"},
    "augmentation": {"name": "affine"},
    "backbone": {"name": "small_convnet"},
}


def test_it_needs_neither_snakemake_nor_arrays(tmp_path: Path):
    np.savez(tmp_path / "f.npz", features=np.zeros((3, 2)), train_mask=np.ones(3, dtype=bool))
    code = (
        "import sys, gcdflow.planning.plan; "
        "from gcdflow.planning import job_resources; "
        f"job_resources.training_shape({str(tmp_path / 'f.npz')!r}); "
        "print(sorted({'snakemake', 'numpy', 'torch', 'numba', 'sklearn'} & sys.modules.keys()))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# -- epochs ----------------------------------------------------------------------------------------


def test_epochs():
    run = settings()
    assert [plan.checked_epoch(run, "a", epoch) for epoch in (5, 7, 8)] == [5, 7, 8]
    assert [plan.previous_epoch(run, "a", epoch) for epoch in (5, 7, 8)] == [None, 5, 7]
    assert [plan.segment_length(run, "a", epoch) for epoch in (5, 7, 8)] == [5, 2, 1]
    assert plan.last_epoch(run) == 8


def test_epoch_0_is_that_of_pretrained_networks_and_belongs_to_no_segment():
    run, random = settings(), settings(**DIGITS)
    assert run.checkpoint_epochs() == [0, 5, 7, 8]
    assert random.checkpoint_epochs() == [5, 7, 8]
    assert plan.checked_epoch(run, "a", 0) == 0
    assert plan.previous_epoch(run, "a", 0) is plan.previous_epoch(run, "a", 5) is None
    assert plan.segment_length(run, "a", 0) == 0
    with pytest.raises(InputError, match=r"'a' has no checkpoint at epoch 000; .* 005, 007, 008 "):
        plan.checked_epoch(random, "a", 0)


def test_a_run_may_begin_with_a_clustering_or_be_nothing_else():
    guided = {"warmup_epochs": 0, "refresh_interval": 2, "total_epochs": 3}
    for run in (settings(schedule=guided), settings(schedule=guided, **DIGITS)):
        assert run.checkpoint_epochs() == [0, 2, 3]
        assert plan.previous_epoch(run, "a", 2) == 0
    look = settings(schedule={"warmup_epochs": 0, "total_epochs": 0})
    assert look.checkpoint_epochs() == [0]
    assert plan.last_epoch(look) == 0
    assert plan.report_inputs(look, "a") == ["runs/a/metrics_epoch000.json"]


def test_epoch_0_needs_no_stored_views():
    run = settings(training={"views": 4})
    views = {"views": plan.views_file(run)}
    for function in (plan.train_inputs, plan.features_inputs):
        assert function(run, "a", 5).items() >= views.items()
        assert not function(run, "a", 0).keys() & views.keys()


@pytest.mark.parametrize(
    "function",
    [
        plan.checked_epoch,
        plan.previous_epoch,
        plan.segment_length,
        plan.train_inputs,
        plan.features_inputs,
        plan.classes_inputs,
        plan.cluster_inputs,
        plan.evaluate_inputs,
        parameters.train_settings,
    ],
)
def test_an_epoch_without_a_checkpoint_is_refused(function):
    with pytest.raises(InputError, match=r"'a' has no checkpoint at epoch 006; .* 005, 007, 008 "):
        function(settings(), "a", 6)


# -- files -----------------------------------------------------------------------------------------


def of_run(**files: str) -> dict[str, str]:
    return {name: f"runs/a/{file}" for name, file in files.items()}


SPLIT, FEATURES = of_run(split="split.npz"), of_run(features="features_epoch008.npz")
LABELS, PSEUDO = of_run(labels="labels.npz"), of_run(pseudo_labels="pseudo_epoch008.npz")


@pytest.mark.parametrize(
    ("function", "epoch", "expected"),
    [
        (plan.train_inputs, 5, SPLIT),
        (
            plan.train_inputs,
            7,
            SPLIT | of_run(checkpoint="ckpt_epoch005.pt", pseudo_labels="pseudo_epoch005.npz"),
        ),
        (plan.features_inputs, 7, SPLIT | of_run(checkpoint="ckpt_epoch007.pt")),
        (plan.cluster_inputs, 5, of_run(features="features_epoch005.npz")),
        (plan.cluster_inputs, 8, FEATURES | of_run(previous="pseudo_epoch007.npz")),
        (plan.evaluate_inputs, 8, FEATURES | PSEUDO | of_run(truth="truth.npz")),
    ],
)
def test_inputs_of_an_epoch(function, epoch, expected):
    assert function(settings(), "a", epoch) == expected


def simgcd(n_prototypes: int | None) -> RunSettings:
    return settings(objective={"name": "simgcd", "n_prototypes": n_prototypes})


def test_a_told_classifier_needs_no_pseudo_labels():
    run = simgcd(200)
    assert plan.train_inputs(run, "a", 5) == SPLIT
    assert plan.train_inputs(run, "a", 8) == SPLIT | of_run(checkpoint="ckpt_epoch007.pt")
    assert parameters.train_settings(run, "a", 5) == parameters.train_settings(run, "a", 8)
    assert "classes" in plan.evaluate_inputs(run, "a", 5)
    assert "classes" not in plan.evaluate_inputs(run, "a", 0)


def test_a_classifier_from_clusters_takes_those_after_the_warm_up():
    run = simgcd(None)
    assert plan.train_inputs(run, "a", 5) == SPLIT
    for epoch, before in ((7, 5), (8, 7)):
        expected = of_run(
            checkpoint=f"ckpt_epoch00{before}.pt", pseudo_labels="pseudo_epoch005.npz"
        )
        assert plan.train_inputs(run, "a", epoch) == SPLIT | expected
    assert parameters.train_settings(run, "a", 5) == parameters.train_settings(settings(), "a", 5)
    assert parameters.train_settings(run, "a", 7) == parameters.train_settings(run, "a", 8)
    assert "classes" not in plan.evaluate_inputs(run, "a", 5)
    assert plan.evaluate_inputs(run, "a", 7)["classes"] == "runs/a/classes_epoch007.npz"
    files = of_run(checkpoint="ckpt_epoch007.pt", features="features_epoch007.npz")
    assert plan.classes_inputs(run, "a", 7) == files


def test_a_classifier_that_restarts_takes_the_clusters_of_each_refresh():
    run = settings(objective={"name": "simgcd", "restart_at_refresh": True})
    for epoch, before in ((7, 5), (8, 7)):
        expected = of_run(
            checkpoint=f"ckpt_epoch00{before}.pt", pseudo_labels=f"pseudo_epoch00{before}.npz"
        )
        assert plan.train_inputs(run, "a", epoch) == SPLIT | expected
    assert plan.train_inputs(run, "a", 5) == SPLIT
    assert parameters.train_settings(run, "a", 5) == parameters.train_settings(settings(), "a", 5)


def test_a_told_number_does_not_restart():
    with pytest.raises(ValidationError, match="restart_at_refresh takes the number of clusters"):
        settings(objective={"name": "simgcd", "n_prototypes": 9, "restart_at_refresh": True})


def test_runs_without_a_classifier_classify_nothing():
    message = r"run 'a' has no classifier at epoch 005; its objective is '(simgcd|contrastive)'"
    for run in (settings(), simgcd(None)):
        with pytest.raises(InputError, match=message):
            plan.classes_inputs(run, "a", 5)


def test_other_pseudo_labels_are_no_matter_of_a_classifier():
    run = settings(objective={"name": "simgcd", "n_prototypes": 20}, pseudo={"temperature": 0.9})
    assert parameters.train_settings(run, "a", 8) == parameters.train_settings(simgcd(20), "a", 8)


def test_inputs_of_the_report_and_the_summary():
    expected = [f"runs/a/metrics_epoch00{epoch}.json" for epoch in (0, 5, 7, 8)]
    assert plan.report_inputs(settings(), "a") == expected
    runs = {"a": settings(), "b": settings(schedule={**SCHEDULE, "total_epochs": 6}, seed=1)}
    metrics = plan.summary_metrics(runs, ["b", "a"], "sub/{}".format)
    assert metrics == {
        "b": "sub/runs/b/metrics_epoch006.json",
        "a": "sub/runs/a/metrics_epoch008.json",
    }
    assert parameters.summary_runs(runs, metrics) == [
        f"{run}={path}" for run, path in metrics.items()
    ]
    for targets, expected in (
        (["results/summary.md", "sub/runs/a/report.md"], ["a"]),
        (["sub/runs/a/report.html", "sub/runs/b/metrics_epoch006.json"], ["b", "a"]),
        (["sub/runs/a/metrics_epoch005.json", "runs/b/report.md"], []),
        (["all", "results/summary.md"], ["b", "a"]),
    ):
        unplaced = plan.summary_metrics(runs, ["b", "a"], str)  # Snakemake places inputs itself
        asked = plan.results_asked_for(unplaced, [], targets, "sub/{}".format)
        assert asked == [unplaced[run] for run in expected]
    with pytest.raises(InputError, match="the table has no runs: name some under 'default_runs'"):
        parameters.summary_runs(runs, {})


def test_photographs_are_assigned_by_their_labels_as_they_are_now():
    photos = settings(dataset={"name": "photos", "folder": "mine"})
    assert plan.assign_inputs(settings(), "a") == SPLIT | FEATURES | PSEUDO
    final, seen = of_run(pseudo_labels="pseudo_final.npz"), of_run(photographs="photographs.npz")
    added = of_run(added="features_added.npz")
    assert plan.assign_inputs(photos, "a") == SPLIT | FEATURES | LABELS | final | seen | added
    assert plan.cluster_final_inputs(photos, "a") == FEATURES | LABELS
    features = of_run(features="features_epoch000.npz")
    assert plan.cluster_final_inputs(photos, "a", look=True) == features | LABELS
    look = of_run(pseudo_labels="pseudo_first_look.npz", added="features_added_first_look.npz")
    assert plan.assign_inputs(photos, "a", look=True) == SPLIT | features | LABELS | seen | look
    checkpoint = of_run(checkpoint="ckpt_epoch000.pt")
    assert plan.added_inputs(photos, "a", look=True) == SPLIT | features | seen | checkpoint
    pseudo = of_run(pseudo_labels="pseudo_epoch000.npz")
    assert plan.assign_inputs(settings(), "a", look=True) == SPLIT | features | pseudo
    for function in (plan.cluster_final_inputs, plan.assign_inputs):
        with pytest.raises(InputError, match="'a' has no checkpoint at epoch 000"):
            function(settings(**DIGITS), "a", look=True)
    assert plan.photographs_inputs(photos, "a") == SPLIT
    checkpoint = of_run(checkpoint="ckpt_epoch008.pt")
    assert plan.added_inputs(photos, "a") == SPLIT | FEATURES | seen | checkpoint
    assert parameters.labels_table(photos) == "data/mine/labels.csv"
    assigned = {"assignments": "runs/a/assignments.csv"}
    assert plan.gallery_inputs(settings(), "a") == SPLIT | FEATURES | assigned
    thumbs = {"thumbs": "runs/a/thumbs.tsv"}
    assert plan.gallery_inputs(photos, "a") == SPLIT | FEATURES | assigned | seen | thumbs
    look = {"assignments": "runs/a/first_look.csv"}
    assert plan.gallery_inputs(photos, "a", look=True) == SPLIT | features | look | seen | thumbs
    assert plan.thumbs_inputs(photos, "a") == SPLIT | seen
    assert parameters.table_flags(photos) == ["--table", "data/mine/labels.csv"]
    assert parameters.table_flags(settings()) == []
    assert parameters.again_flags(photos, "snakemake x") == ["--again", "snakemake x"]
    assert parameters.again_flags(settings(), "snakemake x") == []
    with pytest.raises(InputError, match="run 'a' is of dataset 'cub', which has no CSV file of"):
        plan.photographs_inputs(settings(), "a")


def test_weights(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def files(**backbone: object) -> list[str]:
        return plan.weights_files(settings(backbone={"name": "timm", **backbone}), "a")

    assert files(weights="random") == []
    assert plan.weights_files(settings(**DIGITS), "a") == []
    assert files(model="m") == ["weights/hub/m.safetensors"]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/m.safetensors").touch()
    assert files(model="m") == ["weights/m.safetensors"]
    with pytest.raises(InputError, match=r"runs\.a: backbone\.weights: no file at mine\.pth"):
        files(weights="mine.pth")
    for name in ("mine.pth", "mine.safetensors"):
        (tmp_path / name).touch()
    assert files(weights="mine.safetensors") == ["mine.safetensors"]
    assert files(weights="mine.pth") == ["weights/converted/mine.safetensors"]


def test_what_weights_are_converted_from():
    runs = {
        name: settings(backbone={"name": "timm", "weights": weights})
        for name, weights in [("a", "x/a.pth"), ("b", "./x/a.pth"), ("c", "b.pt"), ("d", "random")]
    }
    runs["e"] = settings(**DIGITS)
    assert plan.weights_inputs(runs, "weights/hub/dino_vitb16.safetensors") == []
    assert plan.weights_inputs(runs, "weights/converted/b.safetensors") == ["b.pt"]
    (found,) = plan.weights_inputs(runs, "weights/converted/a.safetensors")
    assert found.endswith("x/a.pth")
    with pytest.raises(InputError, match=r"converted/c\.safetensors: no run names a weight file"):
        plan.weights_inputs(runs, "weights/converted/c.safetensors")
    runs["f"] = settings(backbone={"name": "timm", "weights": "y/a.pth"})
    expected = r"a\.pth and y/a\.pth would both become weights/converted/a\.safetensors; rename one"
    with pytest.raises(InputError, match=expected):
        plan.weights_inputs(runs, "weights/converted/a.safetensors")


def test_event_files_lie_beside_what_a_job_makes_also_below_a_prefix():
    assert plan.log_dir("sub/runs/a/ckpt_epoch005.pt") == "sub/runs/a/log"
