"""What pseudo labels tell the losses, and what each step of the optimiser has."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gcdflow.distributed.interruption import Interrupted
from gcdflow.files.event_log import read_scalars
from gcdflow.files.formats import PseudoLabels, Split
from gcdflow.losses.weights import pseudo_weights
from gcdflow.training.checkpoint import Checkpoint
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.schedule import cosine_lr
from small_training import digest, pseudo_labels, settings, signal_at, train


@pytest.mark.parametrize("points", ["core", "all"])
@pytest.mark.parametrize("samples", ["unlabelled", "all"])
@pytest.mark.parametrize("weights", ["none", "density", "inverse_density"])
def test_neighbours_and_weights_are_those_of_the_samples(
    make_split: Callable[..., Split], tmp_path: Path, points: str, samples: str, weights: str
):
    """The file lists samples in an order of its own, and ids are no positions."""
    split = make_split(80)
    split.save(tmp_path / "split.npz")
    path = pseudo_labels(tmp_path / "split.npz", tmp_path / "pseudo.npz")
    pseudo = PseudoLabels.load(path)
    chosen = settings(True, pseudo={"points": points, "samples": samples, "weights": weights})
    targets = PseudoTargets.select(path, split, chosen)
    shown = set(split.indices[split.labelled_mask].tolist())
    lists, heavy = {}, {}
    of_file = pseudo_weights(pseudo.densities, weights).tolist()
    for row, sample in enumerate(pseudo.indices.tolist()):
        counts = (points == "all" or pseudo.core_mask[row]) and (
            samples == "all" or sample not in shown
        )
        listed = pseudo.indices[pseudo.neighbours[row][pseudo.neighbours[row] >= 0]].tolist()
        lists[sample], heavy[sample] = listed if counts else [], of_file[row]
    ids = split.indices.tolist()
    train = np.flatnonzero(split.train_mask).tolist()
    assert {ids[i]: targets.weights[i].item() for i in train} == heavy
    found = targets.neighbours.tolist()
    assert {ids[i]: [ids[j] for j in found[i] if j >= 0] for i in train} == lists
    drawn = targets.sampled(split, chosen)
    of_batches = {
        sample: [n for n in row if n >= 0]
        for sample, row in zip(drawn.ids.tolist(), drawn.neighbours.tolist(), strict=True)
    }
    assert {ids[i]: of_batches[ids[i]] for i in train} == lists
    assert [row for i, row in enumerate(found) if i not in train and max(row) >= 0] == []


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the optimiser has before each of its steps: its options and its momenta."""
    seen, step = [], torch.optim.SGD.step

    def watched(optimizer: torch.optim.SGD, *arguments: object) -> object:
        seen.append(copy.deepcopy(optimizer.state_dict()))
        return step(optimizer, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    return seen


def test_steps_are_those_of_the_settings(split_path: Path, tmp_path: Path, steps: list[dict]):
    chosen = settings(training={"lr": 0.004, "momentum": 0.7, "weight_decay": 0.03})
    train(split_path, tmp_path / "c.pt", 3, settings=chosen, log_dir=tmp_path / "log")
    rates = [cosine_lr(e, total_epochs=9, lr=0.004, final_factor=1e-3) for e in (1, 2, 3)]
    groups = [state["param_groups"][0] for state in steps]
    assert [group["lr"] for group in groups] == [rate for rate in rates for _ in range(4)]
    assert {(g["momentum"], g["weight_decay"], g["nesterov"]) for g in groups} == {
        (0.7, 0.03, False)
    }
    curve = read_scalars(tmp_path / "log")["learning_rate"]
    assert [rate for _, rate in curve] == pytest.approx(rates)


def test_other_pseudo_labels_leave_the_momenta(split_path: Path, tmp_path: Path, steps: list[dict]):
    options = {"resume_from": train(split_path, tmp_path / "start.pt", 3)}
    for n, stop in enumerate((4, 5)):
        expected = Checkpoint.load(options["resume_from"]).optimizer["state"]
        steps.clear()
        options["pseudo_labels"] = pseudo_labels(split_path, tmp_path / f"{n}.npz", seed=n)
        options["resume_from"] = train(split_path, tmp_path / f"{n}.pt", stop, **options)
        found = steps[0]["state"]
        assert found.keys() == expected.keys()
        for number, state in expected.items():
            assert torch.equal(found[number]["momentum_buffer"], state["momentum_buffer"])


@pytest.mark.parametrize("other", ["resume_from", "pseudo_labels"])
def test_rolling_checkpoint_of_other_inputs_is_not_used(
    split_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog, other: str
):
    """As after a clustering that was made again while the training was interrupted."""
    options = {
        "resume_from": train(split_path, tmp_path / "start.pt", 3),
        "pseudo_labels": pseudo_labels(split_path, tmp_path / "p.npz"),
    }
    with monkeypatch.context() as patch:
        signal_at(patch, {6})
        with pytest.raises(Interrupted):
            train(split_path, tmp_path / "c.pt", 6, **options)
    if other == "pseudo_labels":
        pseudo_labels(split_path, tmp_path / "p.npz", seed=1)
    else:
        start = Checkpoint.load(tmp_path / "start.pt")
        start.weights["head.mlp.0.weight"] += 0.01
        start.save(tmp_path / "start.pt")
    found = digest(train(split_path, tmp_path / "c.pt", 6, **options))
    assert "left by a segment with other settings or inputs" in caplog.text
    assert found == digest(train(split_path, tmp_path / "fresh.pt", 6, **options))
