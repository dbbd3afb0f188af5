"""What a step does between batch and loss never makes the host wait for the device.

A meta tensor has no values to read, so it stands for a tensor on a GPU that is still computed: what
asks for a value, or for a shape that depends on one, fails. Copies to the device are looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from gcdflow.config.settings import RunSettings, TrainSettings
from gcdflow.models.head import unit_rows
from gcdflow.models.model import Model
from gcdflow.training.objective import Objective
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.simgcd import SimGCD
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
N_CLUSTERS, BATCH = 3, 8


class _Copies(TorchDispatchMode):
    """Notes the copies between CPU and device for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_for: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function is torch.ops.aten._to_copy.default and not kwargs.get("non_blocking"):
            source: Tensor = args[0]
            if source.device != result.device:
                self.waited_for.append(f"{tuple(source.shape)} to {result.device}")
        return result


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Copies]:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # not of meta
    with _Copies() as mode:
        yield mode


def settings(backbone: dict, guided: bool, **changes: dict) -> TrainSettings:
    return RunSettings.model_validate(
        {
            "schedule": {"warmup_epochs": 1, "total_epochs": 4},
            "augmentation": {"name": "affine" if backbone["name"] == "small_convnet" else "crop"},
            "backbone": backbone,
            **changes,
        }
    ).train_settings(guided)


SMALL = {"name": "small_convnet", "width": 2}
NARROW, WIDE = (
    {"n_layers": 2, "hidden_dim": 8, "bottleneck_dim": 4, "out_dim": n} for n in (6, 64)
)


@pytest.mark.parametrize("samples", ["all", "unlabelled"])
@pytest.mark.parametrize("loss", [None, "supcon", "prototypical"])
@pytest.mark.parametrize("head", [NARROW, WIDE], ids=["narrow", "compact"])
def test_a_step(copies: _Copies, head: dict, loss: str | None, samples: str):
    chosen = settings(
        SMALL,
        loss is not None,
        head=head,
        training={"contrast_samples": samples},
        pseudo={"loss": loss or "supcon", "weights": "density"},
    )
    labels = torch.tensor([0, -1, 1, -1, 0, -1, -1, 1, -1, -1])
    pseudo = torch.arange(10) % (N_CLUSTERS + 1) - 1
    neighbours = torch.arange(10).roll(1)[:, None]
    weights = torch.linspace(0, 1, 10)
    targets = PseudoTargets(pseudo, weights, N_CLUSTERS, neighbours) if loss else None
    model = Model(chosen).to(DEVICE)
    copies.waited_for.clear()

    prototypes = None
    z = model(torch.empty(2 * BATCH, 1, 8, 8, device=DEVICE))
    if loss == "prototypical":
        prototypes = torch.empty(N_CLUSTERS, z.shape[1], device=DEVICE)
    losses, after = Objective(chosen, labels, targets).losses(
        4, *z.chunk(2), torch.arange(1, 9), prototypes
    )
    losses["L_total"].backward()

    assert ("L_pseudo" in losses) == (loss is not None)
    assert (after is None) == (prototypes is None)
    assert all(loss.device == DEVICE for loss in losses.values())
    assert copies.waited_for == []


def test_a_step_of_a_classifier(copies: _Copies):
    objective = {"name": "simgcd", "n_prototypes": N_CLUSTERS}
    chosen = settings(SMALL, False, head=WIDE, objective=objective)
    labels = torch.tensor([0, -1, 1, -1, 0, -1, -1, 1, -1, -1])
    model = Model(chosen).to(DEVICE)
    prototypes = torch.empty(N_CLUSTERS, 8, device=DEVICE, requires_grad=True)
    copies.waited_for.clear()

    features = model.backbone(torch.empty(2 * BATCH, 1, 8, 8, device=DEVICE))
    views, rows = model.embed(features).chunk(2), unit_rows(features).chunk(2)
    losses, _ = SimGCD(chosen, labels, None).losses(4, *views, torch.arange(1, 9), prototypes, rows)
    losses["L_total"].backward()

    assert len(losses) == 6
    assert all(loss.device == DEVICE for loss in losses.values())
    assert copies.waited_for == []


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "efficientnet_lite0", "eva02_tiny_patch14_224"]
)
def test_a_backbone_of_timm(copies: _Copies, name: str):
    chosen = settings({"name": "timm", "model": name, "weights": "random"}, False, head=WIDE)
    model = Model(chosen).to(DEVICE).train()
    images = torch.empty(2, 3, 224, 224, dtype=torch.uint8, device=DEVICE)
    model(images)  # the first step copies what EVA's blocks are given besides their input
    copies.waited_for.clear()
    model(images).sum().backward()
    assert copies.waited_for == []


def test_what_would_wait_is_found(copies: _Copies):
    z = torch.empty(4, 2, device=DEVICE)
    mask = torch.tensor([True, False, True, True])
    with pytest.raises(NotImplementedError):
        z[mask.to(DEVICE)]
    with pytest.raises((NotImplementedError, RuntimeError)):
        z.sum().item()
    assert copies.waited_for == ["(4,) to meta"]
