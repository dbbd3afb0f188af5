"""Backbones by name: from images to features.

A backbone maps images (B, channels, height, width), as the augmentation makes them, to features
(B, feature_dim), in two parts. Another one needs a subclass of :class:`Backbone`, a settings class
in :mod:`gcdflow.config.settings` and a builder in :data:`BUILDERS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from gcdflow.config.settings import (
    CropAugmentation,
    Settings,
    SmallConvNetSettings,
    TimmSettings,
    TrainSettings,
    ViewsSettings,
)
from gcdflow.data.augmentation import Augmentation, build_augmentation


class Backbone(nn.Module, ABC):
    """A frozen and a trained part; ``train()`` leaves the frozen one in evaluation mode.

    Attributes
    ----------
    feature_dim : int, width of the features
    trained_modules : list of str, names of the trained parts, if it has a weight file
    """

    feature_dim: int
    trained_modules: list[str]

    @abstractmethod
    def frozen(self, images: Tensor) -> Tensor:
        """What the frozen part gives for images, (B, …): no gradients, always the same numbers."""

    @abstractmethod
    def trained(self, stored: Tensor) -> Tensor:
        """Features (B, feature_dim) from what ``frozen`` gave; all trained parameters are here."""

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, feature_dim) of images."""
        return self.trained(self.frozen(images))


class SmallConvNet(Backbone):
    """A convolutional net for tiny grey-level images (8 × 8 digits).

    Three stages of two 3 × 3 convolutions with batch normalisation; the last two stages halve the
    side. Features are the global average of the last stage.

    Parameters
    ----------
    width : int
        Channels of the first stage; the others have 2 and 4 times as many.
    """

    in_channels = 1

    def __init__(self, width: int = 32):
        super().__init__()
        layers: list[nn.Module] = []
        channels = self.in_channels
        for stage in range(3):
            out = width * 2**stage
            for convolution in range(2):
                stride = 2 if stage > 0 and convolution == 0 else 1
                layers += [
                    nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(inplace=True),
                ]
                channels = out
        # Channels last: 1.3 to 1.5 times as fast on a CPU at this size.
        self.layers = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.feature_dim = channels

    def frozen(self, images: Tensor) -> Tensor:
        """The images (B, 1, height, width) themselves: nothing is frozen."""
        return images

    def trained(self, stored: Tensor) -> Tensor:
        """Features (B, feature_dim) of images (B, 1, height, width)."""
        images = stored.contiguous(memory_format=torch.channels_last)
        return self.layers(images).mean(dim=(2, 3))


def _build_small_convnet(settings: SmallConvNetSettings, image_size: int | None) -> Backbone:
    return SmallConvNet(settings.width)


def _build_timm(settings: TimmSettings, image_size: int | None) -> Backbone:
    from gcdflow.models.timm_backbone import build_timm  # timm takes a second to import

    return build_timm(settings, image_size)


BUILDERS = {"small_convnet": _build_small_convnet, "timm": _build_timm}


def build_backbone(settings: Settings, image_size: int | None = None) -> Backbone:
    """Build the backbone that a configuration names; random weights come from torch's generator.

    Parameters
    ----------
    image_size : int or None
        Side of the images, where the augmentation fixes one.
    """
    return BUILDERS[settings.name](settings, image_size)


def augmentation_of(settings: TrainSettings | ViewsSettings) -> Augmentation:
    """The augmentation of a run, with what it leaves to the model filled in.

    Raises
    ------
    InputError
        If timm has no such model, or the sizes do not fit each other.
    """
    augmentation = settings.augmentation
    if isinstance(augmentation, CropAugmentation):
        from gcdflow.models.timm_models import resolved_crop

        augmentation = resolved_crop(augmentation, settings.backbone.model)
    return build_augmentation(augmentation)
