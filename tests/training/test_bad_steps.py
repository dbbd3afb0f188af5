"""Steps whose loss is not finite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gcdflow.errors import InputError
from gcdflow.models.model import Model
from gcdflow.training.checkpoint import Checkpoint, stored_weights
from small_training import digest, failing_at, settings, train


def test_a_loss_that_is_not_finite_stops_and_keeps_what_there_is(split_path: Path, tmp_path: Path):
    hot = settings(training={"batch_size": 64, "lr": 1e30})
    with pytest.raises(
        InputError,
        match=r"epoch 1, step 2 of 4: the loss is not finite \(L_total nan, .*training\.lr",
    ):
        train(split_path, tmp_path / "c.pt", 3, settings=hot)
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_step_stops_at_once_and_the_last_good_state_stays(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
):
    expected = digest(train(split_path, tmp_path / "calm.pt", 3))
    calls = failing_at(monkeypatch, {7}, value)
    with pytest.raises(InputError, match=r"epoch 2, step 3 of 4: .* \(L_total (nan|inf), L_contr"):
        train(split_path, tmp_path / "c.pt", 3)
    assert len(calls) == 7
    assert not (tmp_path / "c.pt").exists()
    assert Checkpoint.load(tmp_path / ".rolling" / "c.pt").epoch == 1
    monkeypatch.undo()
    assert digest(train(split_path, tmp_path / "c.pt", 3)) == expected


def test_a_bounded_number_of_bad_steps_is_left_out(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
):
    patient = settings(training={"batch_size": 64, "skip_bad_steps": 2})
    failing_at(monkeypatch, {2, 7})
    train(split_path, tmp_path / "c.pt", 3, settings=patient)
    assert "epoch 1, step 2 of 4: the loss is not finite" in caplog.text
    assert "epoch 2, step 3 of 4" in caplog.text
    assert "left out, 2 of at most 2" in caplog.text
    weights = Checkpoint.load(tmp_path / "c.pt").weights
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())
    failing_at(monkeypatch, {2, 7, 9})
    with pytest.raises(InputError, match=r"epoch 3, step 1 of 4: .*skip_bad_steps \(now 2\)"):
        train(split_path, tmp_path / "d.pt", 3, settings=patient)
    # A larger limit resumes there, and is not part of the result.
    failing_at(monkeypatch, {1})
    more_patient = settings(training={"batch_size": 64, "skip_bad_steps": 3})
    train(split_path, tmp_path / "d.pt", 3, settings=more_patient)
    assert caplog.text.count("the loss is not finite") == 2 + 2 + 1  # those of epochs 1, 2 once
    assert "left out, 3 of at most 3" in caplog.text


def test_a_bad_batch_leaves_no_trace_in_running_means(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An epoch of nothing but bad steps leaves the model as it was."""
    patient = settings(training={"batch_size": 64, "skip_bad_steps": 99})
    failing_at(monkeypatch, set(range(1, 99)))
    train(split_path, tmp_path / "c.pt", 1, settings=patient)
    torch.manual_seed(0)
    start = stored_weights(Model(patient), patient)
    found = Checkpoint.load(tmp_path / "c.pt").weights
    assert all(torch.equal(found[name], value) for name, value in start.items())
