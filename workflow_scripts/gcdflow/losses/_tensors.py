"""Helpers of the losses: a check of shapes, float32 logits, a safe weighted mean."""

from __future__ import annotations

import torch
from torch import Tensor


def check_shape(name: str, tensor: Tensor | None, *shape: int) -> None:
    """Raise ``ValueError`` if a tensor has another shape, with which it might be broadcast."""
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")


def at_least_float32(z: Tensor) -> Tensor:
    """Convert half precision to float32; keep every other dtype."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def scaled_similarities(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Dot products of all rows of ``a`` and ``b`` over the temperature, at least float32.

    Autocast is off because half precision is too coarse: at temperature 0.01, a logit of 100 has a
    rounding error of 0.03 in float16.
    """
    with torch.autocast(a.device.type, enabled=False):
        return at_least_float32(a) @ at_least_float32(b).T / temperature


def zero_loss(z: Tensor) -> Tensor:
    """A loss of 0 with a graph: ``backward`` gives ``z`` a gradient of 0."""
    return at_least_float32(z).sum() * 0


def weighted_mean(losses: Tensor, keep: Tensor, weights: Tensor | None) -> Tensor:
    """``sum(w * l) / sum(w)`` over the kept rows; 0 (with the graph) if the weights sum to 0."""
    kept = keep.to(losses.dtype)
    if weights is not None:
        kept = kept * weights.to(losses.dtype)
    total = kept.sum()
    return (kept * losses).sum() / total.where(total > 0, torch.ones_like(total))
