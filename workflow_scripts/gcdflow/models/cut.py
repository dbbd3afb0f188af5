"""Where a model of timm is cut: a front that is frozen, blocks that are trained, and what follows.

The blocks of a transformer or the stages of a convolutional or hierarchical model are found by
timm's own names. A trial run then shows how they are called. From the first trained block on, each
module must be given just what the one before returned, up to the end of ``forward_features``: only
then does calling them one by one give the model's own features.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

_CONTAINERS = ("blocks", "stages", "layers")
_NUMBERED = re.compile(r"(layer|stage|s)\d+")  # ResNet has layer1 … layer4
_PLAIN = (bool, int, float, str, type(None))


class CannotBeCut(Exception):
    """The model is no chain of blocks; the message says where."""


@dataclass(frozen=True)
class Call:
    """How a module is called.

    Attributes
    ----------
    name : str, the module's name in the model
    args, kwargs : what it is given besides its input
    """

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def on(self, device: torch.device) -> Call:
        """The same call with its tensors on a device."""

        def moved(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        kwargs = {name: moved(value) for name, value in self.kwargs.items()}
        return Call(self.name, tuple(map(moved, self.args)), kwargs)


def block_names(model: nn.Module) -> list[str]:
    """Names of the blocks or stages of a model of timm, in order.

    Raises
    ------
    CannotBeCut
        If it has none under a name that timm uses.
    """
    for container in _CONTAINERS:
        blocks = getattr(model, container, None)
        if isinstance(blocks, nn.Sequential | nn.ModuleList) and len(blocks) > 0:
            return [f"{container}.{name}" for name, _ in blocks.named_children()]
    names = [name for name, _ in model.named_children() if _NUMBERED.fullmatch(name)]
    if not names:
        raise CannotBeCut("it has no list of blocks, stages or layers")
    return names


@torch.no_grad()
def calls_from(model: nn.Module, first: str, image: Tensor) -> list[Call]:
    """All calls of a model's ``forward_features`` from a block on, found by a trial run.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode.
    first : str
        Name of the block.
    image : Tensor (1, 3, height, width)

    Raises
    ------
    CannotBeCut
        If the calls are no chain, or are given what depends on the image in another way.
    """
    calls = _chain(model, first, image)
    if any(isinstance(value, Tensor) for call in calls for value in _further(call)):
        for call, other in zip(calls, _chain(model, first, -image), strict=True):
            for value, again in zip(_further(call), _further(other), strict=True):
                if isinstance(value, Tensor) and not torch.equal(value, again):
                    raise CannotBeCut(f"{call.name} is given more than one thing of each image")
    return calls


def _further(call: Call) -> list[Any]:
    return [*call.args, *call.kwargs.values()]


def _chain(model: nn.Module, first: str, image: Tensor) -> list[Call]:
    blocks = block_names(model)
    containers = {name.partition(".")[0] for name in blocks} - set(blocks)
    watched = [*blocks, *(name for name, _ in model.named_children() if name not in containers)]
    calls: list[Call] = []
    passed: list[tuple[object, object]] = []  # input and output of each call

    def watch(name: str) -> Any:
        def note(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            calls.append(Call(name, args[1:], kwargs))
            passed.append((args[0] if args else None, output))

        return model.get_submodule(name).register_forward_hook(note, with_kwargs=True)

    hooks = [watch(name) for name in dict.fromkeys(watched)]
    try:
        end = model.forward_features(image)
    finally:
        for hook in hooks:
            hook.remove()
    names = [call.name for call in calls]
    if sorted(name for name in names if name in blocks) != sorted(blocks):
        raise CannotBeCut("its blocks are not called once each")
    start = names.index(first)
    given = [value for value, _ in passed[start + 1 :]] + [end]
    for name, (_, output), value in zip(names[start:], passed[start:], given, strict=True):
        if output is not value or not isinstance(output, Tensor):
            raise CannotBeCut(f"what {name} returns is not what comes next")
    for call in calls[start:]:
        for value in _further(call):
            parts = value if isinstance(value, tuple | list) else [value]
            if not isinstance(value, Tensor) and not all(type(part) in _PLAIN for part in parts):
                raise CannotBeCut(f"{call.name} is given a {type(value).__name__}")
    return calls[start:]


class Reached(Exception):
    """A forward pass came to the block where it was to end."""


def input_of(model: nn.Module, name: str, images: Tensor) -> Tensor:
    """What a block is given for images; nothing from the block on is computed."""
    found = []

    def end(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        found.append(args[0])
        raise Reached

    hook = model.get_submodule(name).register_forward_pre_hook(end)
    try:
        model.forward_features(images)
    except Reached:
        pass
    finally:
        hook.remove()
    return found[0]


# -- only the class token --------------------------------------------------------------------------


def reads_class_token(model: nn.Module, calls: list[Call]) -> bool:
    """Whether features are the class token's, and the last block can be computed for it alone.

    Parameters
    ----------
    calls : list of Call
        As of :func:`calls_from`, at least up to the last block.
    """
    if type(model) is not VisionTransformer or model.global_pool != "token":
        return False
    *_, last, norm = [model.get_submodule(call.name) for call in calls]
    return (
        model.attn_pool is None
        and [call.name for call in calls][-1] == "norm"
        and isinstance(norm, nn.LayerNorm | nn.Identity)  # of each token by itself
        and type(last) is Block
        and type(last.attn) is Attention
        and isinstance(last.attn.k_norm, nn.Identity)
        and isinstance(last.drop_path1, nn.Identity)
        and isinstance(last.drop_path2, nn.Identity)
        and not any(m.p for m in last.modules() if isinstance(m, nn.Dropout))
    )


def class_token(block: Block, x: Tensor) -> Tensor:
    """The first token after a block of timm's standard form: the block's numbers, with less work.

    With one query q, a head's scores are q · (W_k x_n) = (W_kᵀ q) · x_n, and its output is
    W_v (Σ a_n x_n) + b_v, where the weights a_n add up to 1. So keys and values of the tokens are
    never formed. The bias of the keys adds the same to all scores, which softmax ignores.

    Parameters
    ----------
    x : Tensor (B, tokens, width)

    Returns
    -------
    Tensor (B, 1, width)
    """
    attn = block.attn
    heads, size = attn.num_heads, attn.head_dim
    normed = block.norm1(x)
    first = normed[:, :1]
    w_q, w_k, w_v = attn.qkv.weight.chunk(3)
    b_q, _, b_v = (None,) * 3 if attn.qkv.bias is None else attn.qkv.bias.chunk(3)
    q = attn.q_norm(F.linear(first, w_q, b_q).unflatten(-1, (heads, size)).transpose(1, 2))
    seen = torch.einsum("bhd,hdc->bhc", q[:, :, 0], w_k.unflatten(0, (heads, size)))
    weights = (seen @ normed.transpose(1, 2) * attn.scale).softmax(dim=-1)
    values = torch.einsum("bhc,hdc->bhd", weights @ normed, w_v.unflatten(0, (heads, size)))
    y = values.flatten(1)[:, None]
    y = attn.norm(y if b_v is None else y + b_v)
    if attn.gate is not None:
        y = y * attn.gate(first).sigmoid()
    x = x[:, :1] + block.ls1(attn.proj(y))
    return x + block.ls2(block.mlp(block.norm2(x)))
