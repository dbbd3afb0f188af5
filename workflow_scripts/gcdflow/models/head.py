"""What follows the backbone: the projection head, and the first prototypes of a classifier."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

_WIDE = 16  # times the bottleneck
_INITIAL_STD = 0.02


class DINOHead(nn.Module):
    """DINO's projection head, with a normalised output.

    An MLP with GELU down to a bottleneck, L2 normalisation, a weight-normalised linear layer
    without bias, L2 normalisation. Initial weights are drawn from PyTorch's global generator.
    Without the last layer, which SimGCD does not have, the bottleneck's rows are the output.

    Parameters
    ----------
    in_dim : int
        Width of the backbone's features.
    out_dim : int or None
        Width of the last layer, and so of the output; None: there is no such layer.
    n_layers : int
        Linear layers of the MLP, at least 1; the last leads to the bottleneck.
    hidden_dim : int
        Width between the layers of the MLP.
    bottleneck_dim : int
        Width of the bottleneck.

    References
    ----------
    Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*, arXiv 2104.14294,
    appendix on the projection head; as used by Vaze et al., *Generalized Category Discovery*,
    arXiv 2201.02609.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int | None = 65536,
        *,
        n_layers: int = 3,
        hidden_dim: int = 2048,
        bottleneck_dim: int = 256,
    ) -> None:
        super().__init__()
        widths = [in_dim, *[hidden_dim] * (n_layers - 1), bottleneck_dim]
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.GELU()]
        self.mlp = nn.Sequential(*layers[:-1])
        last_layer = None if out_dim is None else nn.Linear(bottleneck_dim, out_dim, bias=False)
        self.mlp.apply(_initialise)
        if last_layer is None:
            self.last_layer = None
            return
        _initialise(last_layer)
        self.last_layer = weight_norm(last_layer)
        magnitude = self.last_layer.parametrizations.weight.original0
        nn.init.ones_(magnitude)
        magnitude.requires_grad_(False)  # stays 1, which DINO found to make training stabler

    def forward(self, x: Tensor) -> Tensor:
        """Project features of shape (B, in_dim) to unit rows (B, out_dim or bottleneck_dim)."""
        bottleneck = unit_rows(self.mlp(x))
        return bottleneck if self.last_layer is None else unit_rows(self.last_layer(bottleneck))

    def compact(self, x: Tensor) -> Tensor:
        """Unit rows (B, bottleneck_dim) that have the dot products of :meth:`forward`'s rows.

        With the last layer's weights W and a bottleneck row b, the output is W b over its length,
        so dot products need only G = WᵀW = L Lᵀ: the rows Lᵀb have the same ones, and the same
        gradients. The wide output, with its products of (B, out_dim), is never formed.
        """
        bottleneck = unit_rows(self.mlp(x))
        with torch.autocast(x.device.type, enabled=False):
            weight = self.last_layer.weight
            gram = _Gram.apply(weight).double()
            # Of the size of the rounding errors of G: a last layer of lower rank factors as well.
            ridge = 8 * torch.finfo(weight.dtype).eps * gram.diagonal().mean()
            one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            factor, _ = torch.linalg.cholesky_ex(gram + ridge * one)
            return unit_rows(bottleneck @ factor.to(bottleneck.dtype))

    @property
    def compact_pays(self) -> bool:
        """Whether :meth:`compact` is clearly cheaper than :meth:`forward`."""
        if self.last_layer is None:
            return False
        out_dim, bottleneck_dim = self.last_layer.weight.shape
        return out_dim >= _WIDE * bottleneck_dim


class _Gram(torch.autograd.Function):
    """WᵀW of a tall matrix W; autograd would multiply twice on the way back."""

    @staticmethod
    def forward(ctx, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return weight.T @ weight

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (weight,) = ctx.saved_tensors
        return weight @ (gradient + gradient.T)


def unit_rows(x: Tensor) -> Tensor:
    """L2-normalise, at least in float32: under autocast the squares would lose half their bits."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1)


def random_prototypes(n: int, feature_dim: int, dtype: torch.dtype) -> Tensor:
    """Prototypes of a cosine classifier in random directions, (n, feature_dim).

    They come from PyTorch's global generator on the CPU. Their lengths do not count for the
    classifier, only for how fast it learns: SGD turns a shorter row faster.
    """
    return nn.init.trunc_normal_(torch.empty(n, feature_dim, dtype=dtype), std=_INITIAL_STD)


def in_random_directions_if_zero(prototypes: Tensor) -> Tensor:
    """The same prototypes (n, feature_dim), but random rows of length 1 in place of zero rows.

    A cosine classifier has no gradient at zero. Randomness as of :func:`random_prototypes`.
    """
    others = unit_rows(random_prototypes(*prototypes.shape, prototypes.dtype)).to(prototypes.device)
    is_zero = (prototypes == 0).all(dim=1, keepdim=True)
    return torch.where(is_zero, others, prototypes)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
