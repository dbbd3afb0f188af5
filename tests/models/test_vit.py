"""Vision transformers: what is frozen, whose weights fit, and what is said where they do not."""

import argparse
import errno

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from gcdflow.config.settings import ViTSettings
from gcdflow.errors import InputError
from gcdflow.models import vit as module
from gcdflow.models.vit import ALIASES, ViT, build_vit, download_weights, load_weights

BLOCKS, SIDE = 6, 32


def tiny(seed: int = 0, side: int = SIDE, **changes) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_vit", **({"num_classes": 0, "img_size": side} | changes))


def settings(**changes) -> ViTSettings:
    return ViTSettings(
        **({"model": "test_vit", "weights": "random", "grad_from_block": BLOCKS} | changes)
    )


def pixels(n: int = 2, side: int = SIDE) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, side, side), generator=generator, dtype=torch.uint8)


# -- the model -------------------------------------------------------------------------------------


def test_features_are_the_normed_class_token_of_normalised_images():
    vit = tiny().eval()
    images = (pixels().float() / 255 - 0.5) / 0.5  # what timm says of this model
    expected = vit.forward_features(images)[:, 0]
    backbone = ViT(vit, BLOCKS).eval()
    assert backbone.feature_dim == expected.shape[1] == 64
    torch.testing.assert_close(backbone(pixels()), expected)


@pytest.mark.parametrize("name", ["dino_vitb16", "dinov2_vitb14"])
def test_published_models_are_normalised_as_imagenet(name):
    source = timm.get_pretrained_cfg(ALIASES[name])
    assert source.mean == (0.485, 0.456, 0.406)
    assert source.std == (0.229, 0.224, 0.225)


def test_every_alias_is_a_model_with_weights_on_the_hub():
    for alias, name in ALIASES.items():
        assert timm.is_model(name), alias
        assert timm.get_pretrained_cfg(name).hf_hub_id, alias


@pytest.mark.parametrize("first", range(BLOCKS + 1))
def test_only_blocks_from_grad_from_block_are_trained(first):
    backbone = ViT(tiny(), first)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    expected = {
        name
        for name, _ in backbone.named_parameters()
        if any(f".blocks.{block}." in name for block in range(first, BLOCKS))
    }
    assert trained == expected
    if first < BLOCKS:
        backbone(pixels()).square().sum().backward()
        assert {name for name, p in backbone.named_parameters() if p.grad is not None} == expected


def test_more_frozen_blocks_than_there_are():
    expected = r"backbone\.grad_from_block is 7, but the model has 6 blocks; 6 freezes them all"
    with pytest.raises(InputError, match=expected):
        ViT(tiny(), BLOCKS + 1)


