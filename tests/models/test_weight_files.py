"""Pretrained weights: which files fit, what is said where they do not, and where they come from."""

import argparse
import errno

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from gcdflow.config.settings import CropAugmentation, TimmSettings
from gcdflow.data.augmentation import build_augmentation
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.models import packaged
from gcdflow.models import weights as module
from gcdflow.models.timm_backbone import build_timm
from gcdflow.models.timm_models import model_input, resolved_crop
from gcdflow.models.weights import convert_weights, fetch_weights, load_weights
from sklearn.datasets import load_sample_image

SIDE = 32


def tiny(seed: int = 0, side: int = SIDE, **changes) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_vit", **({"num_classes": 0, "img_size": side} | changes))


def write(tmp_path, state):
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


# -- safetensors -----------------------------------------------------------------------------------


def test_safetensors_are_used_as_they_are(tmp_path):
    expected = tiny(seed=7).state_dict()
    path = write(tmp_path, expected)
    backbone = build_timm(TimmSettings(model="test_vit", weights=str(path)), SIDE)
    for key, value in expected.items():
        assert torch.equal(backbone.model.state_dict()[key], value), key


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_convnext"])
def test_classifiers_of_other_models_are_left_over(tmp_path, model):
    torch.manual_seed(7)
    state = timm.create_model(model).state_dict()
    assert any(key.startswith(("fc.", "classifier.", "head.fc")) for key in state)
    without = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    backbone = build_timm(TimmSettings(model=model, weights=str(write(tmp_path, without))), SIDE)
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_position_embeddings_are_interpolated(tmp_path):
    state = tiny(seed=7, side=64).state_dict()  # 4 × 4 patches, here 2 × 2
    ramp = torch.arange(16.0).reshape(1, 16, 1).expand(1, 16, 64)
    state["pos_embed"] = torch.cat([torch.full((1, 1, 64), 9.0), ramp], dim=1)
    vit = tiny()
    load_weights(vit, write(tmp_path, state))
    embedding = vit.pos_embed.detach()[0]
    cls, patches = embedding[0], embedding[1:].reshape(2, 2, 64)
    assert (cls == 9).all()
    assert patches.mean() == pytest.approx(7.5, abs=1e-4)
    steps = (patches[1, 0] - patches[0, 0]).mean(), (patches[0, 1] - patches[0, 0]).mean()
    assert steps[0] / steps[1] == pytest.approx(4, rel=1e-3)  # a row holds four patches
    assert 1.5 < steps[1] < 2.5


def test_weights_that_do_not_fit(tmp_path):
    state = tiny(seed=7).state_dict()
    less = {k: v for k, v in state.items() if k not in ("cls_token", "norm.weight")}
    with pytest.raises(InputError, match=r"\(missing keys: cls_token, norm\.weight; unexpected k"):
        load_weights(tiny(), write(tmp_path, less))
    with pytest.raises(InputError, match=r"unexpected keys: blocks\.6\.x; other shapes: none"):
        load_weights(tiny(), write(tmp_path, state | {"blocks.6.x": torch.zeros(1)}))
    with pytest.raises(InputError, match=r"other shapes: norm\.bias \(3,\) for \(64,\)\)"):
        load_weights(tiny(), write(tmp_path, state | {"norm.bias": torch.zeros(3)}))
    with pytest.raises(InputError, match=r"w\.safetensors: does not fit the backbone \(.*\)"):
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


def test_nothing_is_loaded_from_weights_that_do_not_fit(tmp_path):
    state = tiny(seed=7).state_dict()
    del state["norm.bias"]
    vit = tiny()
    before = vit.cls_token.clone()
    with pytest.raises(InputError):
        load_weights(vit, write(tmp_path, state))
    assert torch.equal(vit.cls_token, before)


# -- files of PyTorch ------------------------------------------------------------------------------


