"""The device that a stage runs on."""

from __future__ import annotations

import os

import torch

from gcdflow.errors import InputError
from gcdflow.wording import counted


def resolve_device(name: str, n_ranks: int = 1, rank: int = 0) -> torch.device:
    """The device with this name; ``auto`` is a GPU if PyTorch finds one.

    Parameters
    ----------
    n_ranks, rank : int
        Number of processes on this machine that share the work, and the number of this one. Each
        process has its own GPU.

    Raises
    ------
    InputError
        If the name is not a device, the GPU does not exist, or there are fewer GPUs than processes.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: expected auto, cpu, cuda or cuda:<number>")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: PyTorch finds no GPU; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= (n_gpus := torch.cuda.device_count()):
        found = counted(n_gpus, "GPU")
        raise InputError(f"--device {name}: PyTorch finds {found}, counted from cuda:0")
    if n_ranks == 1 or device.type == "cpu":
        return device
    if device.index is not None:
        raise InputError(f"--device {name}: names one GPU, but {n_ranks} are requested; use cuda")
    if torch.cuda.device_count() < n_ranks:
        raise InputError(
            f"{n_ranks} GPUs are requested, but PyTorch finds {torch.cuda.device_count()}; set "
            "gpus to that number, which changes only the speed"
        )
    return torch.device("cuda", rank)


def make_deterministic() -> None:
    """Restrict PyTorch to deterministic kernels, on any device."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    # Unlike use_deterministic_algorithms(True), this does not tell PyTorch's compiler, whose import
    # takes more than a second: no stage compiles with PyTorch.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
    # By default this mode also fills every new tensor, which helps debugging but costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False


def check_mixed_precision(device: torch.device) -> None:
    """Refuse a GPU that only emulates bfloat16, which is slower than float32.

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
