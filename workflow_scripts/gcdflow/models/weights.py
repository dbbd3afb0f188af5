"""Pretrained weights: read from safetensors, converted from other files, fetched.

Training reads safetensors only, which hold nothing but tensors. A state dict as DINO, DINOv2 and
timm publish them in PyTorch's format is converted once, by the stage ``weights``. Every parameter
of a model must be found in a file, and nothing but a classifier or projection head may be left
over.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch
import timm
from torch import Tensor, nn

from gcdflow.config.settings import brought_weights
from gcdflow.errors import InputError
from gcdflow.files.torch_files import check_tensor, load_torch_file
from gcdflow.models.timm_models import timm_name

_WRAPPERS = ("teacher", "model_ema", "state_dict", "model")  # keys that hold the weights in a file
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
_LEFT_OVER = ("head.", "head_dist.")  # classifiers and projection heads, which are not used


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a model of timm; every parameter must be there.

    Position embeddings are interpolated (bicubic) where the image size differs from the file's.

    Raises
    ------
    InputError
        If the file is not one of weights, or its keys or shapes do not match.
    """
    state = _backbone_part(path, _read_weights(path))
    _check_patches(path, state, model)
    converter = getattr(
        importlib.import_module(type(model).__module__), "checkpoint_filter_fn", lambda s, _: s
    )
    try:
        state = converter(state, model)
    except Exception as error:  # it computes with tensors of whatever shape the file holds
        raise InputError(f"{path}: does not fit the backbone ({error})") from None
    own = model.state_dict()
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
    model.load_state_dict({k: state[k] for k in own})


def _check_patches(path: Path, state: dict[str, Tensor], model: nn.Module) -> None:
    """Refuse weights of another patch size, which timm would resample without a word."""
    name, own = "patch_embed.proj.weight", model.patch_embed.proj.weight.shape[-2:]
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
