"""Backbones by name: from images to features.

A backbone is a module with ``feature_dim`` that maps float32 images (B, channels, height, width) to
features (B, feature_dim). Another model library joins by a settings
class in :mod:`gcdflow.config` and a builder in :data:`BUILDERS`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from gcdflow.config import Settings, SmallConvNetSettings, TorchvisionViTSettings
from gcdflow.errors import InputError


class SmallConvNet(nn.Module):
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

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, feature_dim) of images (B, 1, height, width)."""
        images = images.contiguous(memory_format=torch.channels_last)
        return self.layers(images).mean(dim=(2, 3))


class TorchvisionViT(nn.Module):
    """A torchvision vision transformer without its classifier; features are the class token.

    As in the field (GCD, arXiv 2201.02609), everything below ``grad_from_block`` is frozen, and so
    are the patch embedding, the position embedding and the final norm.
    """

    def __init__(self, vit: nn.Module, grad_from_block: int):
        super().__init__()
        self.feature_dim = vit.hidden_dim
        vit.heads = nn.Identity()
        blocks = list(vit.encoder.layers)
        if grad_from_block > len(blocks):
            raise InputError(
                f"backbone.grad_from_block is {grad_from_block}, but the model has {len(blocks)} "
                f"blocks; {len(blocks)} freezes them all"
            )
        vit.requires_grad_(False)
        for block in blocks[grad_from_block:]:
            block.requires_grad_(True)
        self.vit = vit

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, hidden_dim) of normalised images (B, 3, image_size, image_size)."""
        return self.vit(images)


def _build_small_convnet(settings: SmallConvNetSettings, image_size: int | None) -> nn.Module:
    return SmallConvNet(settings.width)


def _build_torchvision_vit(settings: TorchvisionViTSettings, image_size: int | None) -> nn.Module:
    from torchvision import models

    names = [name for name in models.list_models() if name.startswith("vit_")]
    if settings.model not in names:
        raise InputError(
            f"backbone.model is '{settings.model}', expected one of {', '.join(names)}"
        )
    options = {} if image_size is None else {"image_size": image_size}
    try:
        vit = models.get_model(settings.model, weights=None, **options)
    except AssertionError as error:
        raise InputError(
            f"augmentation.image_size is {image_size}, which {settings.model} cannot take ({error})"
        ) from None
    if settings.weights is not None:
        load_weights(vit, settings.weights, ignore=("heads.",))
    return TorchvisionViT(vit, settings.grad_from_block)


BUILDERS = {"small_convnet": _build_small_convnet, "torchvision_vit": _build_torchvision_vit}


def build_backbone(settings: Settings, image_size: int | None = None) -> nn.Module:
    """Build the backbone that a configuration names; random weights come from torch's generator.

    Parameters
    ----------
    image_size : int or None
        Side of the images, where the augmentation fixes one.
    """
    return BUILDERS[settings.name](settings, image_size)


def existing_weights(path: str | Path) -> Path:
    """The path of a weight file.

    Raises
    ------
    InputError
        If there is no such file.
    """
    if not Path(path).is_file():
        raise InputError(f"backbone.weights: no file at {path}; put the weights there")
    return Path(path)


def load_weights(model: nn.Module, path: str | Path, ignore: tuple[str, ...] = ()) -> None:
    """Load a state dict from a local file; every parameter must be there.

    Parameters
    ----------
    ignore : tuple of str
        Prefixes of keys that may be missing or left over (a classifier that is not used).

    Raises
    ------
    InputError
        If the file is missing or not a plain state dict, or keys or shapes do not match.
    """
    path = existing_weights(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path}: not a weight file that can be read safely ({type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: expected a state dict (names to tensors)")
    own = model.state_dict()
    missing = sorted(k for k in own.keys() - state.keys() if not k.startswith(ignore))
    unexpected = sorted(k for k in state.keys() - own.keys() if not k.startswith(ignore))
    shared = own.keys() & state.keys()
    wrong = sorted(k for k in shared if own[k].shape != state[k].shape and not k.startswith(ignore))
    if missing or unexpected or wrong:
        raise InputError(
            f"{path}: does not fit the backbone (missing keys: {_listed(missing)}; unexpected "
            f"keys: {_listed(unexpected)}; other shapes: {_listed(wrong)})"
        )
    kept = {k: v for k, v in state.items() if k in own and not k.startswith(ignore)}
    model.load_state_dict(kept, strict=False)


def _listed(keys: list[str], most: int = 3) -> str:
    """The first few of the keys, and how many more there are."""
    if not keys:
        return "none"
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more
