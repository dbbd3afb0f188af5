"""Segments, kills and workers do not matter: the checkpoints are equal byte by byte."""

from __future__ import annotations

import re
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
import torch
from forked_ranks import run_as_ranks
from gcdflow import progress
from gcdflow.distributed.interruption import Interrupted
from gcdflow.distributed.ranks import Ranks
from gcdflow.errors import InputError
from gcdflow.files.event_log import read_scalars
from gcdflow.models.model import Model
from gcdflow.training.checkpoint import Checkpoint, stored_weights
from gcdflow.training.inputs import SegmentInputs
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from gcdflow.training.state import TrainingState
from small_training import TINY, digest, failing_at, pseudo_labels, settings, signal_at, train


def test_warm_up_in_one_go_equals_segments_and_workers(split_path: Path, tmp_path: Path):
    whole = train(split_path, tmp_path / "whole.pt", 3)
    first = train(split_path, tmp_path / "first.pt", 1)
    second = train(split_path, tmp_path / "second.pt", 3, resume_from=first)
    workers = train(split_path, tmp_path / "workers.pt", 3, num_workers=2)
    assert digest(whole) == digest(second)
    assert digest(whole) == digest(workers)
    assert digest(whole) != digest(first)


def test_a_checkpoint_of_an_earlier_version_goes_on(split_path: Path, tmp_path: Path):
    """It has a scheduler, and the rate of the next epoch."""
    whole = train(split_path, tmp_path / "whole.pt", 3)
    first = train(split_path, tmp_path / "first.pt", 1)
    values = torch.load(first, weights_only=True)
    values["optimizer"]["param_groups"][0] |= {"lr": 0.002, "initial_lr": 0.003}
    rates = {"base_lrs": [0.003], "_last_lr": [0.002], "lr_lambdas": [None]}
    torch.save(values | {"scheduler": rates | {"last_epoch": 1, "_step_count": 2}}, first)
    assert digest(train(split_path, tmp_path / "c.pt", 3, resume_from=first)) == digest(whole)


def test_the_training_of_these_tests_learns(split_path: Path, tmp_path: Path):
    train(split_path, tmp_path / "c.pt", 3, log_dir=tmp_path / "log")
    curves = read_scalars(tmp_path / "log")
    for tag in ("L_contrast", "L_supcon"):
        first, *_, last = (value for _, value in curves[tag])
        assert last < first - 0.2, tag


@pytest.mark.parametrize("loss", ["supcon", "prototypical"])
def test_guided_training_in_one_go_equals_segments(split_path: Path, tmp_path: Path, loss: str):
    start = train(split_path, tmp_path / "start.pt", 3)
    pseudo = pseudo_labels(split_path, tmp_path / "pseudo.npz")
    guided = settings(True, pseudo={"loss": loss})
    options = {"pseudo_labels": pseudo, "settings": guided}
    whole = train(split_path, tmp_path / "whole.pt", 9, resume_from=start, **options)
    middle = train(split_path, tmp_path / "middle.pt", 4, resume_from=start, **options)
    end = train(split_path, tmp_path / "end.pt", 9, resume_from=middle, num_workers=2, **options)
    assert digest(whole) == digest(end)
    has_prototypes = Checkpoint.load(whole).prototypes is not None
    assert has_prototypes == (loss == "prototypical")


def test_mixed_precision_is_close_and_just_as_repeatable(split_path: Path, tmp_path: Path):
    slow = {"batch_size": 64, "lr": 1e-3}  # a faster training would carry rounding far
    mixed = settings(training={**slow, "mixed_precision": True})
    plain = train(split_path, tmp_path / "plain.pt", 2, settings=settings(training=slow))
    whole = train(split_path, tmp_path / "whole.pt", 2, settings=mixed)
    first = train(split_path, tmp_path / "first.pt", 1, settings=mixed)
    second = train(split_path, tmp_path / "second.pt", 2, settings=mixed, resume_from=first)
    assert digest(whole) == digest(second)
    one, other = Checkpoint.load(plain).weights, Checkpoint.load(whole).weights
    torch.manual_seed(0)
    start = stored_weights(Model(mixed), mixed)
    for name, value in one.items():
        assert other[name].dtype == value.dtype
        if value.dtype == torch.float32 and name.endswith("weight"):
            moved = (value - start[name]).norm()
            difference = (value - other[name]).norm()
            assert difference <= 0.5 * moved + 1e-4, name
    assert digest(plain) != digest(whole)


