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
import shutil
import tempfile
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from gcdflow.config.settings import brought_weights
from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write
from gcdflow.files.torch_files import check_tensor, load_torch_file
from gcdflow.models import packaged
from gcdflow.models.timm_models import OFFICIAL_FILES, timm_name, weights_source
from gcdflow.wording import some_of

_WRAPPERS = ("teacher", "model_ema", "state_dict", "model")  # keys that hold the weights in a file
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT)
_LEFT_OVER = ("head.", "head_dist.", "fc.", "classifier.")  # and projection heads: not used
_COUNTS = ".num_batches_tracked"


def load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights of a model of timm from a safetensors file; every parameter must be there.

    Position embeddings are interpolated (bicubic) where the image size differs from the file's.

    Raises
    ------
    InputError
        If the file is not one of weights, or its keys or shapes do not match.
    """
    state = _backbone_part(path, _read_safetensors(path))
    _check_patches(path, state, model)
    converter = getattr(
        importlib.import_module(type(model).__module__), "checkpoint_filter_fn", lambda s, _: s
    )
    try:
        state = converter(state, model)
    except Exception as error:  # it computes with tensors of whatever shape the file holds
        raise InputError(f"{path}: does not fit the backbone ({error})") from None
    own = model.state_dict()
    counts = {k: v for k, v in own.items() if k.endswith(_COUNTS)}  # old files have none
    state = {**counts, **state}
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
            f"{path}: does not fit the backbone (missing keys: {some_of(missing)}; unexpected "
            f"keys: {some_of(unexpected)}; other shapes: {some_of(wrong)})"
        )
    model.load_state_dict({k: state[k] for k in own})


def _check_patches(path: Path, state: dict[str, Tensor], model: nn.Module) -> None:
    """Refuse weights of another patch size, which timm would resample without a word."""
    name = "patch_embed.proj.weight"
    own = dict(model.named_parameters()).get(name)
    if name not in state or own is None or state[name].ndim != 4 or own.ndim != 4:
        return
    if state[name].shape[-2:] != own.shape[-2:]:
        found, expected = (" × ".join(map(str, x.shape[-2:])) for x in (state[name], own))
        raise InputError(
            f"{path}: holds weights for patches of {found} pixels, the backbone has "
            f"{expected}; name the model that they belong to in backbone.model"
        )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        raise InputError(
            f"{path}: not a safetensors file that can be read ({type(error).__name__}); the stage "
            "`weights` converts files of PyTorch (--file)"
        ) from None


def _backbone_part(path: Path, content: object) -> dict[str, Tensor]:
    """The backbone's state dict, without the prefixes of training code around it."""
    if isinstance(content, dict):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                content = content[wrapper]
                break
    if (
        not isinstance(content, dict)
        or not content
        or not all(
            isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
        )
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


# -- files of PyTorch ------------------------------------------------------------------------------


def convert_weights(source: Path, output: Path) -> None:
    """Write the backbone's tensors of a weight file as safetensors; nothing in the file is run.

    Raises
    ------
    InputError
        If it cannot be read safely, or holds no state dict.
    """
    write_safetensors(_backbone_part(source, read_foreign(source)), output)


def read_foreign(path: Path) -> object:
    """The content of a weight file in any format (InputError)."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        if start[8:] == b"{":  # a safetensors file: the length of its header, then JSON
            return safetensors.torch.load_file(path)
        return load_torch_file(path, legacy=True)
    except FileNotFoundError:
        raise InputError(f"backbone.weights: no file at {path}; put the weights there") from None
    except Exception as error:
        raise InputError(
            f"{path}: not a weight file that can be read safely ({type(error).__name__})"
        ) from None


def write_safetensors(state: dict[str, Tensor], path: Path) -> None:
    """Write tensors atomically; equal tensors give equal bytes."""
    apart = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    with atomic_write(path) as file:
        file.write(safetensors.torch.save(apart, metadata={"format": "pt"}))


# -- pretrained weights ----------------------------------------------------------------------------


def fetch_weights(model: str, path: Path) -> None:
    """Write the pretrained weights of a model of timm: from an installed package, or the hub.

    Raises
    ------
    InputError
        If there are none, or they cannot be fetched; it says which file to put where.
    """
    if timm_name(model) == packaged.MODEL:
        write_safetensors(packaged.weights(), path)
    else:
        _download(model, path)


def _download(model: str, path: Path) -> None:
    """Copy a file of timm's hub."""
    from huggingface_hub.utils import logging as hub_logging

    source = weights_source(model)
    if source is None or not source.hf_hub_id:
        hint = f"; name {OFFICIAL_FILES[model]} there" if model in OFFICIAL_FILES else ""
        raise InputError(f"backbone.weights: timm has no pretrained weights of '{model}'{hint}")
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
        if filename.endswith(".safetensors"):
            with open(cached, "rb") as content, atomic_write(path) as file:
                shutil.copyfileobj(content, file, 1 << 24)
        else:
            convert_weights(Path(cached), path)


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
