"""How the loss of a step is put together: which rows, which weights, which γ.

See docs/contract.md, section 5.
"""

from __future__ import annotations

from itertools import product

import pytest
import torch
from gcdflow.config.settings import RunSettings, TrainSettings
from gcdflow.losses.infonce import info_nce
from gcdflow.losses.prototypical import prototypical, update_prototypes
from gcdflow.losses.supcon import sup_con, sup_con_pairs
from gcdflow.training.objective import Objective
from gcdflow.training.pseudo_targets import PseudoTargets
from torch import Tensor

# Of twelve samples, a batch of eight: four labelled, and pseudo labels of five.
LABELS = torch.tensor([0, -1, 1, -1, 0, -1, -1, 1, -1, -1, 0, -1])
PSEUDO = torch.tensor([2, 0, -1, 1, 0, -1, 1, -1, 2, -1, 0, 1])
WEIGHTS = torch.linspace(0.1, 1.2, 12)
POSITIONS = torch.tensor([7, 0, 3, 11, 1, 4, 2, 6])
WARMUP, TOTAL = 10, 30
PSEUDO_SETTINGS = {
    "positives": "cluster",
    "pseudo_loss_weight": 3.0,
    "temperature": 0.2,
    "gamma_ramp_epochs": None,
}


def settings(guided: bool = True, training: dict | None = None, **pseudo: object) -> TrainSettings:
    return RunSettings.model_validate(
        {
            "schedule": {"warmup_epochs": WARMUP, "total_epochs": TOTAL},
            "training": {"sup_con_weight": 0.4, "contrast_temperature": 0.5, **(training or {})},
            "pseudo": {**PSEUDO_SETTINGS, **pseudo},
        }
    ).train_settings(guided)


def objective(chosen: TrainSettings, labels: Tensor = PSEUDO) -> Objective:
    targets = PseudoTargets(labels, WEIGHTS, 3) if chosen.pseudo else None
    return Objective(chosen, LABELS, targets)


@pytest.fixture
def views() -> tuple[Tensor, Tensor]:
    rows = torch.randn(16, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1).split(8)


@pytest.fixture
def prototypes() -> Tensor:
    rows = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def both_views(views: tuple[Tensor, Tensor], of_sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of both views of the samples that have a label, one by one; label and weight of each."""
    rows, labels, weights = [], [], []
    for view, (row, position) in product(views, enumerate(POSITIONS.tolist())):
        if of_sample[position] >= 0:
            rows.append(view[row])
            labels.append(int(of_sample[position]))
            weights.append(float(WEIGHTS[position]))
    return torch.stack(rows), torch.tensor(labels), torch.tensor(weights)


@pytest.mark.parametrize("samples", ["all", "unlabelled"])
def test_warm_up(views, samples: str):
    chosen = settings(guided=False, training={"contrast_samples": samples})
    losses, after = objective(chosen).losses(7, *views, POSITIONS, None)
    rows = [r for r, p in enumerate(POSITIONS.tolist()) if samples == "all" or LABELS[p] < 0]
    contrast = info_nce(views[0][rows], views[1][rows], temperature=0.5)
    z, labels, _ = both_views(views, LABELS)
    supervised = sup_con(z, labels, temperature=0.07)
    assert losses.keys() == {"L_total", "L_contrast", "L_supcon"}
    assert after is None
    torch.testing.assert_close(losses["L_contrast"], contrast)
    torch.testing.assert_close(losses["L_supcon"], supervised)
    torch.testing.assert_close(losses["L_total"], 0.6 * contrast + 0.4 * supervised)


@pytest.mark.parametrize(("epoch", "gamma"), [(11, 0.05), (20, 0.5), (30, 1.0)])
@pytest.mark.parametrize("loss", ["supcon", "prototypical"])
def test_guided(views, prototypes: Tensor, loss: str, epoch: int, gamma: float):
    guided = objective(settings(loss=loss, prototype_momentum=0.8))
    losses, after = guided.losses(epoch, *views, POSITIONS, prototypes)
    z, labels, weights = both_views(views, PSEUDO)
    if loss == "supcon":
        pseudo = sup_con(z, labels, temperature=0.2, weights=weights)
        assert after is None
    else:
        pseudo = prototypical(z, labels, prototypes, temperature=0.2, weights=weights)
        expected = update_prototypes(prototypes, z, labels, momentum=0.8)
        torch.testing.assert_close(after, expected)
    warm_up = 0.6 * losses["L_contrast"] + 0.4 * losses["L_supcon"]
    assert guided.gamma(epoch) == pytest.approx(gamma)
    torch.testing.assert_close(losses["L_pseudo"], pseudo)
    torch.testing.assert_close(losses["L_total"], warm_up + gamma * 3.0 * pseudo)


def test_without_weight_there_is_no_pseudo_loss(views, prototypes: Tensor):
    """Before the ramp, with a weight of 0, and where all points that count are in one cluster."""
    one_cluster = torch.where(PSEUDO == 2, PSEUDO, -1)
    for found in (
        objective(settings(loss="prototypical")).losses(WARMUP, *views, POSITIONS, prototypes),
        objective(settings(pseudo_loss_weight=0.0)).losses(TOTAL, *views, POSITIONS, prototypes),
        objective(settings(), one_cluster).losses(TOTAL, *views, POSITIONS, prototypes),
    ):
        losses, after = found
        assert "L_pseudo" not in losses
        assert after is prototypes
        warm_up = 0.6 * losses["L_contrast"] + 0.4 * losses["L_supcon"]
        torch.testing.assert_close(losses["L_total"], warm_up)


def test_neighbours_are_positives(views):
    """Of a pair, one may list the other; pairs whose partner is not in the batch do not count."""
    lists = torch.full((12, 2), -1)
    lists[7, 0], lists[3, :2], lists[6, 0], lists[2, 0] = 0, torch.tensor([11, 5]), 2, 6
    chosen = settings(positives="neighbours")
    guided = Objective(chosen, LABELS, PseudoTargets(PSEUDO, WEIGHTS, 3, lists))
    losses, _ = guided.losses(TOTAL, *views, POSITIONS, None)
    positive = torch.zeros(8, 8, dtype=torch.bool)
    for one, other in ((7, 0), (3, 11), (6, 2)):
        a, b = ((p == POSITIONS).nonzero().item() for p in (one, other))
        positive[a, b] = positive[b, a] = True
    expected = sup_con_pairs(
        torch.cat(views),
        positive.repeat(2, 2),
        temperature=0.2,
        weights=WEIGHTS[POSITIONS].repeat(2),
    )
    torch.testing.assert_close(losses["L_pseudo"], expected)
    nobody = Objective(chosen, LABELS, PseudoTargets(PSEUDO, WEIGHTS, 3, torch.full((12, 2), -1)))
    assert nobody.losses(TOTAL, *views, POSITIONS, None)[0]["L_pseudo"] == 0
