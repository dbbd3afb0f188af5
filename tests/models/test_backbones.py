"""Backbones: shapes, what is frozen, and weight files that do not fit."""

import pytest
import torch
from gcdflow.config import SmallConvNetSettings, TorchvisionViTSettings
from gcdflow.errors import InputError
from gcdflow.models import backbones
from gcdflow.models.backbones import (
    BUILDERS,
    SmallConvNet,
    TorchvisionViT,
    build_backbone,
    existing_weights,
    load_weights,
)
from torch import nn
from torchvision.models import VisionTransformer

LAYERS = 4


def tiny_vit(seed: int = 0, **changes) -> VisionTransformer:
    torch.manual_seed(seed)
    sizes = {"image_size": 16, "patch_size": 8, "num_layers": LAYERS, "num_heads": 2}
    sizes |= {"hidden_dim": 8, "mlp_dim": 16, "num_classes": 3}
    vit = VisionTransformer(**(sizes | changes))
    nn.init.normal_(vit.heads.head.weight)  # torchvision leaves it at zero
    return vit


@pytest.fixture
def small_models(monkeypatch):
    """Building any ViT by name gives a tiny one."""

    def get_model(name, weights, **options):
        assert weights is None
        return tiny_vit(**options)

    monkeypatch.setattr("torchvision.models.get_model", get_model)


def test_all_settings_have_a_builder():
    assert BUILDERS.keys() == {SmallConvNetSettings().name, TorchvisionViTSettings().name}


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


def test_width_scales_the_features():
    assert SmallConvNet(6).feature_dim == 2 * SmallConvNet(3).feature_dim


def test_weights_come_from_torchs_generator():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(torch.cat([p.flatten() for p in SmallConvNet(2).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


# -- vision transformer ----------------------------------------------------------------------------


def test_features_are_the_normed_class_token():
    vit = tiny_vit().eval()
    images = torch.rand(2, 3, 16, 16)
    tokens = vit.conv_proj(images).flatten(2).transpose(1, 2)
    tokens = torch.cat([vit.class_token.expand(2, -1, -1), tokens], dim=1)
    expected = vit.encoder(tokens)[:, 0]
    backbone = TorchvisionViT(vit, LAYERS).eval()
    assert backbone.feature_dim == 8
    torch.testing.assert_close(backbone(images), expected)


@pytest.mark.parametrize("first", range(LAYERS + 1))
def test_only_blocks_from_grad_from_block_are_trained(first):
    backbone = TorchvisionViT(tiny_vit(), first)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    expected = {
        name
        for name, _ in backbone.named_parameters()
        if any(f"encoder_layer_{block}." in name for block in range(first, LAYERS))
    }
    assert trained == expected
    if first < LAYERS:
        backbone(torch.rand(2, 3, 16, 16)).square().sum().backward()
        assert {name for name, p in backbone.named_parameters() if p.grad is not None} == expected


def test_more_frozen_blocks_than_there_are():
    expected = r"backbone\.grad_from_block is 5, but the model has 4 blocks; 4 freezes them all"
    with pytest.raises(InputError, match=expected):
        TorchvisionViT(tiny_vit(), LAYERS + 1)


def test_unknown_model():
    with pytest.raises(InputError, match=r"backbone\.model is 'resnet50', expected .*vit_b_16"):
        build_backbone(TorchvisionViTSettings(model="resnet50"))


def test_image_size_reaches_the_model(small_models):
    backbone = build_backbone(TorchvisionViTSettings(grad_from_block=2), image_size=24)
    assert backbone(torch.rand(1, 3, 24, 24)).shape == (1, 8)


def test_image_size_that_patches_do_not_fill(small_models):
    with pytest.raises(InputError, match=r"augmentation\.image_size is 20, which vit_b_16 cannot"):
        build_backbone(TorchvisionViTSettings(grad_from_block=2), image_size=20)


# -- weight files ----------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(tiny_vit(seed=7).state_dict(), path)
    return path


def test_weights_are_loaded(small_models, weights):
    settings = TorchvisionViTSettings(weights=str(weights), grad_from_block=3)
    loaded = build_backbone(settings, image_size=16)
    expected = TorchvisionViT(tiny_vit(seed=7), 3)
    for name, value in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


@pytest.mark.parametrize("classes", [3, 10, None])
def test_the_classifier_of_the_file_does_not_matter(tmp_path, classes):
    state = tiny_vit(seed=7, num_classes=classes or 3).state_dict()
    if classes is None:
        state = {k: v for k, v in state.items() if not k.startswith("heads.")}
    torch.save(state, tmp_path / "w.pth")
    model = tiny_vit(seed=0)
    head = model.heads.head.weight.clone()
    load_weights(model, tmp_path / "w.pth", ignore=("heads.",))
    assert torch.equal(model.class_token, state["class_token"])
    assert torch.equal(model.heads.head.weight, head)


def test_weights_that_do_not_fit(tmp_path, weights):
    with pytest.raises(InputError, match=r"other shapes: heads\.head\.bias, heads\.head\.weight\)"):
        load_weights(tiny_vit(num_classes=4), weights)
    with pytest.raises(InputError, match=r"other shapes: encoder\.pos_embedding\)"):
        load_weights(tiny_vit(image_size=24), weights)
    with pytest.raises(InputError, match=r"unexpected keys: .* and 9 more; other shapes: none"):
        load_weights(tiny_vit(num_layers=LAYERS - 1), weights)
    with pytest.raises(InputError, match=r"\(missing keys: .* and 9 more; unexpected keys: none"):
        load_weights(tiny_vit(num_layers=LAYERS + 1), weights)


def test_nothing_is_loaded_from_weights_that_do_not_fit(weights):
    model = tiny_vit(num_layers=LAYERS + 1)
    before = model.class_token.clone()
    with pytest.raises(InputError):
        load_weights(model, weights)
    assert torch.equal(model.class_token, before)


def test_missing_weights(tmp_path):
    expected = rf"backbone\.weights: no file at {tmp_path}/absent\.pth; put the weights there"
    with pytest.raises(InputError, match=expected):
        load_weights(tiny_vit(), tmp_path / "absent.pth")
    with pytest.raises(InputError, match=r"backbone\.weights: no file at"):
        existing_weights(tmp_path)


class Payload:
    """An object whose unpickling would create a file."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return open, (self._path, "w")


def test_files_that_are_no_weights(tmp_path):
    path, trap = tmp_path / "w.pth", tmp_path / "executed"
    torch.save({"class_token": Payload(trap)}, path)
    with pytest.raises(InputError, match=r"w\.pth: not a weight file that can be read safely"):
        load_weights(tiny_vit(), path)
    assert not trap.exists()
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"w\.pth: not a weight file that can be read safely"):
        load_weights(tiny_vit(), path)
    for value in ({"model": {"a": torch.zeros(1)}}, torch.zeros(1), {"epoch": 3}):
        torch.save(value, path)
        with pytest.raises(InputError, match=r"expected a state dict \(names to tensors\)"):
            load_weights(tiny_vit(), path)


def test_listing_is_short():
    assert backbones._listed([]) == "none"
    assert backbones._listed(list("abc")) == "a, b, c"
    assert backbones._listed(list("abcde")) == "a, b, c and 2 more"
