"""Names of models, and the images that their weights were made for."""

import pytest
import timm
from gcdflow.config.settings import CropAugmentation
from gcdflow.errors import InputError
from gcdflow.models.backbones import augmentation_of
from gcdflow.models.timm_models import ALIASES, OFFICIAL_FILES, model_input, resolved_crop


def test_every_alias_is_a_model_with_weights():
    for alias, name in ALIASES.items():
        assert timm.is_model(name), alias
        assert timm.get_pretrained_cfg(name).hf_hub_id or alias in OFFICIAL_FILES, alias


@pytest.mark.parametrize("name", ["dino_vitb16", "dinov2_vitb14", "dino_resnet50"])
def test_published_models_are_normalised_as_imagenet(name):
    own = model_input(name)
    assert own.mean == (0.485, 0.456, 0.406)
    assert own.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("efficientnet_lite0", (256, 224, "bicubic")),
        ("dino_resnet50", (256, 224, "bicubic")),
        ("dinov2_vits14", (518, 518, "bicubic")),
        ("resnet18.tv_in1k", (256, 224, "bilinear")),
    ],
)
def test_what_a_run_leaves_out_is_the_models_own(model, expected):
    crop = resolved_crop(CropAugmentation(), model)
    assert (crop.resize, crop.image_size, crop.interpolation) == expected


def test_what_a_run_says_comes_first():
    crop = resolved_crop(CropAugmentation(image_size=112), "efficientnet_lite0")
    assert (crop.resize, crop.image_size) == (128, 112)
    crop = resolved_crop(CropAugmentation(resize=300, interpolation="bilinear"), "dino_vits16")
    assert (crop.resize, crop.image_size, crop.interpolation) == (300, 224, "bilinear")
    whole = CropAugmentation(resize=80, image_size=64, interpolation="bicubic", flip=False)
    assert resolved_crop(whole, "dino_vits16") == whole


def test_a_size_that_does_not_fit_the_models_own():
    expected = r"augmentation\.resize is 200, less than the side of 224 pixels that dino_vits16's"
    with pytest.raises(InputError, match=expected):
        resolved_crop(CropAugmentation(resize=200), "dino_vits16")


def test_the_augmentation_of_a_run_is_complete(tiny_settings):
    assert augmentation_of(tiny_settings).image_size is None  # digits: no model is asked
    values = {"augmentation": {"name": "crop"}, "backbone": {"name": "timm", "model": "test_vit"}}
    settings = type(tiny_settings).model_validate(tiny_settings.model_dump() | values)
    assert augmentation_of(settings).image_size == 160
    assert augmentation_of(settings).shortest_side == 168
