"""A model of timm as a backbone: a frozen part, and blocks that are trained."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from gcdflow.config.settings import TimmSettings
from gcdflow.errors import InputError
from gcdflow.models.backbones import Backbone
from gcdflow.models.cut import (
    Call,
    CannotBeCut,
    block_names,
    calls_from,
    class_token,
    input_of,
    reads_class_token,
)
from gcdflow.models.folding import Folded
from gcdflow.models.timm_models import ModelInput, model_input, timm_name
from gcdflow.models.weights import load_weights

# Images at a time on a CPU, where more are no faster: their memory stays small, and is used again.
# A GPU is faster with all at once.
_CHUNK = 16


class TimmBackbone(Backbone):
    """An image model of timm without its classifier; features are what timm pools.

    The last blocks (transformers) or stages (other models) are trained. All else is frozen and in
    evaluation mode, its batch norms too: what precedes these blocks, as in the field (GCD, arXiv
    2201.02609), and also what follows them. GCD freezes a ViT's final norm; the last convolution
    and batch norm of an EfficientNet or the attention that pools a SigLIP tower are treated alike,
    so that one rule holds for all models and "one block" means the same of each.

    Images are normalised here, by the mean and deviation that the weights were trained with. Where
    features are the class token's, the last block is computed for that token only.

    Parameters
    ----------
    model : nn.Module
        A model of timm, with ``num_classes=0``.
    own : ModelInput
        Mean, deviation and side of its images.
    trained_blocks : int
        Number of blocks or stages, from the last, that are trained.

    Raises
    ------
    InputError
        If the model has fewer blocks.
    CannotBeCut
        If it cannot be cut before them.
    """

    def __init__(self, model: nn.Module, own: ModelInput, trained_blocks: int):
        super().__init__()
        blocks = block_names(model)
        if trained_blocks > len(blocks):
            raise InputError(
                f"backbone.trained_blocks is {trained_blocks}, but the model has {len(blocks)} "
                f"blocks or stages; {len(blocks)} trains them all"
            )
        self.model = model.requires_grad_(False).eval()
        self._lay_out()
        self._trained = blocks[len(blocks) - trained_blocks :]
        self.trained_modules = [f"model.{name}" for name in self._trained]
        for name in self._trained:
            model.get_submodule(name).requires_grad_(True)
        ramp = torch.linspace(-1, 1, own.side)
        image = (ramp[:, None] * ramp).expand(1, len(own.mean), -1, -1)
        first = (self._trained or blocks[-1:])[0]
        self._calls = calls_from(model, first, image)
        for call in self._calls:
            for module in self.model.get_submodule(call.name).modules():
                if getattr(module, "inplace", False):
                    module.inplace = False  # autograd would copy what such an activation overwrites
        self._calls_on: dict[torch.device, list[Call]] = {}
        self._front = Folded(model, lambda model, images: input_of(model, first, images), image)
        self._token_only = blocks[-1] if reads_class_token(model, self._calls) else None
        for name in ("mean", "std"):
            values = 255 * torch.tensor(getattr(own, name))[:, None, None]
            self.register_buffer(name, values, persistent=False)
        with torch.no_grad():
            features = self._from_cut(input_of(model, first, image))
        if features.ndim != 2:
            raise CannotBeCut(f"its features are of shape {tuple(features.shape)}")
        self.feature_dim = features.shape[1]
        self.train()

    def train(self, mode: bool = True) -> TimmBackbone:
        """Set the mode of the trained blocks; the rest stays in evaluation mode."""
        super().train(mode)
        self.model.eval()
        for name in self._trained:
            self.model.get_submodule(name).train(mode)
        return self

    def _apply(self, *args: object, **options: object) -> TimmBackbone:
        """Move, or convert; ``to`` comes here also where the backbone is a part of a model."""
        super()._apply(*args, **options)
        self._lay_out()
        return self

    def _lay_out(self) -> None:
        """Choose the layout of convolutions.

        Channels last is 1.6 times as fast on a CPU (EfficientNet-Lite0, ResNet-50), and at most
        1.25 times on a GPU. But there, cuDNN compiles a plan for depthwise convolutions in this
        layout for each size of batch (2 to 3 s for EfficientNet-Lite0, 1 s for ConvNeXt).
        """
        convolutions = [m for m in self.model.modules() if isinstance(m, nn.Conv2d)]
        compiles = any(m.weight.is_cuda and m.groups == m.in_channels > 1 for m in convolutions)
        self._layout = torch.contiguous_format if compiles else torch.channels_last
        self.model.to(memory_format=self._layout)

    @torch.no_grad()
    def frozen(self, images: Tensor) -> Tensor:
        """What the frozen part gives for uint8 images (B, 3, side, side).

        Returns
        -------
        Tensor (B, …)
            The input of the first trained block; the features where none is trained.
        """
        size = _CHUNK if images.device.type == "cpu" else max(len(images), 1)
        weights = self._front.weights()
        return torch.cat([self._to_cut(chunk, weights) for chunk in images.split(size)])

    def trained(self, stored: Tensor) -> Tensor:
        """Features (B, feature_dim) from what ``frozen`` gave."""
        return self._from_cut(stored) if self._trained else stored

    def _to_cut(self, images: Tensor, weights: dict[str, Tensor]) -> Tensor:
        images = ((images - self.mean) / self.std).contiguous(memory_format=self._layout)
        x = self._front(images, weights)
        return x if self._trained else self._from_cut(x)

    def _from_cut(self, x: Tensor) -> Tensor:
        if x.device not in self._calls_on:  # once: a step would wait for the copy of a tensor
            self._calls_on[x.device] = [call.on(x.device) for call in self._calls]
        for call in self._calls_on[x.device]:
            module = self.model.get_submodule(call.name)
            if call.name == self._token_only:
                x = class_token(module, x)
            else:
                x = module(x, *call.args, **call.kwargs)
        if x.requires_grad and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            x.register_hook(_channels_last)
        return self.model.forward_head(x)


def _channels_last(gradient: Tensor) -> Tensor:
    """The gradient of pooled features in their layout; in another one, a CPU takes longer."""
    return gradient.contiguous(memory_format=torch.channels_last)


def build_timm(settings: TimmSettings, image_size: int | None) -> TimmBackbone:
    """Build a model of timm; random weights come from torch's generator.

    Parameters
    ----------
    image_size : int or None
        Side of the images; None: the model's own.

    Raises
    ------
    InputError
        If timm has no such model, it cannot be cut, it cannot take images of this size, or the
        weights do not fit.
    """
    own = model_input(settings.model, image_size)
    try:
        model = _created(timm_name(settings.model), own.side)
        if settings.weights_file is not None:
            load_weights(model, Path(settings.weights_file))
        return TimmBackbone(model, own, settings.trained_blocks)
    except CannotBeCut as error:
        raise InputError(
            f"backbone.model: {settings.model} cannot be cut into blocks ({error}); choose a "
            "ViT, ResNet, ConvNeXt, EfficientNet, Swin or another model that is a chain of blocks"
        ) from None
    except InputError:
        raise
    except (AssertionError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"backbone.model: {settings.model} cannot be built for images of side {own.side} "
            f"({error})"
        ) from None


def _created(name: str, side: int) -> nn.Module:
    """The model, for images of a side."""
    options = {"pretrained": False, "num_classes": 0}
    if not timm.get_pretrained_cfg(name).fixed_input_size:  # takes images of any size
        return timm.create_model(name, **options)
    model = timm.create_model(name, img_size=side, **options)
    patches = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    if patches is not None and side % patches[0]:
        raise InputError(
            f"augmentation.image_size is {side}, no multiple of the {patches[0]} pixels of "
            f"{name}'s patches"
        )
    return model
