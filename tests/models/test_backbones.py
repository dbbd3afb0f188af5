"""Backbones: every settings class has a builder; the small convolutional net."""

import pytest
import torch
from gcdflow.config.settings import SmallConvNetSettings, kinds
from gcdflow.models.backbones import BUILDERS, SmallConvNet, build_backbone


def test_all_settings_have_a_builder():
    assert BUILDERS.keys() == kinds("backbone").keys()


# -- small convolutional net -----------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 5])
@pytest.mark.parametrize("size", [8, 9])
def test_small_convnet(width, size):
    backbone = build_backbone(SmallConvNetSettings(width=width))
    features = backbone(torch.rand(3, 1, size, size))
    assert features.shape == (3, backbone.feature_dim)
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_nothing_of_the_small_convnet_is_frozen():
    backbone, images = SmallConvNet(2), torch.rand(3, 1, 8, 8)
    assert backbone.frozen(images) is images
    backbone.eval()
    assert torch.equal(backbone.trained(images), backbone(images))


def test_width_scales_the_features():
    assert SmallConvNet(6).feature_dim == 2 * SmallConvNet(3).feature_dim


def test_weights_come_from_torchs_generator():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([p.flatten() for p in SmallConvNet(2).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
