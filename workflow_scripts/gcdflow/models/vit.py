"""Vision transformers of timm, as backbones, and their pretrained weights.

Weights come from a file: safetensors, or a PyTorch state dict as DINO, DINOv2 and timm publish
them. Every parameter must be found in it, and nothing but a classifier or projection head may be
left over.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from gcdflow.config.settings import ViTSettings, brought_weights
from gcdflow.errors import InputError
from gcdflow.files.torch_files import check_tensor, load_torch_file

# The names that the field uses for the models that it uses.
ALIASES = {
    "dino_vits16": "vit_small_patch16_224.dino",
    "dino_vits8": "vit_small_patch8_224.dino",
    "dino_vitb16": "vit_base_patch16_224.dino",
    "dino_vitb8": "vit_base_patch8_224.dino",
    "dinov2_vits14": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_vitb14": "vit_base_patch14_dinov2.lvd142m",
    "dinov2_vitl14": "vit_large_patch14_dinov2.lvd142m",
    "dinov2_vitg14": "vit_giant_patch14_dinov2.lvd142m",
}
_WRAPPERS = ("teacher", "model_ema", "state_dict", "model")  # keys that hold the weights in a file
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
_LEFT_OVER = ("head.", "head_dist.")  # classifiers and projection heads, which are not used


class ViT(nn.Module):
    """A vision transformer without its classifier; features are what timm pools (class token).

    As in the field (GCD, arXiv 2201.02609), everything below ``grad_from_block`` is frozen, and so
    are the patch embedding, the position embedding and the final norm. Images are normalised here,
    by the mean and deviation that the weights were trained with.

    Parameters
    ----------
    vit : nn.Module
        A model of timm that has ``blocks``.
    grad_from_block : int
        First block that is trained.
    """

    def __init__(self, vit: nn.Module, grad_from_block: int):
        super().__init__()
        n_blocks = len(vit.blocks)
        if grad_from_block > n_blocks:
            raise InputError(
                f"backbone.grad_from_block is {grad_from_block}, but the model has {n_blocks} "
                f"blocks; {n_blocks} freezes them all"
            )
        self.feature_dim = vit.num_features
        self._first = grad_from_block
        vit.requires_grad_(False)
        for block in vit.blocks[grad_from_block:]:
            block.requires_grad_(True)
        self.vit = vit
        for name in ("mean", "std"):
            values = 255 * torch.tensor(vit.pretrained_cfg[name])[:, None, None]
            self.register_buffer(name, values, persistent=False)

    @torch.no_grad()
    def frozen(self, images: Tensor) -> Tensor:
        """Tokens (B, n, width) after the frozen blocks, of uint8 images (B, 3, side, side)."""
        x = self.vit._pos_embed(self.vit.patch_embed((images - self.mean) / self.std))
        return self.vit.blocks[: self._first](self.vit.norm_pre(self.vit.patch_drop(x)))

    def trained(self, stored: Tensor) -> Tensor:
        """Features (B, feature_dim) of tokens."""
        return self.vit.forward_head(self.vit.norm(self.vit.blocks[self._first :](stored)))

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, feature_dim) of uint8 images (B, 3, image_size, image_size)."""
        return self.trained(self.frozen(images))


def timm_name(model: str) -> str:
    """timm's name of a model, which the field may call otherwise."""
    return ALIASES.get(model, model)


def build_vit(settings: ViTSettings, image_size: int | None) -> ViT:
    """Build a vision transformer; random weights come from torch's generator.

    Raises
    ------
    InputError
        If timm has no such vision transformer, it cannot take images of this size, or the weights
        do not fit.
    """
    name = timm_name(settings.model)
    if not timm.is_model(name):
        known = [*ALIASES, *timm.list_models(pretrained=True), *timm.list_models()]
        close = difflib.get_close_matches(settings.model, known, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else " (see timm.list_models())"
        raise InputError(f"backbone.model: timm has no model '{settings.model}'{hint}")
    options = {} if image_size is None else {"img_size": image_size}
    try:
        vit = timm.create_model(name, pretrained=False, num_classes=0, **options)
        n_blocks, patch = len(vit.blocks), vit.patch_embed.proj.weight.shape[-1]
    except (TypeError, AssertionError, RuntimeError, ValueError, AttributeError) as error:
        raise InputError(
            f"backbone.model: {settings.model} cannot be built as a plain vision transformer for "
            f"images of side {image_size} ({error})"
        ) from None
    if image_size is not None and image_size % patch:
        raise InputError(
            f"augmentation.image_size is {image_size}, no multiple of the {patch} pixels of "
            f"{settings.model}'s patches"
        )
    if settings.weights_file is not None:
        load_weights(vit, Path(settings.weights_file))
    first = n_blocks - 1 if settings.grad_from_block is None else settings.grad_from_block
    return ViT(vit, first)


def load_weights(vit: nn.Module, path: Path) -> None:
    """Load the weights of a model of timm; every parameter must be there.

    Position embeddings are interpolated (bicubic) where the image size differs from the file's.

    Raises
    ------
    InputError
        If the file is not one of weights, or its keys or shapes do not match.
    """
    state = _backbone_part(path, _read_weights(path))
    _check_patches(path, state, vit)
    converter = getattr(
        importlib.import_module(type(vit).__module__), "checkpoint_filter_fn", lambda s, _: s
    )
    try:
        state = converter(state, vit)
    except Exception as error:  # it computes with tensors of whatever shape the file holds
        raise InputError(f"{path}: does not fit the backbone ({error})") from None
    own = vit.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(k for k in state.keys() - own.keys() if not k.startswith(_LEFT_OVER))
    wrong = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in sorted(own.keys() & state.keys())
        if own[k].shape != state[k].shape
        or own[k].is_floating_point() != state[k].is_floating_point()
    ]
    if missing or unexpected or wrong:
        raise InputError(
            f"{path}: does not fit the backbone (missing keys: {_listed(missing)}; unexpected "
            f"keys: {_listed(unexpected)}; other shapes: {_listed(wrong)})"
        )
    vit.load_state_dict({k: state[k] for k in own})


