"""Models of timm as backbones: timm's own numbers, what is frozen, and what cannot be cut."""

import copy

import pytest
import timm
import torch
from gcdflow.config.settings import TimmSettings
from gcdflow.errors import InputError
from gcdflow.models import timm_backbone
from gcdflow.models.timm_backbone import TimmBackbone, build_timm
from gcdflow.models.timm_models import model_input
from torch import nn

SIDE = 32
# A name, and what of the model is made smaller. `cut` is the input of the last block.
MODELS = {
    "class token": ("test_vit", {}, (5, 64)),
    "register tokens (DINOv2)": (
        "vit_small_patch14_reg4_dinov2",
        {"depth": 2, "embed_dim": 48, "num_heads": 3, "img_size": 28},
        (9, 48),
    ),
    "class token of CLIP": (
        "vit_base_patch16_clip_224",
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
        (5, 48),
    ),
    "averaged tokens": ("test_vit", {"global_pool": "avg", "class_token": False}, (4, 64)),
    "attention pooling (SigLIP)": (
        "vit_base_patch16_siglip_224",
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
        (4, 48),
    ),
    "rotary positions (DINOv3)": (
        "vit_small_patch16_dinov3",
        {"depth": 2, "embed_dim": 48, "num_heads": 3},
        (9, 48),
    ),
    "ResNet": ("test_resnet", {}, (192, 2, 2)),
    "ConvNeXt": ("test_convnext", {}, (48, 2, 2)),
    "EfficientNet": ("efficientnet_lite0", {}, (192, 1, 1)),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        {"embed_dim": 16, "depths": (1, 1, 1), "num_heads": (1, 2, 4)},
        (4, 4, 32),
    ),
}
TOKEN_ONLY = ["class token", "register tokens (DINOv2)", "class token of CLIP"]


def shaken(model: nn.Module) -> nn.Module:
    """The model with no gain, bias or statistic left at what it began with."""
    generator = torch.Generator().manual_seed(1)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.ndim < 2:
            noise = torch.rand(tensor.shape, generator=generator) - 0.5
            tensor.data += 0.2 * noise.to(tensor.dtype)
    return model


def created(kind: str, seed: int = 0) -> tuple[nn.Module, int]:
    """A small model of timm, and the side of its images."""
    name, options, _ = MODELS[kind]
    name = timm_backbone.timm_name(name)
    if timm.get_pretrained_cfg(name).fixed_input_size:
        options = {"img_size": SIDE, **options}
    torch.manual_seed(seed)
    model = shaken(timm.create_model(name, num_classes=0, **options))
    return model.eval(), options.get("img_size", SIDE)


def backbone_of(kind: str, trained_blocks: int = 1) -> TimmBackbone:
    model, side = created(kind)
    return TimmBackbone(model, model_input(MODELS[kind][0], side), trained_blocks)


def pixels(side: int = SIDE, n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)


def normalised(kind: str, images: torch.Tensor) -> torch.Tensor:
    source = timm.get_pretrained_cfg(timm_backbone.timm_name(MODELS[kind][0]))
    mean, std = (torch.tensor(values)[:, None, None] for values in (source.mean, source.std))
    return (images / 255 - mean) / std


def settings(**changes) -> TimmSettings:
    return TimmSettings(**({"model": "test_vit", "weights": "random"} | changes))


# -- features --------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained_blocks", [0, 1, 2])
@pytest.mark.parametrize("kind", MODELS)
def test_features_are_timms_own(kind, trained_blocks):
    model, side = created(kind)
    images = pixels(side)
    expected = model(normalised(kind, images))
    backbone = backbone_of(kind, trained_blocks).eval()
    assert backbone.feature_dim == expected.shape[1]
    stored = backbone.frozen(images)
    assert not stored.requires_grad
    if trained_blocks == 1:
        assert stored.shape[1:] == MODELS[kind][2]
    for features in (backbone.trained(stored), backbone(images)):
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5)
        assert features.requires_grad is (trained_blocks > 0)


