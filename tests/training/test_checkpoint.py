"""Checkpoints: bitwise round trips, what is stored, and what is refused."""

import copy
import json

import pytest
import safetensors.torch
import timm
import torch
from example_files import stepped
from gcdflow.config.runs import validated
from gcdflow.config.settings import TrainSettings
from gcdflow.errors import InputError
from gcdflow.files.atomic import canonical_json, sha256_file
from gcdflow.training.checkpoint import (
    FORMAT,
    Checkpoint,
    fingerprint,
    frozen_in_file,
    frozen_sha256,
    identified,
    located,
    restore_model,
    stored_weights,
)

SPLIT = "5" * 64


def assert_equal(a, b):
    """Equal to the last bit, through all dictionaries and lists."""
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_equal(one, other)
    else:
        assert a == b


def changed(settings: TrainSettings, **sections) -> TrainSettings:
    values = settings.model_dump()
    for name, value in sections.items():
        values[name] = values[name] | value if isinstance(values[name], dict) else value
    return validated(TrainSettings, values, "changed")


# -- writing and reading ---------------------------------------------------------------------------


def test_round_trip_is_bitwise(tmp_path, tiny_settings):
    model, checkpoint = stepped(
        tiny_settings,
        prototypes=torch.rand(3, 6),
        pseudo_sha256="7" * 64,
        rolling={"key": "x", "first_epoch": 1, "speeds": {1: 2.5}},
        history={1: {"L_total": 0.1, "gamma": 0.0}},
    )
    checkpoint.save(tmp_path / "c.pt")
    loaded = Checkpoint.load(tmp_path / "c.pt")
    assert_equal(vars(loaded), vars(checkpoint))
    assert loaded.fingerprint == checkpoint.fingerprint
    restored = restore_model(tmp_path / "c.pt", loaded)
    assert_equal(dict(restored.state_dict()), dict(model.state_dict()))
    images = torch.rand(2, 1, 8, 8)
    model.eval()
    restored.eval()
    assert torch.equal(model(images), restored(images))
    assert torch.linalg.norm(model(images), dim=1).allclose(torch.ones(2))


def test_optimizer_goes_on_as_if_nothing_had_happened(tmp_path, tiny_settings):
    _, checkpoint = stepped(tiny_settings)
    checkpoint.save(tmp_path / "c.pt")
    results = []
    for source in (checkpoint, Checkpoint.load(tmp_path / "c.pt")):
        model = restore_model("c.pt", source)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        optimizer.load_state_dict(copy.deepcopy(source.optimizer))
        torch.manual_seed(1)
        model(torch.rand(4, 1, 8, 8))[:, 0].sum().backward()
        optimizer.step()
        results.append(dict(model.state_dict()))
    assert_equal(*results)
    assert not torch.equal(results[0]["head.mlp.0.weight"], checkpoint.weights["head.mlp.0.weight"])


def test_equal_states_give_equal_bytes(tmp_path, tiny_settings):
    for name in ("one.pt", "two_of_another_name.pt"):
        stepped(tiny_settings, rolling={"key": "x"})[1].save(tmp_path / name)
    Checkpoint.load(tmp_path / "one.pt").save(tmp_path / "loaded.pt")
    restored = restore_model("", loaded := Checkpoint.load(tmp_path / "one.pt"))
    loaded.weights = stored_weights(restored, tiny_settings)
    loaded.save(tmp_path / "restored.pt")
    expected = (tmp_path / "one.pt").read_bytes()
    for name in ("two_of_another_name.pt", "loaded.pt", "restored.pt"):
        assert (tmp_path / name).read_bytes() == expected, name
    stepped(tiny_settings, seed=1)[1].save(tmp_path / "one.pt")
    assert (tmp_path / "one.pt").read_bytes() != expected


def test_fingerprint(tiny_settings):
    base = fingerprint(tiny_settings, SPLIT)
    assert base == fingerprint(changed(tiny_settings), SPLIT)
    assert base != fingerprint(tiny_settings, "6" * 64)
    assert base != fingerprint(changed(tiny_settings, training={"lr": 0.2}), SPLIT)


def test_a_key_that_asks_for_nothing_is_no_part_of_a_fingerprint(tiny_settings):
    """Trainings from before there was the key go on, and none of their files is made again."""
    assert "min_steps" not in canonical_json(tiny_settings.model_dump())
    asked = changed(tiny_settings, training={"min_steps": 9})
    assert asked.model_dump()["training"]["min_steps"] == 9
    assert fingerprint(tiny_settings, SPLIT) != fingerprint(asked, SPLIT)
    checkpoint = stepped(tiny_settings)[1]
    checkpoint.check_continues("c.pt", tiny_settings, checkpoint.split_sha256)
    with pytest.raises(InputError, match=r"trained with training\.min_steps = None, now it is 9"):
        checkpoint.check_continues("c.pt", asked, checkpoint.split_sha256)


# -- refusing to read ------------------------------------------------------------------------------