def _check_patches(path: Path, state: dict[str, Tensor], vit: nn.Module) -> None:
    """Refuse weights of another patch size, which timm would resample without a word."""
    name, own = "patch_embed.proj.weight", vit.patch_embed.proj.weight.shape[-2:]
    if name in state and state[name].ndim == 4 and state[name].shape[-2:] != own:
        found = " × ".join(map(str, state[name].shape[-2:]))
        raise InputError(
            f"{path}: holds weights for patches of {found} pixels, the backbone has "
            f"{own[0]} × {own[1]}; name the model that they belong to in backbone.model"
        )


def _read_weights(path: Path) -> dict:
    """The content of a weight file, nothing of which is run."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if start[8:] == b"{":  # a safetensors file: the length of its header, then JSON
            return safetensors.torch.load_file(path)
        content = load_torch_file(path, legacy=True)
    except Exception as error:
        raise InputError(
            f"{path}: not a weight file that can be read safely ({type(error).__name__})"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a state dict (names to tensors)")
    return content


def _backbone_part(path: Path, content: dict) -> dict[str, Tensor]:
    """The backbone's state dict, without the prefixes of training code around it."""
    for wrapper in _WRAPPERS:
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not content or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise InputError(f"{path}: expected a state dict (names to tensors)")
    try:
        for value in content.values():
            check_tensor(value)
    except ValueError as error:
        raise InputError(f"{path}: damaged weights ({error})") from None
    for prefix in ("module.", "teacher.", "backbone."):
        if any(key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
    return content


def _listed(keys: list[str], most: int = 8) -> str:
    """The first of the keys, and how many more there are."""
    if not keys:
        return "none"
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + more


def download_weights(model: str, path: Path) -> None:
    """Fetch the pretrained weights of a model of timm from its hub.

    Raises
    ------
    InputError
        If there are none, or they cannot be fetched; it says which file to put where.
    """
    from huggingface_hub.utils import logging as hub_logging

    from gcdflow.files.atomic import atomic_write

    name = timm_name(model)
    source = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if source is None or not source.hf_hub_id:
        raise InputError(f"backbone.weights: timm has no pretrained weights of '{model}'")
    hub_logging.set_verbosity_error()  # it would tell of each of its attempts
    repository, filename = source.hf_hub_id, source.hf_hub_filename or "model.safetensors"
    with contextlib.ExitStack() as until_copied:
        try:
            cached = _fetched(repository, filename, path.parent, until_copied)
        except Exception as error:  # no network, no such file, no permission, no space …
            other = f"the official file ({source.url})" if source.url else "another"
            raise InputError(
                f"backbone.weights: {filename} of {repository} cannot be downloaded from "
                f"huggingface.co ({type(error).__name__}); put that file at "
                f"{brought_weights(model)}, or name {other} in backbone.weights"
            ) from None
        with open(cached, "rb") as content, atomic_write(path) as file:
            while chunk := content.read(1 << 24):
                file.write(chunk)


def _fetched(repository: str, filename: str, folder: Path, stack: contextlib.ExitStack) -> str:
    """Path of a file of the hub: in the hub's cache, or in ``folder`` until the stack is closed."""
    from huggingface_hub import hf_hub_download

    try:
        return hf_hub_download(repository, filename)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # The cache is in the home, which may be read-only.
        folder.mkdir(parents=True, exist_ok=True)
        beside = stack.enter_context(tempfile.TemporaryDirectory(prefix=".hub-", dir=folder))
        return hf_hub_download(repository, filename, cache_dir=beside)
