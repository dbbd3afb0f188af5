"""Devices by name, and checks of their abilities."""

import sys

import pytest
import torch
from gcdflow.distributed.device import check_mixed_precision, make_deterministic, resolve_device
from gcdflow.errors import InputError


def test_devices_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match=r"--device cuda:1: PyTorch finds no GPU"):
        resolve_device("cuda:1")
    for name in ("toaster", "mps", "xpu", "meta"):
        with pytest.raises(InputError, match=f"--device {name}: expected auto, cpu, cuda"):
            resolve_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(
        InputError, match="--device cuda:1: PyTorch finds 1 GPU, counted from cuda:0"
    ):
        resolve_device("cuda:1")


def test_mixed_precision_needs_a_gpu_with_bfloat16(monkeypatch):
    check_mixed_precision(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    for supported in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)  # noqa: B023
        if supported:
            check_mixed_precision(torch.device("cuda"))
    with pytest.raises(
        InputError, match=r"mixed_precision is true, but Tesla V100 has no bfloat16"
    ):
        check_mixed_precision(torch.device("cuda"))


def test_deterministic_mode_refuses_other_operations(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    # PyTorch's compiler, which no stage needs: an import would fail.
    monkeypatch.setitem(sys.modules, "torch._inductor.config", None)
    before = torch.get_deterministic_debug_mode()
    try:
        make_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.set_deterministic_debug_mode(before)
