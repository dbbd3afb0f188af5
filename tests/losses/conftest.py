from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """Losses may use only operations that PyTorch knows to be deterministic."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def unit_rows() -> Callable[..., Tensor]:
    """Random L2-normalised rows that require a gradient."""

    def make(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
        rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        return (rows / rows.norm(dim=1, keepdim=True)).requires_grad_()

    return make


@pytest.fixture
def gradient() -> Callable[[Tensor, Tensor], Tensor]:
    """Gradient of a loss with respect to a leaf tensor; checks that both are finite."""

    def compute(loss: Tensor, leaf: Tensor) -> Tensor:
        assert loss.ndim == 0
        assert torch.isfinite(loss)
        (grad,) = torch.autograd.grad(loss, leaf)
        assert torch.isfinite(grad).all()
        return grad

    return compute
