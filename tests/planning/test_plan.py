"""What the rules know of a run: epochs, inputs, parameters."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from gcdflow import cli
from gcdflow.config.settings import RunSettings
from gcdflow.errors import InputError
from gcdflow.planning import job_resources, parameters, plan, startup
from pydantic import ValidationError

ROOT = Path(__file__).parents[2]
SCHEDULE = {"warmup_epochs": 5, "refresh_interval": 2, "total_epochs": 8}  # epochs 5, 7, 8
DIGITS = {
    "dataset": {"name": "digits"},
    "augmentation": {"name": "affine"},
    "backbone": {"name": "small_convnet"},
}


def settings(**changes: object) -> RunSettings:
    return RunSettings.model_validate({"schedule": SCHEDULE, **changes})


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


def test_a_limit_on_bad_steps_trains_nothing_again():
    patient = settings(training={"skip_bad_steps": 3})
    for epoch in (0, 5, 8):
        compared = parameters.train_settings(patient, "a", epoch)
        assert compared == parameters.train_settings(settings(), "a", epoch)
    assert parameters.limit_flags(settings()) == []
    assert parameters.limit_flags(patient) == ["--skip-bad-steps", "3"]
    assert json.loads(parameters.result_settings(patient))["training"]["skip_bad_steps"] == 3


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


def test_states_of_photographs_and_labels(tmp_path: Path):
    """Each changes with what its rule looks at, and with nothing else."""
    photos, folder = (
        settings(dataset={"name": "photos", "root": str(tmp_path)}),
        tmp_path / "photos",
    )

    def states() -> tuple[str, str]:
        return parameters.photographs_state(photos), parameters.labels_state(photos)

    def changed(path: str, content: bytes | None) -> tuple[bool, bool]:
        """Which of the two another content of a file changes; None: no file."""
        before = states()
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).unlink() if content is None else (folder / path).write_bytes(content)
        return before[0] != states()[0], before[1] != states()[1]

    assert changed("labels.csv", b"path,label\n") == (False, True)
    assert changed("a.jpg", b"a") == (True, False)
    assert changed("notes.txt", b"no picture") == (False, False)
    assert changed("labels.csv", b'path,label\n"b.jpg",owl\nc\\d.jpg,owl\n') == (False, True)
    assert changed("b.jpg", b"b") == (True, True)  # listed
    assert changed("b.jpg", b"another") == (True, True)
    assert changed("c/d.jpg", b"d") == (True, True)  # as on Windows
    assert changed("c/e.jpg", b"e") == (True, False)
    assert changed("a, b.jpg", b"a") == (True, True)  # may be listed
    assert changed("a.jpg", None) == (True, False)
    assert changed("b.jpg", None) == (True, True)
    assert states() == states()


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


def test_where_a_weight_file_lies_is_no_setting():
    texts = {
        parameters.train_settings(settings(backbone={"name": "timm", "weights": weights}), "a", 5)
        for weights in ("a.pth", "elsewhere/b.safetensors", "pretrained", "random")
    }
    assert len(texts) == 3


def test_event_files_lie_beside_what_a_job_makes_also_below_a_prefix():
    assert plan.log_dir("sub/runs/a/ckpt_epoch005.pt") == "sub/runs/a/log"


# -- parameters ------------------------------------------------------------------------------------


def test_flags_of_those_inputs_that_a_job_has():
    flags = {"checkpoint": "--resume-from-ckpt", "pseudo_labels": "--pseudo-labels"}
    assert parameters.input_flags({"split": "s"}, flags) == []
    assert parameters.input_flags({"checkpoint": []}, flags) == []
    files = {"pseudo_labels": "p", "split": "s", "checkpoint": "c"}
    expected = ["--resume-from-ckpt", "c", "--pseudo-labels", "p"]
    assert parameters.input_flags(files, flags) == expected


def test_the_grid_as_flags():
    run = settings(clustering={"k": "5,10", "w_sil": 2.0})
    flags = ["--k", "5,10", "--percentile", "40:95:5", "--w-ce", "1.0", "--w-sil", "2.0"]
    flags += ["--w-mod", "3.0"]
    merge = "--merge-by-class"
    assert parameters.cluster_flags(run) == [*flags, merge]
    run = settings(clustering={"k": "5,10", "w_sil": 2.0, "merge_by_class": False})
    assert parameters.cluster_flags(run) == flags
    run = settings(clustering={"k": "5,10", "w_sil": 2.0, "w_mod": 0})
    assert parameters.cluster_flags(run) == [*flags[:-2], merge]
    run = settings(clustering={"k": "5,10", "w_sil": 2.0, "normalize": False})
    assert parameters.cluster_flags(run) == [*flags, merge, "--no-normalize"]
    run = settings(clustering={"k": "5,10", "w_sil": 2.0, "neighbours": "approximate"})
    assert parameters.cluster_flags(run) == [*flags, "--neighbours", "approximate", merge]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"k": "5,10", "percentile": "50:90:20"},
        *({name: value} for name in ("w_ce", "w_sil", "w_mod") for value in (0.0, 1.5, 3.0)),
        *({name: value} for name in ("merge_by_class", "normalize") for value in (True, False)),
        *({"neighbours": value} for value in ("exact", "approximate")),
    ],
)
def test_flags_say_the_whole_grid(changes: dict):
    run = settings(clustering=changes)
    parser = argparse.ArgumentParser()
    cli.add_grid_arguments(parser)
    assert cli.grid_of(parser.parse_args(parameters.cluster_flags(run))) == run.clustering


def test_runs_from_before_approximate_neighbours_are_not_made_again():
    approximate = settings(clustering={"neighbours": "approximate"})
    assert "neighbours" not in json.loads(parameters.result_settings(settings()))["clustering"]
    assert json.loads(parameters.result_settings(approximate))["clustering"]["neighbours"]


def test_only_guided_segments_depend_on_pseudo_label_settings():
    other = settings(pseudo={"temperature": 0.5})
    assert parameters.train_settings(settings(), "a", 5) == parameters.train_settings(other, "a", 5)
    assert parameters.train_settings(settings(), "a", 7) != parameters.train_settings(other, "a", 7)


def test_the_number_of_gpus_changes_no_parameter_but_threads():
    one, two = settings(), settings(gpus=2)
    for epoch in (5, 7):
        assert parameters.train_settings(one, "a", epoch) == parameters.train_settings(
            two, "a", epoch
        )
    assert parameters.result_settings(one) == parameters.result_settings(two)
    assert parameters.dataset_settings(one) == parameters.dataset_settings(two)
    assert [job_resources.train_threads(run) for run in (one, two)] == [8, 16]


def test_a_gpu_for_the_clustering_changes_no_parameter():
    one, other = settings(), settings(clustering={"device": "cuda"})
    assert parameters.cluster_flags(one) == parameters.cluster_flags(other)
    assert parameters.result_settings(one) == parameters.result_settings(other)
    assert [job_resources.cluster_gpus(run) for run in (one, other)] == [0, 1]


def test_settings_are_sorted_so_that_equal_ones_are_equal_text():
    for text in (
        parameters.result_settings(settings()),
        parameters.dataset_settings(settings()),
        parameters.train_settings(settings(), "a", 7),
    ):
        assert text == json.dumps(json.loads(text), sort_keys=True)


def test_every_version_is_that_of_a_rule():
    texts = [path.read_text() for path in (ROOT / "rules").glob("*.smk")]
    for stage in parameters.RESULT_VERSIONS:
        assert any(f'RESULT_VERSIONS["{stage}"]' in text for text in texts), stage


# -- before anything is planned --------------------------------------------------------------------


def test_a_checkout_that_cannot_be_run(monkeypatch):
    startup.check_checkout(ROOT)
    with pytest.raises(InputError, match=f"the gcdflow of {ROOT} is in use already, so that of /x"):
        startup.check_checkout(Path("/x"))
    monkeypatch.setattr(startup, "__file__", "/a {b}/workflow_scripts/gcdflow/planning/startup.py")
    with pytest.raises(InputError, match=r"Snakemake takes braces in a path for wildcards"):
        startup.check_checkout(Path("/a {b}"))


def test_configured_runs(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("runs: {a: {seed: 1}, b: {}}\ndefault_runs: [b]\n")
    runs, default = startup.configured_runs(yaml.safe_load(path.read_text()), [path])
    assert list(runs) == ["a", "b"]
    assert default == ["b"]
    path.write_text("runs: {a: {dataset: {name: cub, old_classes: [010]}}}\n")
    with pytest.raises(InputError, match="line 1: old_classes: YAML reads 010 as the number 8"):
        startup.configured_runs(yaml.safe_load(path.read_text()), [path])
    with pytest.raises(InputError, match="unknown key 'run'"):
        startup.configured_runs({"run": {}}, [])


def test_runs_whose_times_are_right_are_not_mentioned(tmp_path: Path):
    assert list(startup.mend_runs({"a": str(tmp_path), "b": str(tmp_path / "missing")})) == []


@pytest.mark.parametrize("stage", ["train", "views"])
def test_a_stage_that_keeps_its_result_is_told_the_version(stage: str):
    assert "--result-version {params.version}" in (ROOT / f"rules/{stage}.smk").read_text()


@pytest.mark.parametrize(
    ("file", "request_of"),
    [
        ("train", "train"),
        ("views", "views"),
        ("features", "features"),
        ("cluster", "cluster"),
        ("evaluate", "evaluate"),
        ("baseline", "baseline"),
        ("baseline", "estimate"),
    ],
)
def test_a_rule_asks_for_what_its_stage_needs(file: str, request_of: str):
    rules = (ROOT / f"rules/{file}.smk").read_text()
    assert f"job_resources.{request_of}_request)" in rules


def test_rules_whose_stage_loads_images_for_a_network_ask_for_a_gpu():
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for rule in path.read_text().split("\nrule ")[1:]:
            assert ('num_workers="auto"' in rule) <= ("gpu=" in rule and "gpu=0" not in rule), path
