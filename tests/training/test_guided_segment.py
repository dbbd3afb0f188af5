"""What pseudo labels do to a segment of training, and when they do nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gcdflow.errors import InputError
from gcdflow.files.formats import PseudoLabels, Split
from gcdflow.training.checkpoint import Checkpoint
from gcdflow.training.pseudo_targets import PseudoTargets
from small_training import pseudo_labels, settings, train


def test_weight_of_zero_equals_training_without_pseudo_labels(split_path: Path, tmp_path: Path):
    start = train(split_path, tmp_path / "start.pt", 3)
    pseudo = pseudo_labels(split_path, tmp_path / "pseudo.npz")
    off = settings(True, pseudo={"pseudo_loss_weight": 0.0})
    on = settings(True)
    weights = {}
    for name, chosen in (("off", off), ("on", on)):
        path = train(
            *(split_path, tmp_path / f"{name}.pt", 5),
            **{"resume_from": start, "pseudo_labels": pseudo, "settings": chosen},
        )
        weights[name] = Checkpoint.load(path).weights
    without = train(split_path, tmp_path / "without.pt", 5, resume_from=start)
    expected = Checkpoint.load(without).weights
    assert all(torch.equal(expected[k], weights["off"][k]) for k in expected)
    assert not all(torch.equal(expected[k], weights["on"][k]) for k in expected)


@pytest.mark.parametrize("points", ["core", "all"])
@pytest.mark.parametrize("samples", ["unlabelled", "all"])
def test_which_samples_the_pseudo_loss_sees(
    split_path: Path, tmp_path: Path, points: str, samples: str
):
    from gcdflow.files.formats import Split

    path = pseudo_labels(split_path, tmp_path / "pseudo.npz")
    split, pseudo = Split.load(split_path), PseudoLabels.load(path)
    chosen = settings(True, pseudo={"points": points, "samples": samples, "weights": "density"})
    targets = PseudoTargets.select(path, split, chosen)
    expected = {}
    for index, label, core in zip(pseudo.indices, pseudo.labels, pseudo.core_mask, strict=True):
        labelled = split.labelled_mask[split.indices == index][0]
        if (core or points == "all") and (not labelled or samples == "all"):
            expected[int(index)] = int(label)
    found = {
        int(split.indices[i]): int(label) for i, label in enumerate(targets.labels) if label >= 0
    }
    assert found == expected
    assert (targets.weights[targets.labels >= 0] > 0).all()


def test_pseudo_labels_of_other_samples_are_refused(split_path: Path, tmp_path: Path):
    start = train(split_path, tmp_path / "start.pt", 3)
    pseudo = PseudoLabels.load(pseudo_labels(split_path, tmp_path / "pseudo.npz"))
    fewer = replace(
        pseudo,
        **{
            name: getattr(pseudo, name)[:-5]
            for name in ("indices", "labels", "core_mask", "densities")
        },
        neighbours=np.full((247, 10), -1),
    )
    fewer.save(tmp_path / "fewer.npz")
    options = {"resume_from": start, "pseudo_labels": tmp_path / "fewer.npz"}
    with pytest.raises(InputError, match=r"has 247 samples, split\.npz has 252 training"):
        train(split_path, tmp_path / "next.pt", 5, **options)


@pytest.mark.parametrize(
    ("n_clusters", "loss", "said"),
    [
        (1, "supcon", "are in one cluster (of 1 cluster and"),
        (1, "prototypical", "are in one cluster (of 1 cluster and"),
        (7, "prototypical", "all of its 0 points that count are in one cluster (of 7 clusters and"),
    ],
)
def test_pseudo_labels_of_one_cluster_guide_nobody(
    split_path: Path, tmp_path: Path, caplog, n_clusters: int, loss: str, said: str
):
    """So it is where no point counts, because all core points are labelled."""
    start = train(split_path, tmp_path / "start.pt", 3)
    path = pseudo_labels(split_path, tmp_path / "pseudo.npz", n_clusters=n_clusters)
    if n_clusters > 1:
        split, pseudo = Split.load(split_path), PseudoLabels.load(path)
        labelled = split.indices[split.labelled_mask]
        replace(pseudo, core_mask=np.isin(pseudo.indices, labelled)).save(path)
    chosen = settings(True, pseudo={"loss": loss, "points": "core", "samples": "unlabelled"})
    guided = {"resume_from": start, "pseudo_labels": path, "settings": chosen}
    weights = Checkpoint.load(train(split_path, tmp_path / "guided.pt", 5, **guided)).weights
    assert said in caplog.text
    without = Checkpoint.load(train(split_path, tmp_path / "none.pt", 5, resume_from=start)).weights
    assert all(torch.equal(weights[name], value) for name, value in without.items())