def test_chunks_change_nothing(monkeypatch):
    backbone, images = backbone_of("class token"), pixels(n=7)
    whole = backbone.frozen(images)
    monkeypatch.setattr(timm_backbone, "_CHUNK", 3)
    torch.testing.assert_close(backbone.frozen(images), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("kind", TOKEN_ONLY)
@pytest.mark.parametrize("trained_blocks", [1, 2])
def test_the_class_token_alone_has_the_features_and_gradients_of_all(
    kind, trained_blocks, dtype, tolerance
):
    backbone = backbone_of(kind, trained_blocks).to(dtype)
    assert backbone._token_only is not None
    plain = copy.deepcopy(backbone)
    plain._token_only = None
    stored = backbone.frozen(pixels(MODELS[kind][1].get("img_size", SIDE)).to(dtype))
    target = torch.linspace(-1, 1, backbone.feature_dim, dtype=dtype)
    features = []
    for model in (backbone, plain):
        features.append(model.trained(stored))
        (features[-1] @ target).square().sum().backward()
    torch.testing.assert_close(*features, rtol=tolerance, atol=tolerance)
    expected = {name: p.grad for name, p in plain.named_parameters() if p.requires_grad}
    assert max(gradient.abs().max() for gradient in expected.values()) > 0.1
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad:
            scale = max(expected[name].abs().max().item(), 1)
            torch.testing.assert_close(
                parameter.grad / scale, expected[name] / scale, rtol=0, atol=tolerance
            )


@pytest.mark.parametrize(
    "change",
    [
        {"qk_norm": True},
        {"proj_drop_rate": 0.1},
        {"drop_path_rate": 0.1},
        {"global_pool": "avg"},
        {"block_fn": timm.models.vision_transformer.ResPostBlock},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_blocks_and_pooling_are_computed_whole(change):
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0, img_size=SIDE, **change).eval()
    expected = model(normalised("class token", pixels()))
    backbone = TimmBackbone(model, model_input("test_vit", SIDE), 1).eval()
    assert backbone._token_only is None
    torch.testing.assert_close(backbone(pixels()), expected, rtol=1e-5, atol=1e-5)


# -- what is frozen --------------------------------------------------------------------------------

LAST = {"class token": "blocks.5", "ResNet": "layer4", "EfficientNet": "blocks.6"}


@pytest.mark.parametrize("kind", LAST)
def test_only_the_last_blocks_are_trained(kind):
    backbone = backbone_of(kind)
    assert backbone.trained_modules == [f"model.{LAST[kind]}"]
    own = {n for n, _ in backbone.named_parameters() if n.startswith(f"model.{LAST[kind]}.")}
    assert {n for n, p in backbone.named_parameters() if p.requires_grad} == own
    backbone.train()
    backbone(pixels(64)[:, :, :SIDE, :SIDE]).square().sum().backward()
    assert {n for n, p in backbone.named_parameters() if p.grad is not None} == own


@pytest.mark.parametrize("trained_blocks", range(7))
def test_the_number_of_trained_blocks(trained_blocks):
    trained = {
        n
        for n, p in backbone_of("class token", trained_blocks).named_parameters()
        if p.requires_grad
    }
    blocks = {int(name.split(".")[2]) for name in trained}
    assert blocks == set(range(6 - trained_blocks, 6))


@pytest.mark.parametrize("kind", ["ResNet", "EfficientNet"])
def test_frozen_batch_norms_keep_their_statistics(kind):
    backbone = backbone_of(kind).train()
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    backbone(pixels(64))
    changed = {n for n, b in backbone.named_buffers() if not torch.equal(b, before[n])}
    assert changed
    assert all(name.startswith(f"model.{LAST[kind]}.") for name in changed)
    assert not any(m.training for m in backbone.eval().modules())
    backbone.eval()(pixels(64))


def test_more_trained_blocks_than_there_are():
    expected = r"backbone\.trained_blocks is 7, but the model has 6 blocks or stages; 6 trains them"
    with pytest.raises(InputError, match=expected):
        backbone_of("class token", 7)


# -- what can be built -----------------------------------------------------------------------------


def test_weights_come_from_torchs_generator():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build_timm(settings(), SIDE).model.blocks[0].attn.qkv.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize(("side", "expected"), [(32, 5), (48, 10), (None, 101)])
def test_image_size_reaches_the_model(side, expected):
    backbone = build_timm(settings(), side)  # its own images have 160 pixels
    assert backbone.frozen(pixels(side or 160)).shape == (3, expected, 64)


def test_unknown_models():
    with pytest.raises(InputError, match=r"no model 'dino_vitb61'; did you mean 'dino_vit"):
        build_timm(settings(model="dino_vitb61"), SIDE)
    with pytest.raises(InputError, match=r"timm has no model '-' \(see timm\.list_models"):
        build_timm(settings(model="-"), SIDE)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            "pit_ti_224",
            r"cannot be cut into blocks \(it has no list of blocks, stages or layers\); choo",
        ),
        ("crossvit_tiny_240", r"cannot be (cut into blocks|built for images of side 32) \("),
        ("xcit_nano_12_p8_224", r"cannot be (cut into blocks|built for images of side 32) \("),
    ],
)
def test_models_that_are_no_chain_of_blocks(model, reason):
    with pytest.raises(InputError, match=rf"backbone\.model: {model} {reason}"):
        build_timm(settings(model=model), SIDE)


class Crooked(nn.Module):
    """A model whose blocks are no chain: a number is added between them, or after them."""

    def __init__(self, place: str):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(3))
        self.place = place

    def forward_features(self, x):
        for number, block in enumerate(self.blocks):
            if number == self.place:
                x = x + 1
            x = block(x, *self.more(number, x))
        return x * 2 if self.place == "end" else x

    def more(self, number, x):
        return ()

    def forward_head(self, x):
        return x.mean((2, 3))


@pytest.mark.parametrize("place", [2, "end"])
def test_a_chain_that_is_broken_is_found(place):
    own = model_input("test_vit", SIDE)
    assert TimmBackbone(Crooked(0), own, 2).feature_dim == 3  # before the cut it does not matter
    with pytest.raises(timm_backbone.CannotBeCut, match="is not what comes next"):
        TimmBackbone(Crooked(place), own, 2)


def test_image_size_that_patches_do_not_fill():
    with pytest.raises(InputError, match=r"image_size is 40, no multiple of the 16 pixels"):
        build_timm(settings(), 40)


@pytest.mark.parametrize(("kind", "side"), [("EfficientNet", 96), ("Swin", SIDE)])
def test_pooled_features_get_their_gradient_in_their_own_layout(kind, side):
    """Otherwise, a CPU takes several times as long for the batch norm before them."""
    backbone, seen = backbone_of(kind), []
    last = backbone.model.get_submodule(backbone._calls[-1].name)
    last.register_full_backward_pre_hook(lambda module, gradients: seen.append(gradients[0]))
    last.register_forward_hook(lambda module, args, output: seen.append(output))
    backbone(pixels(side)).square().sum().backward()
    features, gradient = seen
    assert min(features.shape) > 1  # else, all layouts are one
    assert gradient.stride() == features.stride()