def test_weights_come_from_torchs_generator():
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(build_vit(settings(), SIDE).vit.blocks[0].attn.qkv.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("side", [32, 48])
def test_image_size_reaches_the_model(side):
    assert build_vit(settings(), side)(pixels(1, side)).shape == (1, 64)


def test_unknown_models():
    with pytest.raises(InputError, match=r"timm has no model 'dino_vitb61'; did you mean dino_vit"):
        build_vit(settings(model="dino_vitb61"), SIDE)
    with pytest.raises(InputError, match=r"timm has no model '-' \(see timm\.list_models"):
        build_vit(settings(model="-"), SIDE)


@pytest.mark.parametrize(
    "model", ["resnet18", "test_convnext", "crossvit_tiny_240", "xcit_nano_12_p8_224"]
)
def test_models_that_are_no_vision_transformers(model):
    with pytest.raises(InputError, match=rf"backbone\.model: {model} cannot be built as a plain"):
        build_vit(settings(model=model), 224)


def test_image_size_that_patches_do_not_fill():
    with pytest.raises(InputError, match=r"image_size is 40, no multiple of the 16 pixels"):
        build_vit(settings(), 40)


# -- weight files ----------------------------------------------------------------------------------


def dino_teacher(state):
    """A full training checkpoint of DINO."""
    wrapped = {f"backbone.{k}": v for k, v in state.items()}
    wrapped["head.mlp.0.weight"] = torch.zeros(3, 64)
    student = {f"module.{k}": v + 1 for k, v in wrapped.items()}
    args = argparse.Namespace(arch="vit_tiny", lr=0.1)
    return {"student": student, "teacher": wrapped, "epoch": 3, "args": args}


FORMATS = {
    "plain": lambda state: state,
    "module": lambda state: {f"module.{k}": v for k, v in state.items()},
    "backbone": lambda state: {f"backbone.{k}": v for k, v in state.items()},
    "module.backbone": lambda state: {f"module.backbone.{k}": v for k, v in state.items()},
    "teacher.backbone": lambda state: {f"teacher.backbone.{k}": v for k, v in state.items()},
    "DINO's full checkpoint": dino_teacher,
    "DINOv2": lambda state: state | {"mask_token": torch.zeros(1, 64)},
    "classifier": lambda state: state | {"head.weight": torch.zeros(5, 64)},
    "state_dict": lambda state: {"state_dict": state, "epoch": 1},
    "half precision": lambda state: {k: v.half() for k, v in state.items()},
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_weight_files(tmp_path, name):
    expected = {k: v.half().float() for k, v in tiny(seed=7).state_dict().items()}
    torch.save(FORMATS[name](expected), tmp_path / "w.pth")
    backbone = build_vit(settings(weights=str(tmp_path / "w.pth"), grad_from_block=3), SIDE)
    found = backbone.vit.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_safetensors(tmp_path):
    expected = tiny(seed=7).state_dict()
    safetensors.torch.save_file(expected, tmp_path / "w.any")
    backbone = build_vit(settings(weights=str(tmp_path / "w.any")), SIDE)
    for key, value in expected.items():
        assert torch.equal(backbone.vit.state_dict()[key], value), key


def test_position_embeddings_are_interpolated(tmp_path):
    state = tiny(seed=7, side=64).state_dict()  # 4 × 4 patches, here 2 × 2
    ramp = torch.arange(16.0).reshape(1, 16, 1).expand(1, 16, 64)
    state["pos_embed"] = torch.cat([torch.full((1, 1, 64), 9.0), ramp], dim=1)
    torch.save(state, tmp_path / "w.pth")
    vit = tiny()
    load_weights(vit, tmp_path / "w.pth")
    embedding = vit.pos_embed.detach()[0]
    cls, patches = embedding[0], embedding[1:].reshape(2, 2, 64)
    assert (cls == 9).all()
    assert patches.mean() == pytest.approx(7.5, abs=1e-4)
    steps = (patches[1, 0] - patches[0, 0]).mean(), (patches[0, 1] - patches[0, 0]).mean()
    assert steps[0] / steps[1] == pytest.approx(4, rel=1e-3)  # a row holds four patches
    assert 1.5 < steps[1] < 2.5


def write(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_weights_that_do_not_fit(tmp_path):
    state = tiny(seed=7).state_dict()
    less = {k: v for k, v in state.items() if k not in ("cls_token", "norm.weight")}
    with pytest.raises(InputError, match=r"\(missing keys: cls_token, norm\.weight; unexpected k"):
        load_weights(tiny(), write(tmp_path, less))
    with pytest.raises(InputError, match=r"unexpected keys: blocks\.6\.x; other shapes: none"):
        load_weights(tiny(), write(tmp_path, state | {"blocks.6.x": torch.zeros(1)}))
    with pytest.raises(InputError, match=r"other shapes: norm\.bias \(3,\) for \(64,\)\)"):
        load_weights(tiny(), write(tmp_path, state | {"norm.bias": torch.zeros(3)}))
    with pytest.raises(InputError, match=r"w\.pth: does not fit the backbone \(.*\)"):
        load_weights(tiny(), write(tmp_path, state | {"pos_embed": torch.zeros(2)}))
    other = timm.create_model("test_vit2", num_classes=0, img_size=SIDE).state_dict()
    with pytest.raises(InputError, match=r"missing keys: .* and \d+ more"):
        load_weights(tiny(), write(tmp_path, other | {"blocks.0.norm1.weight": torch.zeros(1)}))


def test_weights_of_another_patch_size_are_refused(tmp_path):
    """timm would resample them: dino_vitb8's weights would pass for dino_vitb16's."""
    state = tiny(patch_size=8).state_dict()
    with pytest.raises(
        InputError, match=r"patches of 8 × 8 pixels, the backbone has 16 × 16; name"
    ):
        load_weights(tiny(), write(tmp_path, state))


def test_the_last_block_is_trained_where_nobody_says_which():
    backbone = build_vit(settings(grad_from_block=None), SIDE)
    trained = {name for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained
    assert all(".blocks.5." in name for name in trained)


def test_nothing_is_loaded_from_weights_that_do_not_fit(tmp_path):
    state = tiny(seed=7).state_dict()
    del state["norm.bias"]
    vit = tiny()
    before = vit.cls_token.clone()
    with pytest.raises(InputError):
        load_weights(vit, write(tmp_path, state))
    assert torch.equal(vit.cls_token, before)


class Payload:
    """An object whose unpickling would create a file."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return open, (self._path, "w")


def test_payloads_are_not_run(tmp_path):
    trap = tmp_path / "executed"
    path = write(tmp_path, {"cls_token": Payload(trap)})
    with pytest.raises(InputError, match=r"w\.pth: not a weight file that can be read safely"):
        load_weights(tiny(), path)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08" + 7 * b"\0" + b"{", b"PK\3\4"])
def test_files_that_are_no_weights(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: not a weight file that can be read safely"):
        load_weights(tiny(), tmp_path / "w.pth")


@pytest.mark.parametrize("value", [{"epoch": 3}, torch.zeros(1), {}, {"teacher": {"a": 1}}])
def test_files_without_a_state_dict(tmp_path, value):
    with pytest.raises(InputError, match=r"expected a state dict \(names to tensors\)"):
        load_weights(tiny(), write(tmp_path, value))


def test_listing_is_short():
    assert module._listed([]) == "none"
    assert module._listed(list("abc")) == "a, b, c"
    assert module._listed(list("abcde"), most=3) == "a, b, c and 2 more"


# -- the hub ---------------------------------------------------------------------------------------


def test_download_goes_to_its_place(tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(1000)

    def fetch(repository, filename):
        assert (repository, filename) == ("timm/vit_base_patch16_224.dino", "model.safetensors")
        (tmp_path / "cached").write_bytes(content)
        return str(tmp_path / "cached")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    download_weights("dino_vitb16", tmp_path / "weights" / "w.safetensors")
    assert (tmp_path / "weights" / "w.safetensors").read_bytes() == content


def test_download_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    def fetch(repository, filename, cache_dir=None):
        if cache_dir is None:
            raise OSError(errno.EROFS, "Read-only file system")
        path = module.Path(cache_dir, filename)
        path.write_bytes(b"weights")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    download_weights("dino_vitb16", tmp_path / "weights" / "w.safetensors")
    (path,) = (tmp_path / "weights").iterdir()
    assert path.name == "w.safetensors"
    assert path.read_bytes() == b"weights"


def test_without_network_one_sentence_says_which_file_to_put_where(tmp_path, monkeypatch):
    def fetch(repository, filename):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    expected = (
        r"model\.safetensors of timm/vit_base_patch16_224\.dino cannot be downloaded .*; put that "
        r"file at weights/dino_vitb16\.safetensors, or name the official file "
        r"\(https://dl\.fbai.*_pretrain\.pth\)"
    )
    with pytest.raises(InputError, match=expected):
        download_weights("dino_vitb16", module.Path("w/x.safetensors"))


@pytest.mark.parametrize("model", ["no_such_model", "test_vit4"])
def test_models_without_weights_on_the_hub(tmp_path, monkeypatch, model):
    monkeypatch.setattr(timm, "get_pretrained_cfg", lambda name: None)
    with pytest.raises(InputError, match=rf"timm has no pretrained weights of '{model}'"):
        download_weights(model, tmp_path / "w")
