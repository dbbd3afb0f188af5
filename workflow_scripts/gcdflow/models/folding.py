"""Batch norms of a frozen front, computed by the convolutions before them.

In evaluation mode, a batch norm is a linear map of each channel. With other weights, the
convolution before it gives the same numbers up to rounding, and a pass over all pixels is saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

Run = Callable[[nn.Module, Tensor], Tensor]

_TOLERANCE = 1e-3  # of the largest number; rounding gives about 1e-6


class Folded:
    """A network that runs without those of its batch norms that convolutions can compute.

    It keeps no weights: :meth:`weights` folds those that the network has then. So it follows every
    change of them, and adds nothing to the network's state.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    run : callable
        Runs a model on images, as far as is wanted.
    image : Tensor (1, 3, height, width)
        For trial runs, which show what follows on what.

    Attributes
    ----------
    pairs : list of (str, str)
        Names of convolutions and of the batch norms that they compute; empty if there are none.
    """

    def __init__(self, model: nn.Module, run: Run, image: Tensor):
        self._model, self._run, self.pairs = model, run, _pairs(model, run, image)
        if self.pairs:
            self._shell = _Running(_without(copy.deepcopy(model), self.pairs).to("meta"), run)
            self.pairs = self.pairs if self._agrees(image) else []

    def weights(self) -> dict[str, Tensor]:
        """The network's present weights, folded; for any number of calls."""
        return _weights(self._model, self.pairs)

    def __call__(self, images: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """What ``run`` gives for images (B, 3, height, width)."""
        if not self.pairs:
            return self._run(self._model, images)
        return torch.func.functional_call(self._shell, weights, (images,))

    @torch.no_grad()
    def _agrees(self, image: Tensor) -> bool:
        """Whether nothing but its batch norm reads what a convolution gives."""
        trial = copy.deepcopy(self._model)
        for _, name in self.pairs:  # new ones do nothing, and would hide an error
            norm = trial.get_submodule(name)
            for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                values.copy_(torch.linspace(0.5, 1.5, norm.num_features))
        expected = self._run(trial, image)
        folded = torch.func.functional_call(self._shell, _weights(trial, self.pairs), (image,))
        difference = (folded - expected).abs().max()
        return bool(difference <= _TOLERANCE * expected.abs().max())


class _Running(nn.Module):
    def __init__(self, model: nn.Module, run: Run):
        super().__init__()
        self.model, self._run = model, run

    def forward(self, images: Tensor) -> Tensor:
        return self._run(self.model, images)


@torch.no_grad()
def _pairs(model: nn.Module, run: Run, image: Tensor) -> list[tuple[str, str]]:
    """Convolutions and the batch norms that are given what they return, if called once each."""
    given: list[tuple[str, Tensor]] = []
    pairs, calls = [], []

    def convolved(name: str) -> Callable:
        def note(module: nn.Module, args: tuple, output: Tensor) -> None:
            calls.append(name)
            given.append((name, output))

        return note

    def normed(name: str) -> Callable:
        def note(module: nn.Module, args: tuple) -> None:
            calls.append(name)
            pairs.extend((conv, name) for conv, output in given if output is args[0])

        return note

    if not any(map(_is_plain_norm, model.modules())):
        return []  # without a run, which takes long in a large transformer
    hooks = []
    for name, module in model.named_modules():
        if type(module) in (nn.Conv2d, Conv2dSame):
            hooks.append(module.register_forward_hook(convolved(name)))
        elif _is_plain_norm(module):
            hooks.append(module.register_forward_pre_hook(normed(name)))
    try:
        run(model, image)
    finally:
        for hook in hooks:
            hook.remove()
    return [pair for pair in pairs if all(calls.count(name) == 1 for name in pair)]


def _is_plain_norm(module: nn.Module) -> bool:
    """Whether it is a batch norm with weights and statistics of its own."""
    kinds = (nn.BatchNorm2d, BatchNormAct2d)
    return type(module) in kinds and module.affine and module.track_running_stats


def _without(model: nn.Module, pairs: list[tuple[str, str]]) -> nn.Module:
    """The same model, whose convolutions have a bias and whose batch norms do nothing."""
    for conv_name, norm_name in pairs:
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        conv.bias = nn.Parameter(conv.weight.new_empty(conv.out_channels), requires_grad=False)
        after = norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()
        model.set_submodule(norm_name, after)
    return model


def _weights(model: nn.Module, pairs: list[tuple[str, str]]) -> dict[str, Tensor]:
    """Parameters and buffers of the model of :func:`_without`, as :class:`_Running` names them."""
    found = dict(model.named_parameters(remove_duplicate=False))
    found |= dict(model.named_buffers(remove_duplicate=False))
    for conv_name, norm_name in pairs:
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        statistics = norm.running_mean, norm.running_var, norm.eps
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, *statistics, norm.weight, norm.bias
        )
        found[f"{conv_name}.weight"], found[f"{conv_name}.bias"] = weight, bias
        for name, _ in [*norm.named_parameters(), *norm.named_buffers()]:
            del found[f"{norm_name}.{name}"]
    return {f"model.{name}": value for name, value in found.items()}
