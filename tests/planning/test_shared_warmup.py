"""Which runs take their warm-up from another one, and that what exists stays as it came about."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from gcdflow.config.runs import RUN_NAME, merged
from gcdflow.config.settings import RunSettings
from gcdflow.planning import parameters
from gcdflow.planning.shared_warmup import (
    taken_checkpoint,
    taking_runs,
    training_runs,
    warmup_owners,
)

RUN = {
    "dataset": {"name": "digits"},
    "augmentation": {"name": "crop", "image_size": 224},
    "backbone": {"name": "timm", "model": "dino_vits16", "weights": "a.safetensors"},
    "schedule": {"warmup_epochs": 4, "refresh_interval": 2, "total_epochs": 8},
}


def run(**changes: object) -> RunSettings:
    return RunSettings.model_validate(merged(RUN, changes))


def owners(runs: dict[str, RunSettings]) -> dict[str, str]:
    return warmup_owners(runs, lambda path: f"below/{path}")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gpus": 2},
        {"pseudo": {"loss": "prototypical", "gamma_ramp_epochs": 2}},
        {"clustering": {"k": "3,4"}},
        {"schedule": {"refresh_interval": 1}},
    ],
)
def test_what_comes_after_the_warm_up_makes_no_other(changes: dict):
    runs = {"b": run(), "a": run(**changes), "c": run(**changes)}
    assert owners(runs) == {"a": "b", "c": "b"}
    assert parameters.train_settings(runs["a"], "a", 4) == parameters.train_settings(
        runs["b"], "b", 4
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"dataset": {"seed": 1}},
        {"dataset": {"old_classes": [7]}},
        {"backbone": {"weights": "b.safetensors"}},
        {"augmentation": {"flip": False}},
        {"head": {"out_dim": 8}},
        {"training": {"lr": 0.3}},
        {"schedule": {"warmup_epochs": 2}},
        {"schedule": {"total_epochs": 10}},  # the learning rate of each epoch depends on it
    ],
)
def test_what_a_warm_up_depends_on_makes_another(changes: dict):
    assert owners({"a": run(), "b": run(**changes)}) == {}


def test_only_warm_ups_are_taken():
    other = run(seed=1, schedule={"warmup_epochs": 6})
    runs = {"a": run(), "a-b": run(), "a.b": run(), "x": other, "axb": other}
    found = owners(runs)
    assert found == {"a-b": "a", "a.b": "a", "axb": "x"}
    assert taken_checkpoint(found, "a-b", 4) == "runs/a/ckpt_epoch004.pt"
    takes, trains = (
        re.compile(rf"runs/(?P<run>{pattern})/ckpt_epoch(?P<epoch>\d{{3}})\.pt")
        for pattern in (taking_runs(found, runs), training_runs(found, runs, RUN_NAME.pattern))
    )
    for name, settings in runs.items():
        for epoch in (2, 4, 6, 8):
            path = f"runs/{name}/ckpt_epoch{epoch:03d}.pt"
            taken = name in found and epoch == settings.schedule.warmup_epochs
            assert (bool(takes.fullmatch(path)), bool(trains.fullmatch(path))) == (taken, not taken)
    assert not re.fullmatch(taking_runs({}, {}), "a")
    assert re.fullmatch(training_runs({}, {}, RUN_NAME.pattern), "a")


# -- what exists -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def made(run: str, owner: str | None = None) -> Path:
    """The checkpoint of a warm-up that a run has trained, or taken from another one."""
    path = Path(f"below/runs/{run}/ckpt_epoch004.pt")
    (path.parent / ".made").mkdir(parents=True)
    path.touch()
    inputs = ["split.npz"] if owner is None else ["split.npz", f"../{owner}/{path.name}"]
    record = {"outputs": {path.name: ""}, "inputs": dict.fromkeys(inputs, ""), "beside": []}
    (path.parent / ".made" / f"{path.name}.json").write_text(json.dumps(record))
    return path


def test_a_run_that_has_trained_stays_so_and_gives_to_those_that_have_not():
    runs = dict.fromkeys("abcd", run())
    made("b")
    made("d")
    assert owners(runs) == {"a": "b", "c": "b"}
    Path("below/runs/b/.made/ckpt_epoch004.pt.json").unlink()  # of a version without records
    assert owners(runs) == {"a": "b", "c": "b"}


def test_the_order_of_runs_changes_nothing_that_exists():
    checkpoint = made("b")
    made("c", owner="b")
    for _ in range(2):
        assert owners(dict.fromkeys("abcd", run())) == {"a": "b", "c": "b", "d": "b"}
        assert owners(dict.fromkeys("dcab", run())) == {"d": "b", "c": "b", "a": "b"}
        checkpoint.unlink(missing_ok=True)  # as when it is trained again
    made("a", owner="b")
    assert owners(dict.fromkeys("abcd", run())) == {"a": "b", "c": "b", "d": "b"}


def test_a_run_that_left_the_configuration_still_gives_what_exists():
    checkpoint = made("a")
    made("b", owner="a")
    runs = dict.fromkeys("cbd", run())
    assert owners(runs) == {"b": "a", "c": "b", "d": "b"}
    made("c", owner="b")
    assert owners(runs) == {"b": "a", "c": "b", "d": "b"}
    checkpoint.unlink()
    assert owners(runs) == {"c": "b", "d": "b"}


def test_a_run_with_other_settings_gives_nothing_any_more():
    made("a")
    made("b", owner="a")
    made("c", owner="a")
    assert owners({"a": run(seed=1), "b": run(), "c": run()}) == {"c": "b"}
    assert owners({"a": run(), "b": run(seed=1), "c": run()}) == {"c": "a"}
