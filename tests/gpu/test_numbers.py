"""A GPU gives the numbers of the CPU, as far as float32 goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import small_training
import small_views
import torch
from gcdflow.config.settings import TimmSettings, TrainSettings
from gcdflow.losses.prototypical import cluster_prototypes
from gcdflow.models.model import Model
from gcdflow.models.timm_backbone import build_timm
from gcdflow.training.features import extract_features
from gcdflow.training.objective import Objective
from gcdflow.training.pseudo_targets import PseudoTargets
from gcdflow.training.segment import train_segment
from gcdflow.training.segment_files import SegmentFiles
from torch import Tensor, nn

N, BATCH, N_CLUSTERS = 60, 32, 5
WIDE = {"head": {"n_layers": 2, "hidden_dim": 64, "bottleneck_dim": 16, "out_dim": 512}}
MODELS = {
    "convnet": lambda guided, **changes: small_training.settings(guided, **changes),
    "compact head": lambda guided, **changes: small_training.settings(guided, **WIDE, **changes),
    "vit": lambda guided, **changes: small_views.settings(guided, **changes),
}


def images_of(settings: TrainSettings) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if settings.backbone.name == "small_convnet":
        return torch.rand(2 * BATCH, 1, 8, 8, generator=generator)
    return torch.randint(0, 256, (2 * BATCH, 3, 32, 32), generator=generator, dtype=torch.uint8)


def step(
    settings: TrainSettings, device: str, double: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor | None]:
    """Losses, gradients of all parameters, and prototypes after a step."""
    torch.manual_seed(0)
    model = Model(settings)
    model = (model.double() if double else model).to(device).train()
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(-4, 4, (N,), generator=generator).clamp(min=-1)
    pseudo = torch.randint(-1, N_CLUSTERS, (N,), generator=generator)
    weights = torch.rand(N, generator=generator)
    positions = torch.randperm(N, generator=generator)[:BATCH]
    neighbours = torch.randint(-1, N, (N, 3), generator=generator)
    targets = PseudoTargets(pseudo, weights, N_CLUSTERS, neighbours) if settings.pseudo else None
    images = images_of(settings)
    z = model((images.double() if double else images).to(device))
    prototypes = None
    if settings.pseudo and settings.pseudo.loss == "prototypical":
        clusters = (torch.arange(2 * BATCH) % N_CLUSTERS).to(device)
        prototypes = cluster_prototypes(z.detach(), clusters, N_CLUSTERS)
    losses, after = Objective(settings, labels, targets).losses(
        9, *z.chunk(2), positions, prototypes
    )
    losses["L_total"].backward()
    gradients = {n: p.grad.cpu() for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients, after


@pytest.mark.parametrize("loss", [None, "supcon", "prototypical"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_losses_and_gradients_of_a_step(device: str, name: str, loss: str | None, double: bool):
    changes = {"training": {"contrast_samples": "unlabelled"}, "pseudo": {"loss": loss or "supcon"}}
    settings = MODELS[name](loss is not None, **changes)
    expected, found = (step(settings, where, double) for where in ("cpu", device))
    assert expected[0].keys() == found[0].keys()
    # In float32 rounding opens a rectifier here and there, and gradients nearly cancel. In float64,
    # PyTorch's weight norm is still one of float32 on a GPU (3e-8; all else differs by 1e-15).
    tolerances = (1e-7, 1e-6) if double else (1e-4, 1e-2)
    for part, value in expected[0].items():
        assert found[0][part].item() == pytest.approx(value.item(), rel=tolerances[0]), part
    assert expected[1].keys() == found[1].keys() != set()
    whole = sum(gradient.square().sum() for gradient in expected[1].values()).sqrt()
    for parameter, gradient in expected[1].items():
        difference = (gradient - found[1][parameter]).norm()
        assert difference <= tolerances[1] * (gradient.norm() + 1e-3 * whole), parameter
    if expected[2] is not None:
        torch.testing.assert_close(
            found[2].cpu(), expected[2], rtol=tolerances[0], atol=tolerances[0]
        )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A split of pictures, and stored views of them, made on the CPU."""
    folder = tmp_path_factory.mktemp("pictures")
    tree = small_views.write_pictures(folder / "images")
    split = small_views.write_split(tree, folder / "split.npz")
    return {"split": split, "views": small_views.make(split, folder / "views.npy")}


def test_features(device: str, pictures: dict[str, Path], tmp_path: Path):
    """Of the images, of stored views, and of a training on the CPU and on the GPU."""
    split, views = pictures["split"], pictures["views"]
    for name, where in (("cpu", "cpu"), ("gpu", device)):
        files = SegmentFiles(split, tmp_path / f"{name}.pt", views=views)
        train_segment(small_views.settings(), files, stop_at_epoch=1, device=where, num_workers=0)

    def features(name: str, where: str, start: Path | None = None) -> np.ndarray:
        found = extract_features(
            tmp_path / f"{name}.pt", split, start, device=where, batch_size=16, num_workers=0
        )
        return found.features

    plain = features("cpu", "cpu")
    scale = np.abs(plain).max()
    for start, tolerance in ((None, 1e-5), (views, 1e-2)):  # views are stored in half precision
        assert np.abs(features("cpu", device, start) - plain).max() < tolerance * scale
    assert np.abs(features("gpu", "cpu") - plain).max() < 1e-3 * scale
    assert np.ptp(plain, axis=0).max() > 1e-2 * scale  # they are not all the same


@pytest.mark.parametrize(("name", "compiles"), [("efficientnet_lite0", True), ("resnet18", False)])
def test_layout_of_convolutions(device: str, name: str, compiles: bool):
    """In channels-last order, cuDNN would compile depthwise convolutions for each size of batch."""
    settings = TimmSettings(name="timm", model=name, weights="random")
    backbone = build_timm(settings, 64)
    nn.Sequential(backbone).to(device)  # as a part of a model
    is_last = device == "cpu" or not compiles
    for where, expected in ((device, is_last), ("cpu", True)):
        backbone.to(where)
        (weight,) = (p for p in backbone.parameters() if p.ndim == 4 and p.shape[1] == 3)
        assert weight.is_contiguous(memory_format=torch.channels_last) == expected
        assert weight.is_contiguous() != expected
        backbone(torch.zeros(2, 3, 64, 64, dtype=torch.uint8, device=where))
