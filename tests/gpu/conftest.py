"""What needs a GPU: skipped where there is none (benchmarks/gpu_check.py runs it, see docs/gpu.md).

With ``GCDFLOW_GPU_TESTS=cpu`` the CPU takes the GPU's place, which tests the tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

DEVICE = os.environ.get("GCDFLOW_GPU_TESTS", "cuda")
HAS_DEVICE = DEVICE == "cpu" or torch.cuda.is_available()
if HAS_DEVICE and DEVICE != "cpu":
    # Read when cuBLAS is first used, which another test of this process may do.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and skip them where there is no GPU."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not HAS_DEVICE:
                item.add_marker(pytest.mark.skip(reason="PyTorch finds no GPU"))


@pytest.fixture
def device() -> str:
    return DEVICE


@pytest.fixture(autouse=True)
def _numerics(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Float32 means float32 here, and what a training switches on does not outlive its test."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before)