def test_missing_and_broken_files(tmp_path, tiny_settings):
    path = tmp_path / "c.pt"
    with pytest.raises(InputError, match=r"c\.pt: no such checkpoint"):
        Checkpoint.load(path)
    stepped(tiny_settings)[1].save(path)
    content = path.read_bytes()
    for broken in (b"", b"hello", content[: len(content) // 2], content[:-10]):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"can be read safely \(.*\); delete it to train it"):
            Checkpoint.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: [1], "not a checkpoint of this project"),
        (lambda v: {"state_dict": {}}, "not a checkpoint of this project"),
        (lambda v: v | {"more": 1}, "not a checkpoint of this project"),
        (lambda v: v | {"format": FORMAT + 1}, "written by another version of this project"),
        (lambda v: {"format": FORMAT + 1, "state": 2}, "written by another version"),
        (lambda v: v | {"split_sha256": "0" * 64}, "fingerprint does not fit the settings"),
        (lambda v: v | {"settings": "{}"}, "key 'seed' is {}: field required"),
    ],
)
def test_other_content(tmp_path, tiny_settings, change, message):
    path = tmp_path / "c.pt"
    stepped(tiny_settings)[1].save(path)
    torch.save(change(torch.load(path, weights_only=True)), path)
    with pytest.raises(InputError, match=rf"c\.pt: .*{message}"):
        Checkpoint.load(path)


def test_weights_of_another_model(tmp_path, tiny_settings):
    _, checkpoint = stepped(tiny_settings)
    wider = changed(tiny_settings, backbone={"width": 3})
    with pytest.raises(InputError, match=r"c\.pt: the stored weights do not fit the model"):
        restore_model("c.pt", Checkpoint(**(vars(checkpoint) | {"settings": wider})))
    checkpoint.weights.popitem()
    with pytest.raises(InputError, match=r"c\.pt: the stored weights do not fit the model"):
        restore_model("c.pt", checkpoint)


# -- going on --------------------------------------------------------------------------------------


def test_check_continues(tiny_settings):
    _, checkpoint = stepped(tiny_settings)
    checkpoint.check_continues("c.pt", tiny_settings, SPLIT)
    with pytest.raises(InputError, match=r"c\.pt: was trained on another split\.npz"):
        checkpoint.check_continues("c.pt", tiny_settings, "6" * 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {"lr": 0.3}}, r"training\.lr = 0\.1, now it is 0\.3; restore the setting or"),
        ({"seed": 5}, "seed = 0, now it is 5"),
        ({"total_epochs": 12}, "total_epochs = 10, now it is 12"),
        ({"augmentation": {"elastic": 0.5}}, r"augmentation\.elastic = 0\.\d+, now it is 0\.5"),
        ({"head": {"out_dim": 7}}, r"head\.out_dim = 6, now it is 7"),
    ],
)
def test_another_setting_is_named(tiny_settings, change, message):
    _, checkpoint = stepped(tiny_settings)
    with pytest.raises(InputError, match=rf"c\.pt: was trained with {message}"):
        checkpoint.check_continues("c.pt", changed(tiny_settings, **change), SPLIT)


def test_pseudo_settings_may_join_a_warm_up_but_not_change(tiny_settings):
    guided = changed(tiny_settings, warmup_epochs=5, pseudo={"loss": "supcon"})
    other = changed(guided, pseudo={"loss": "prototypical"})
    _, warm = stepped(tiny_settings)
    warm.check_continues("c.pt", guided, SPLIT)
    warm.check_continues("c.pt", other, SPLIT)
    _, checkpoint = stepped(guided)
    checkpoint.check_continues("c.pt", guided, SPLIT)
    expected = r"pseudo\.loss = supcon, now it is prototypical"
    with pytest.raises(InputError, match=expected):
        checkpoint.check_continues("c.pt", other, SPLIT)
    with pytest.raises(InputError, match=r"warmup_epochs = 5, now it is 6"):
        checkpoint.check_continues("c.pt", changed(guided, warmup_epochs=6), SPLIT)
    with pytest.raises(InputError, match=r"was trained with pseudo\.\w+ = "):
        checkpoint.check_continues("c.pt", tiny_settings, SPLIT)


# -- frozen weights --------------------------------------------------------------------------------


@pytest.fixture
def vit_settings(tmp_path, tiny_settings) -> TrainSettings:
    """A tiny ViT of six blocks, of which the last is trained, with a weight file."""
    torch.manual_seed(3)
    vit = timm.create_model("test_vit", num_classes=0, img_size=32)
    safetensors.torch.save_file(vit.state_dict(), tmp_path / "vit.safetensors")
    backbone = {
        "name": "timm",
        "model": "test_vit",
        "weights": str(tmp_path / "vit.safetensors"),
    }
    values = tiny_settings.model_dump()
    values |= {
        "augmentation": {"name": "crop", "image_size": 32, "resize": 32},
        "backbone": backbone,
    }
    return validated(TrainSettings, values, "here")


