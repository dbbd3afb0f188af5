"""Image models of timm: their names, and the images that their weights were made for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import timm
from timm.models import PretrainedCfg

from gcdflow.config.settings import CropAugmentation
from gcdflow.errors import InputError
from gcdflow.wording import did_you_mean

# The names that the field uses for the models that it uses, and that of the weights in the box.
ALIASES = {
    "efficientnet_lite0": "tf_efficientnet_lite0",
    "dino_resnet50": "resnet50",
    "dino_vits16": "vit_small_patch16_224.dino",
    "dino_vits8": "vit_small_patch8_224.dino",
    "dino_vitb16": "vit_base_patch16_224.dino",
    "dino_vitb8": "vit_base_patch8_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_vitb14": "vit_base_patch14_dinov2.lvd142m",
    "dinov2_vitl14": "vit_large_patch14_dinov2.lvd142m",
    "dinov2_vitg14": "vit_giant_patch14_dinov2.lvd142m",
}
# DINO's ResNet-50 is none of timm's: only the architecture is. DINO evaluates it at 224 of 256.
OFFICIAL_FILES = {
    "dino_resnet50": "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/"
    "dino_resnet50_pretrain.pth"
}
_CROP_PCT = {"dino_resnet50": 0.875}


def timm_name(model: str) -> str:
    """timm's name of a model, which the field may call otherwise.

    Raises
    ------
    InputError
        If timm has no such model.
    """
    name = ALIASES.get(model, model)
    if not timm.is_model(name):
        known = [*ALIASES, *timm.list_models(pretrained=True), *timm.list_models()]
        hint = did_you_mean(model, known, most=3) or " (see timm.list_models())"
        raise InputError(f"backbone.model: timm has no model '{model}'{hint}")
    return name


def weights_source(model: str) -> PretrainedCfg | None:
    """What timm knows of a model's pretrained weights; None if it has none (InputError)."""
    name = timm_name(model)
    return None if model in OFFICIAL_FILES else timm.get_pretrained_cfg(name)


@dataclass(frozen=True)
class ModelInput:
    """Images as a model's weights were trained with, or evaluated on.

    Attributes
    ----------
    side, resize : int, of the crop and of the shorter side before cropping, pixels
    interpolation : str, of resizing
    mean, std : of the three channels, in 0…1
    """

    side: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def model_input(model: str, side: int | None = None) -> ModelInput:
    """What timm's configuration says of a model, for crops of a side or of its own.

    Raises
    ------
    InputError
        If timm has no such model.
    """
    source = timm.get_pretrained_cfg(timm_name(model)).to_dict()
    config = timm.data.resolve_data_config({}, pretrained_cfg=source)
    side = config["input_size"][-1] if side is None else side
    bilinear = config["interpolation"] == "bilinear"
    return ModelInput(
        side=side,
        resize=math.floor(side / _CROP_PCT.get(model, config["crop_pct"])),
        interpolation="bilinear" if bilinear else "bicubic",
        mean=config["mean"],
        std=config["std"],
    )


def resolved_crop(crop: CropAugmentation, model: str) -> CropAugmentation:
    """An augmentation with what the run leaves to the model filled in.

    Raises
    ------
    InputError
        If the image size of one does not fit the resizing of the other.
    """
    own = model_input(model, crop.image_size)
    resize = own.resize if crop.resize is None else crop.resize
    if own.side > resize:
        raise InputError(
            f"augmentation.resize is {resize}, less than the side of {own.side} pixels that "
            f"{model}'s images have; choose a larger one, or a smaller augmentation.image_size"
        )
    return crop.model_copy(
        update={
            "resize": resize,
            "image_size": own.side,
            "interpolation": crop.interpolation or own.interpolation,
        }
    )
