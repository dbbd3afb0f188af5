"""Which device a stage runs on."""

from __future__ import annotations

import os

import torch

from gcdflow.errors import InputError


def resolve_device(name: str, n_ranks: int = 1, rank: int = 0) -> torch.device:
    """The device of a name; ``auto`` is a GPU if there is one.

    Parameters
    ----------
    n_ranks, rank : int
        Number of processes of this machine that share the work, and which of them this is: each
        has a GPU of its own.

    Raises
    ------
    InputError
        If the name is no device, or the GPU is not there, or there are fewer than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: expected auto, cpu, cuda or cuda:<number>") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: PyTorch finds no GPU; use --device cpu")
    if n_ranks == 1 or device.type == "cpu":
        return device
    if device.index is not None:
        raise InputError(f"--device {name}: is one GPU, but {n_ranks} are asked for; use cuda")
    if torch.cuda.device_count() < n_ranks:
        raise InputError(
            f"{n_ranks} GPUs are asked for, PyTorch finds {torch.cuda.device_count()}; set gpus to "
            "that, which changes nothing but speed"
        )
    return torch.device("cuda", rank)


def make_deterministic() -> None:
    """Let PyTorch take only kernels that give equal bytes every time, on any device."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # By default that mode also fills every new tensor, a debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False


def check_mixed_precision(device: torch.device) -> None:
    """Refuse a GPU that only emulates bfloat16, which costs time instead of saving it.

    Raises
    ------
    InputError
        If the device is such a GPU.
    """
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"training.mixed_precision is true, but {torch.cuda.get_device_name(device)} has no "
            "bfloat16; set it to false"
        )