def saved(tmp_path, state):
    torch.save(state, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def dino_teacher(state, width=64):
    """A full training checkpoint of DINO."""
    wrapped = {f"backbone.{k}": v for k, v in state.items()}
    wrapped["head.mlp.0.weight"] = torch.zeros(3, width)
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
    convert_weights(saved(tmp_path, FORMATS[name](expected)), tmp_path / "w.safetensors")
    vit = tiny()
    load_weights(vit, tmp_path / "w.safetensors")
    found = vit.state_dict()
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_conversions_of_equal_tensors_are_equal(tmp_path):
    state = tiny(seed=7).state_dict()
    convert_weights(saved(tmp_path, state), tmp_path / "a.safetensors")
    turned = {k: v.t().contiguous().t() if v.ndim == 2 else v for k, v in state.items()}
    convert_weights(saved(tmp_path, {"teacher": turned}), tmp_path / "b.safetensors")
    convert_weights(tmp_path / "a.safetensors", tmp_path / "c.safetensors")
    contents = {(tmp_path / f"{name}.safetensors").read_bytes() for name in "abc"}
    assert len(contents) == 1


def test_training_reads_no_file_of_pytorch(tmp_path):
    path = saved(tmp_path, tiny().state_dict())
    with pytest.raises(
        InputError, match=r"w\.pth: not a safetensors file .*; the stage `weights` con"
    ):
        load_weights(tiny(), path)


def test_a_full_checkpoint_of_a_resnet(tmp_path):
    """DINO's ResNet-50 has the names of torchvision, which are timm's."""
    torch.manual_seed(7)
    state = timm.create_model("test_resnet").state_dict()
    convert_weights(saved(tmp_path, dino_teacher(state, width=96)), tmp_path / "w.safetensors")
    settings = TimmSettings(model="test_resnet", weights=str(tmp_path / "w.safetensors"))
    own = build_timm(settings, SIDE).model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_dinos_resnet_comes_from_a_file_only(tmp_path):
    expected = r"no pretrained weights of 'dino_resnet50'; name https://dl.*resnet50_pretrain\.pth"
    with pytest.raises(InputError, match=expected):
        fetch_weights("dino_resnet50", tmp_path / "w")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08" + 7 * b"\0" + b"{", b"PK\3\4"])
def test_files_that_are_no_weights(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth: not a weight file that can be read safely"):
        convert_weights(tmp_path / "w.pth", tmp_path / "out")


@pytest.mark.parametrize("value", [{"epoch": 3}, torch.zeros(1), {}, {"teacher": {"a": 1}}])
def test_files_without_a_state_dict(tmp_path, value):
    with pytest.raises(InputError, match=r"expected a state dict \(names to tensors\)"):
        convert_weights(saved(tmp_path, value), tmp_path / "out")


# -- in the box ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    path = tmp_path_factory.mktemp("box") / "w.safetensors"
    fetch_weights("efficientnet_lite0", path)
    return path


def test_the_packaged_file_is_the_known_one(box, monkeypatch, tmp_path):
    assert sha256_file(packaged.packaged_file()) == packaged.SHA256
    (tmp_path / "x.pth").write_bytes(b"x")
    monkeypatch.setattr(packaged, "packaged_file", lambda: tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: not the file of version 0\.1\.0 .*SHA-256 5793"):
        fetch_weights("efficientnet_lite0", tmp_path / "w.safetensors")
    monkeypatch.undo()
    monkeypatch.setattr(packaged, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="package no-such-package with the weights of efficientn"):
        fetch_weights("efficientnet_lite0", tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_packaged_tensors_have_timms_order_and_shapes(box):
    own = timm.create_model(packaged.MODEL).state_dict()
    state = safetensors.torch.load_file(box)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}
    model = timm.create_model(packaged.MODEL)
    content = packaged.load_torch_file(packaged.packaged_file(), legacy=True)
    names = list(content)
    swapped = {names[1]: content[names[1]], **content}  # bias before weight
    for wrong in (swapped, dict(list(content.items())[:-1])):
        with pytest.raises(ValueError, match="are not those of the model"):
            packaged.under_timms_names(wrong, model)


def test_packaged_weights_see_a_daisy_and_a_palace(box):
    """ImageNet's classes 985 and 698, on two pictures that scikit-learn brings.

    Only this test would notice if layers of equal shapes changed their order in timm.
    """
    model = timm.create_model(packaged.MODEL).eval()
    model.load_state_dict(safetensors.torch.load_file(box))
    augmentation = build_augmentation(resolved_crop(CropAugmentation(), "efficientnet_lite0"))
    images = [load_sample_image(name).copy() for name in ("flower.jpg", "china.jpg")]
    own = model_input("efficientnet_lite0")
    mean, std = (torch.tensor(values)[:, None, None] for values in (own.mean, own.std))
    views = augmentation.evaluation_view(augmentation.prepare(images))
    with torch.no_grad():
        classes = model((views / 255 - mean) / std).softmax(1)
    assert classes.argmax(1).tolist() == [985, 698]
    assert (classes.amax(1) > 0.25).all()


def test_a_backbone_begins_with_the_packaged_weights(box):
    backbone = build_timm(TimmSettings(model="efficientnet_lite0", weights=str(box)), None)
    state = safetensors.torch.load_file(box)
    for key, value in backbone.model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert backbone.feature_dim == 1280


# -- the hub ---------------------------------------------------------------------------------------


def test_download_goes_to_its_place(tmp_path, monkeypatch):
    content = np.random.default_rng(0).bytes(1000)

    def fetch(repository, filename):
        assert (repository, filename) == ("timm/vit_base_patch16_224.dino", "model.safetensors")
        (tmp_path / "cached").write_bytes(content)
        return str(tmp_path / "cached")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    fetch_weights("dino_vitb16", tmp_path / "weights" / "w.safetensors")
    assert (tmp_path / "weights" / "w.safetensors").read_bytes() == content


def test_download_where_the_cache_cannot_be_written(tmp_path, monkeypatch):
    def fetch(repository, filename, cache_dir=None):
        if cache_dir is None:
            raise OSError(errno.EROFS, "Read-only file system")
        path = module.Path(cache_dir, filename)
        path.write_bytes(b"weights")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    fetch_weights("dino_vitb16", tmp_path / "weights" / "w.safetensors")
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
        fetch_weights("dino_vitb16", module.Path("w/x.safetensors"))


def test_models_without_weights_on_the_hub(tmp_path):
    with pytest.raises(InputError, match=r"timm has no pretrained weights of 'botnet50ts_256'"):
        fetch_weights("botnet50ts_256", tmp_path / "w")
    with pytest.raises(InputError, match=r"backbone\.model: timm has no model 'no_such_model'"):
        fetch_weights("no_such_model", tmp_path / "w")
