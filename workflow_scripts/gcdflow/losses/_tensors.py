"""Helpers of the losses: checks of arguments, float32 logits, a safe weighted mean.

Checks read values on the CPU only; reading them from a GPU would stall every training step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_temperature(temperature: float, name: str = "temperature") -> None:
    """Raise ``ValueError`` unless the temperature is positive and finite."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(
            f"{name} is {temperature!r}, expected a positive finite number "
            "(contrastive losses use 0.05 to 1)"
        )


def check_embeddings(name: str, z: Tensor) -> None:
    """Raise ``ValueError`` unless ``z`` is a floating-point matrix."""
    if z.ndim != 2 or not z.is_floating_point():
        raise ValueError(
            f"{name} has shape {tuple(z.shape)} and dtype {z.dtype}, expected floating-point rows "
            "of shape (n, d): one embedding per row"
        )


def check_views(name: str, z: Tensor, other: str, others: Tensor) -> None:
    """Raise ``ValueError`` unless both are matrices of embeddings of equal shape."""
    check_embeddings(name, z)
    check_embeddings(other, others)
    if z.shape != others.shape:
        raise ValueError(
            f"{name} has shape {tuple(z.shape)} and {other} has shape {tuple(others.shape)}, "
            "expected equal shapes: two views of the same images, row by row"
        )


def check_same_width(name: str, z: Tensor, prototypes: Tensor) -> None:
    """Raise ``ValueError`` unless prototypes have as many columns as the rows of ``z``."""
    if z.shape[1] != prototypes.shape[1]:
        raise ValueError(
            f"prototypes has shape {tuple(prototypes.shape)}, expected (K, {z.shape[1]}): "
            f"prototypes live in the space of the {name}"
        )


def check_labels(labels: Tensor, n: int, n_classes: int | None = None) -> None:
    """Raise ``ValueError`` unless ``labels`` holds ``n`` int64 labels, below ``n_classes``."""
    if labels.shape != (n,) or labels.dtype != torch.int64:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}, expected int64 "
            f"of shape ({n},): one label per embedding"
        )
    if n_classes is None or labels.device.type != "cpu" or n == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"labels span {low} to {high}, expected 0 to {n_classes - 1}; "
            "leave out samples without a label (-1) before the call"
        )


def check_weights(weights: Tensor | None, n: int) -> None:
    """Raise ``ValueError`` unless ``weights`` is None or ``n`` non-negative numbers."""
    if weights is None:
        return
    if weights.shape != (n,):
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}, expected ({n},): one weight per embedding"
        )
    if weights.device.type == "cpu" and not bool((weights >= 0).all()):
        raise ValueError(
            f"weights has the minimum {weights.min().item()!r}, expected non-negative numbers; "
            "use 0 to leave a sample out"
        )


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