def test_long_epochs_say_how_far_they_are(split_path: Path, tmp_path: Path, monkeypatch, caplog):
    caplog.set_level("INFO")
    train(split_path, tmp_path / "short.pt", 2)
    assert [m for m in caplog.messages if " step " in m] == [], "short epochs need none"
    epochs = [m for m in caplog.messages if m.startswith("epoch ")]
    assert re.fullmatch(r"epoch 1/2  L_total .* images/s, \d+ s left", epochs[0])
    assert re.fullmatch(r"epoch 2/2  L_total .* images/s", epochs[1])
    caplog.clear()
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_REPORTS", 0.0)
    train(split_path, tmp_path / "long.pt", 2)
    steps = [m for m in caplog.messages if " step " in m]
    assert len(steps) == 2 * 3
    left = r"\d+ s left"
    first = rf"epoch 1/2  step 1 of 4, {left} of this epoch, {left} to epoch 2"
    assert re.fullmatch(first, steps[0])
    assert steps[5].startswith("epoch 2/2  step 3 of 4, ")


def test_killed_training_resumes_to_the_same_bytes_and_log(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for directory in (calm, killed):
        directory.mkdir()
    train(split_path, calm / "c.pt", 8, log_dir=calm / "log")

    rolling, log = killed / ".rolling" / "c.pt", killed / "log"
    for epoch in (2, 4):
        with monkeypatch.context() as patch:
            signal_at(patch, {10}, signal.SIGKILL)  # in the third epoch of this process
            resuming = partial(train, split_path, killed / "c.pt", 8, log_dir=log)
            assert run_as_ranks(1, resuming) == [-signal.SIGKILL]
        assert Checkpoint.load(rolling).epoch == epoch
        assert not (killed / "c.pt").exists()
    caplog.set_level("INFO")
    train(split_path, killed / "c.pt", 8, log_dir=log)

    assert "resuming after epoch 4" in caplog.text
    assert digest(calm / "c.pt") == digest(killed / "c.pt")
    assert not rolling.exists()
    expected, found = read_scalars(calm / "log"), read_scalars(killed / "log")
    assert expected.keys() == found.keys()
    for tag, points in found.items():
        assert [step for step, _ in points] == list(range(1, 9)), tag
        if tag != "images_per_second":
            assert points == expected[tag]


def test_a_deleted_log_stops_nothing_and_comes_back(split_path: Path, tmp_path: Path):
    log = tmp_path / "log"
    first = train(split_path, tmp_path / "c3.pt", 3, log_dir=log)
    whole = read_scalars(log)
    shutil.rmtree(log)
    labels = pseudo_labels(split_path, tmp_path / "p.npz")
    options = {"resume_from": first, "pseudo_labels": labels, "log_dir": log}
    end = train(split_path, tmp_path / "c6.pt", 6, **options)
    found = read_scalars(log)
    assert found["L_total"][:3] == whole["L_total"]
    assert [step for step, _ in found["L_total"]] == list(range(1, 7))
    history = Checkpoint.load(end).history
    assert list(history) == list(range(1, 7))
    assert "images_per_second" not in history[1]
    assert history[6]["gamma"] == pytest.approx(0.3)


def test_rolling_checkpoint_of_other_settings_is_not_used(
    split_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    files = SegmentFiles(split_path, tmp_path / "c.pt")
    other = settings(training={"batch_size": 64, "lr": 0.05})
    alone = Ranks(torch.device("cpu"))
    inputs = SegmentInputs(
        other, files, stop_at_epoch=2, ranks=alone, num_workers=0, result_version=0
    )
    state = TrainingState(other, inputs, alone, None, None)
    state.epoch = 1
    state.checkpoint({"key": inputs.key}).save(files.rolling)
    resumed = train(split_path, tmp_path / "c.pt", 2)
    assert "left by a segment with other settings or inputs" in caplog.text
    assert digest(resumed) == digest(train(split_path, tmp_path / "fresh.pt", 2))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"training": {"batch_size": 32}}, "training.batch_size = 64, now it is 32"),
        ({"seed": 4}, "seed = 0, now it is 4"),
        ({"head": {**TINY["head"], "out_dim": 8}}, "head.out_dim = 24, now it is 8"),
    ],
)
def test_resuming_with_other_settings_names_the_key(
    split_path: Path, tmp_path: Path, changes: dict, key: str
):
    start = train(split_path, tmp_path / "start.pt", 1)
    with pytest.raises(InputError, match=key):
        train(
            *(split_path, tmp_path / "next.pt", 2),
            **{"resume_from": start, "settings": settings(**changes)},
        )


