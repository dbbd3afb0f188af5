"""Batch normalisation with the statistics of the whole batch, over all ranks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gcdflow.distributed.ranks import Ranks

_Base = nn.modules.batchnorm._BatchNorm  # of 1, 2 and 3 dimensions, as nn.SyncBatchNorm has it


class SynchronisedBatchNorm(_Base):
    """A batch norm that keeps the weights and statistics of another and sees the whole batch.

    It does what :class:`torch.nn.SyncBatchNorm` does, which takes no tensors on a CPU. Every rank
    must have the same number of rows. Modules inside the norm follow it: timm's
    ``BatchNormAct2d`` has a dropout and an activation.
    """

    def __init__(self, norm: _Base, ranks: Ranks):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self._parameters, self._buffers = norm._parameters, norm._buffers
        self._modules = norm._modules
        self._ranks = ranks
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, channels, …), in float32 as the original does under autocast."""
        x = self._normalised(input) if self.training else super().forward(input)
        for module in self.children():
            x = module(x)
        return x

    def _normalised(self, input: Tensor) -> Tensor:
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        variance, mean = torch.var_mean(x, dim=[d for d in range(x.ndim) if d != 1], correction=0)
        # One sum over the ranks exchanges both: each rank fills only its own row. The total
        # variance is the mean of the variances plus the variance of the means; this form avoids
        # cancellation.
        own = torch.stack([mean, variance])
        rows = torch.arange(self._ranks.size, device=own.device) == self._ranks.rank
        every = self._ranks.sum(rows[:, None, None] * own)
        means, variances = every.unbind(1)
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)
        self._update_running(mean, variance, self._ranks.size * x.numel() // x.shape[1])
        shape = [1, -1] + [1] * (x.ndim - 2)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (x * scale.view(shape) + shift.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, n: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)


def synchronise_batch_norm(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Let every batch norm of a model see all ranks; a single process leaves the model unchanged.

    Names, parameters and buffers of the model do not change.
    """
    if ranks.size == 1:
        return model
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _Base):
                setattr(parent, name, SynchronisedBatchNorm(child, ranks))
    return model
