"""What changes with the epoch: weight of the pseudo loss, learning rate, teacher's temperature.

All are pure functions of the *global* epoch number, from 1, so a run that is cut into segments
follows the same curves as one that is not. See docs/contract.md, section 5.
"""

from __future__ import annotations

import math


def gamma(
    epoch: int, *, warmup_epochs: int, total_epochs: int, gamma_ramp_epochs: int | None
) -> float:
    """Weight γ of the pseudo loss: 0 in the warm-up, then a linear ramp to 1.

    The ramp takes ``gamma_ramp_epochs`` (0: it is a step), or lasts to ``total_epochs`` if None.
    """
    if epoch <= warmup_epochs:
        return 0.0
    ramp = total_epochs - warmup_epochs if gamma_ramp_epochs is None else gamma_ramp_epochs
    return min((epoch - warmup_epochs) / ramp, 1.0) if ramp else 1.0


def cosine_lr(epoch: int, *, total_epochs: int, lr: float, final_factor: float) -> float:
    """Learning rate: half a cosine from ``lr`` towards ``lr * final_factor``.

    That would be reached one epoch after the last, as in PyTorch's ``CosineAnnealingLR``.
    Loshchilov and Hutter, *SGDR*, arXiv 1608.03983, eq. 5, without restarts.
    """
    lowest = lr * final_factor
    rate = lowest + (lr - lowest) * (1 + math.cos(math.pi * (epoch - 1) / total_epochs)) / 2
    return lr * (rate / lr)  # rounded as by PyTorch's LambdaLR, which trained earlier runs


def teacher_temperature(
    epoch: int, *, begin: int, first: float, last: float, ramp_epochs: int
) -> float:
    """Temperature of SimGCD's soft labels: half a cosine from ``first`` to ``last`` (section 5.1).

    ``begin`` epochs were done when the classifier joined. The ramp takes ``ramp_epochs`` (0: all
    are at ``last``).
    """
    share = min((epoch - begin - 1) / ramp_epochs, 1.0) if ramp_epochs else 1.0
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
