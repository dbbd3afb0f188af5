"""Which device a stage runs on."""

from __future__ import annotations

import torch

from gcdflow.errors import InputError


def resolve_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one.

    Raises
    ------
    InputError
        If the name is no device, or the GPU is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: expected auto, cpu, cuda or cuda:<number>") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: PyTorch finds no GPU; use --device cpu")
    return device
