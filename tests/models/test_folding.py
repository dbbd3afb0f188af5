"""Batch norms that convolutions compute: the same numbers, nothing else of the model changes."""

import copy

import pytest
import torch
from gcdflow.models.folding import Folded
from models.test_timm_backbone import backbone_of, created, pixels, shaken
from torch import nn

KINDS = {"ResNet": 12, "EfficientNet": 45}  # batch norms before the last stage


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_front_gives_the_numbers_of_its_batch_norms(kind, dtype, tolerance):
    backbone = backbone_of(kind).to(dtype)
    images = pixels().to(dtype)
    found = backbone.frozen(images)
    assert len(backbone._front.pairs) == KINDS[kind]
    backbone._front.pairs = []
    expected = backbone.frozen(images)
    assert not torch.equal(found, expected)  # another order of additions: it was used
    largest = expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * largest)


def test_weights_that_are_loaded_later_count():
    backbone, other = backbone_of("EfficientNet"), created("EfficientNet", seed=1)[0]
    before = backbone.frozen(pixels())
    backbone.model.load_state_dict(other.state_dict())
    after = backbone.frozen(pixels())
    backbone._front.pairs = []
    torch.testing.assert_close(after, backbone.frozen(pixels()), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after, before, rtol=1e-2)


def test_the_state_of_the_model_stays():
    backbone = backbone_of("EfficientNet")
    names = {f"model.{name}" for name in created("EfficientNet")[0].state_dict()}
    assert set(backbone.state_dict()) == names
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone.frozen(pixels())
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_models_without_batch_norms_stay_as_they_are():
    backbone = backbone_of("class token")
    assert backbone._front.pairs == []
    assert not hasattr(backbone._front, "_shell")  # no copy of a large model


class Net(nn.Module):
    """A convolution, a batch norm, and what else may lie there."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind, norms = kind, {"no weights": {"affine": False}}
        norms["no statistics"] = {"track_running_stats": False}
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **norms.get(kind, {}))
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.conv(images)
        if self.kind == "changed in place":
            x = x.relu_()
        y = self.norm(x)
        if self.kind == "read twice":
            y = y + x
        return self.norm(self.second(y)) if self.kind == "called twice" else self.second(y)


def folded(kind: str) -> Folded:
    torch.manual_seed(0)
    image = torch.linspace(-1, 1, 3 * 64).reshape(1, 3, 8, 8)
    return Folded(shaken(Net(kind)).eval(), lambda model, images: model(images), image)


def test_a_plain_pair_is_found():
    assert folded("plain").pairs == [("conv", "norm")]


@pytest.mark.parametrize(
    "kind", ["no weights", "no statistics", "changed in place", "read twice", "called twice"]
)
@torch.no_grad()
def test_what_cannot_be_folded_runs_as_it_is(kind):
    found = folded(kind)
    assert found.pairs == []
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(found(images, found.weights()), copy.deepcopy(found._model)(images))