@pytest.mark.parametrize(
    ("signum", "loss"),
    [
        *((signal.SIGTERM, loss) for loss in ("none", "supcon", "prototypical")),
        (signal.SIGINT, "none"),  # it only gives another status
    ],
)
def test_a_signal_saves_within_the_epoch_and_nothing_is_done_twice(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, loss: str
):
    options: dict = {}
    if loss != "none":
        options["resume_from"] = train(split_path, tmp_path / "start.pt", 3)
        options["pseudo_labels"] = pseudo_labels(split_path, tmp_path / "pseudo.npz")
        options["settings"] = settings(True, pseudo={"loss": loss})
    stop = 6 if options else 3
    expected = digest(train(split_path, tmp_path / "calm.pt", stop, **dict(options)))
    n_steps = 12
    # In the first step, within an epoch, and at its last step.
    calls = signal_at(monkeypatch, {1, 6, 8}, signum)
    messages = []
    for _ in range(3):
        with pytest.raises(Interrupted) as info:
            train(split_path, tmp_path / "c.pt", stop, **dict(options))
        messages.append(str(info.value))
        assert info.value.status == {signal.SIGTERM: 75, signal.SIGINT: 130}[signum]
        assert not list(tmp_path.glob(".rolling/*lock*"))
    train(split_path, tmp_path / "c.pt", stop, **dict(options))
    first = stop - 2
    assert f"in epoch {first} after step 1 of 4; all of it is saved" in messages[0]
    assert f"in epoch {first + 1} after step 2 of 4" in messages[1]
    assert f"after epoch {first + 1};" in messages[2]
    assert len(calls) == n_steps
    assert digest(tmp_path / "c.pt") == expected


def test_longer_epochs_too_end_in_equal_bytes(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Epochs of 4 steps become epochs of 9: in one go, in segments, with workers, and stopped."""
    longer = settings(training={"min_steps": 9})
    whole = train(split_path, tmp_path / "whole.pt", 2, settings=longer)
    first = train(split_path, tmp_path / "first.pt", 1, settings=longer)
    rest = train(split_path, tmp_path / "rest.pt", 2, settings=longer, resume_from=first)
    workers = train(split_path, tmp_path / "workers.pt", 2, settings=longer, num_workers=2)
    assert digest(whole) == digest(rest) == digest(workers)
    assert digest(whole) != digest(train(split_path, tmp_path / "short.pt", 2))

    calls = signal_at(monkeypatch, {2, 7})  # in the first pass over the images, and in the second
    for step in (2, 7):
        with pytest.raises(Interrupted, match=f"in epoch 1 after step {step} of 9"):
            train(split_path, tmp_path / "stopped.pt", 2, settings=longer)
    train(split_path, tmp_path / "stopped.pt", 2, settings=longer)
    assert len(calls) == 18
    assert digest(tmp_path / "stopped.pt") == digest(whole)


def test_a_finished_segment_whose_output_was_deleted_is_not_trained_again(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = digest(train(split_path, tmp_path / "c.pt", 2))
    (tmp_path / "c.pt").unlink()
    calls = failing_at(monkeypatch, set())
    assert digest(train(split_path, tmp_path / "c.pt", 2)) == expected
    # Killed just before its end: the output is still there, and the last rolling checkpoint is.
    (tmp_path / ".rolling" / "c.pt").touch()
    assert digest(train(split_path, tmp_path / "c.pt", 2)) == expected
    assert calls == []
    assert sorted(path.suffix for path in tmp_path.rglob("*c.pt*")) == [".done", ".pt"]
    (tmp_path / "c.pt").unlink()
    again = {"stop_at_epoch": 2, "device": "cpu", "threads": 1, "num_workers": 0}
    files = SegmentFiles(split_path, tmp_path / "c.pt")
    train_segment(settings(), files, **again, result_version=1)  # training computes otherwise now
    assert len(calls) == 8
    calls.clear()
    train(split_path, tmp_path / "c.pt", 1)  # another segment of this name
    assert len(calls) == 4
    assert len(list(tmp_path.glob(".rolling/*.done"))) == 1
    (kept,) = tmp_path.glob(".rolling/*.done")
    assert kept.stat().st_ino == (tmp_path / "c.pt").stat().st_ino


@pytest.mark.parametrize(
    ("stop", "options", "message"),
    [
        (10, {}, "--stop-at-epoch 10 is beyond total_epochs = 9"),
        (2, {"resume_from": "start"}, "is of epoch 3; there is nothing to train up to epoch 2"),
        (5, {"pseudo_labels": "pseudo"}, "name its checkpoint with --resume-from-ckpt"),
    ],
)
def test_impossible_segments(
    split_path: Path, tmp_path: Path, stop: int, options: dict, message: str
):
    made = {
        "start": train(split_path, tmp_path / "start.pt", 3),
        "pseudo": pseudo_labels(split_path, tmp_path / "pseudo.npz"),
    }
    with pytest.raises(InputError, match=message):
        train(
            *(split_path, tmp_path / "c.pt", stop),
            **{name: made[value] for name, value in options.items()},
        )
