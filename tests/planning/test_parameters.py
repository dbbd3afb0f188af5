"""Parameters of the rules: flags of stages, and what changes when a stage has to run again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from gcdflow import cli
from gcdflow.planning import job_resources, parameters
from planned_runs import settings


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


def test_a_limit_on_bad_steps_trains_nothing_again():
    patient = settings(training={"skip_bad_steps": 3})
    for epoch in (0, 5, 8):
        compared = parameters.train_settings(patient, "a", epoch)
        assert compared == parameters.train_settings(settings(), "a", epoch)
    assert parameters.limit_flags(settings()) == []
    assert parameters.limit_flags(patient) == ["--skip-bad-steps", "3"]
    assert json.loads(parameters.result_settings(patient))["training"]["skip_bad_steps"] == 3


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


def test_where_a_weight_file_lies_is_no_setting():
    texts = {
        parameters.train_settings(settings(backbone={"name": "timm", "weights": weights}), "a", 5)
        for weights in ("a.pth", "elsewhere/b.safetensors", "pretrained", "random")
    }
    assert len(texts) == 3


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