def test_frozen_weights_of_a_file_are_not_stored(tmp_path, vit_settings):
    model, checkpoint = stepped(vit_settings)
    frozen = frozen_in_file(model, vit_settings)
    assert frozen == {
        name
        for name in model.state_dict()
        if name.startswith("backbone.") and ".blocks.5." not in name
    }
    assert checkpoint.weights.keys() == model.state_dict().keys() - frozen
    assert checkpoint.frozen_sha256 == sha256_file(tmp_path / "vit.safetensors")
    checkpoint.save(tmp_path / "c.pt")
    torch.manual_seed(99)
    path = tmp_path / "c.pt"
    restored = restore_model(path, Checkpoint.load(path), tmp_path / "vit.safetensors")
    assert_equal(dict(restored.state_dict()), dict(model.state_dict()))
    trained = {n for n, p in restored.named_parameters() if p.requires_grad}
    assert trained == {n for n, p in model.named_parameters() if p.requires_grad}


def test_statistics_of_trained_stages_are_stored(tmp_path, vit_settings):
    torch.manual_seed(3)
    resnet = timm.create_model("test_resnet", num_classes=0)
    safetensors.torch.save_file(resnet.state_dict(), tmp_path / "r.safetensors")
    backbone = {"model": "test_resnet", "weights": str(tmp_path / "r.safetensors")}
    model, checkpoint = stepped(changed(vit_settings, backbone=backbone))
    changed_buffers = {
        f"backbone.model.{name}"
        for name, buffer in model.backbone.model.named_buffers()
        if not torch.equal(buffer, resnet.get_buffer(name))
    }
    assert any(name.endswith("running_var") for name in changed_buffers)
    assert changed_buffers <= checkpoint.weights.keys()
    stored = {name for name in checkpoint.weights if name.startswith("backbone.")}
    assert all(name.startswith("backbone.model.layer4.") for name in stored)


def test_weights_that_moved_are_the_same_setting(tmp_path, vit_settings):
    model, checkpoint = stepped(vit_settings)
    checkpoint.save(tmp_path / "c.pt")
    moved = tmp_path / "elsewhere.safetensors"
    (tmp_path / "vit.safetensors").rename(moved)
    there = located(vit_settings, moved)
    assert there.backbone.weights == str(moved)
    again = identified(there, frozen_sha256(there))
    assert again == checkpoint.settings
    loaded = Checkpoint.load(tmp_path / "c.pt")
    loaded.check_continues("c.pt", again, SPLIT)
    assert_equal(dict(restore_model("c.pt", loaded, moved).state_dict()), dict(model.state_dict()))
    with pytest.raises(InputError, match=rf"file with sha256:{loaded.frozen_sha256[:12]}… is"):
        restore_model("c.pt", loaded)
    other = identified(there, "0" * 64)
    with pytest.raises(InputError, match=r"backbone\.weights = sha256:\w+…, now it is sha256:000"):
        loaded.check_continues("c.pt", other, SPLIT)
    random = changed(vit_settings, backbone={"weights": "random"})
    assert located(random, moved) == identified(random, None) == random


def test_without_a_file_all_weights_are_stored(tmp_path, vit_settings):
    settings = changed(vit_settings, backbone={"weights": "random"})
    model, checkpoint = stepped(settings)
    assert checkpoint.weights.keys() == model.state_dict().keys()
    assert checkpoint.frozen_sha256 is None
    torch.manual_seed(99)
    assert_equal(dict(restore_model("", checkpoint).state_dict()), dict(model.state_dict()))


def test_another_weight_file_is_refused(tmp_path, vit_settings):
    _, checkpoint = stepped(vit_settings)
    state = safetensors.torch.load_file(tmp_path / "vit.safetensors")
    state["cls_token"] += 1
    safetensors.torch.save_file(state, tmp_path / "vit.safetensors")
    expected = (
        rf"vit\.safetensors: not the weight file that c\.pt was .* {checkpoint.frozen_sha256[:9]}"
    )
    with pytest.raises(InputError, match=expected):
        restore_model("c.pt", checkpoint, tmp_path / "vit.safetensors")


def test_missing_weight_file_is_named(tmp_path, vit_settings):
    _, checkpoint = stepped(vit_settings)
    (tmp_path / "vit.safetensors").unlink()
    weights = tmp_path / "vit.safetensors"
    for call in (
        lambda: restore_model("c.pt", checkpoint, weights),
        lambda: frozen_sha256(vit_settings),
    ):
        with pytest.raises(
            InputError, match=r"no file at .*vit\.safetensors; put the weights there"
        ):
            call()
    foreign = changed(vit_settings, backbone={"weights": "x/vit.pth"})
    expected = r"no file at (weights/converted/vit\.safetensors); `snakemake \1` makes it"
    with pytest.raises(InputError, match=expected):
        frozen_sha256(foreign)


def test_settings_are_stored_as_text(tmp_path, tiny_settings):
    """So that a checkpoint is readable without this project, and holds plain values only."""
    stepped(tiny_settings)[1].save(tmp_path / "c.pt")
    values = torch.load(tmp_path / "c.pt", weights_only=True)
    assert json.loads(values["settings"]) == tiny_settings.model_dump()
