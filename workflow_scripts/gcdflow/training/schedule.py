"""What changes with the epoch: weight of the pseudo loss, learning rate, teacher's temperature.

All are pure functions of the *global* epoch number, so a run that is cut into segments follows the
same curves as one that is not.
"""

from __future__ import annotations

import math


def gamma(
    epoch: int, *, warmup_epochs: int, total_epochs: int, gamma_ramp_epochs: int | None = None
) -> float:
    """Weight of the pseudo loss in one epoch: 0 in the warm-up, then a linear ramp to 1.

    The ramp ends at ``total_epochs``, or ``gamma_ramp_epochs`` after the warm-up if given. A run
    that is all warm-up has no ramp: its gamma is 0 throughout.

    Parameters
    ----------
    epoch : int
        Number of the epoch being trained, from 1.
    warmup_epochs, total_epochs : int
        0 <= warmup_epochs <= total_epochs, of the whole run.
    gamma_ramp_epochs : int, optional
        Length of the ramp; 0 means 1 from the first epoch after the warm-up on.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    _check_epoch(epoch)
    if not 0 <= warmup_epochs <= total_epochs:
        raise ValueError(
            f"warmup_epochs is {warmup_epochs}, expected 0 to total_epochs ({total_epochs})"
        )
    if gamma_ramp_epochs is not None and gamma_ramp_epochs < 0:
        raise ValueError(
            f"gamma_ramp_epochs is {gamma_ramp_epochs}, expected 0 (at once) or more, "
            "or None to ramp until total_epochs"
        )
    if epoch <= warmup_epochs or warmup_epochs == total_epochs:
        return 0.0
    ramp = total_epochs - warmup_epochs if gamma_ramp_epochs is None else gamma_ramp_epochs
    return min((epoch - warmup_epochs) / ramp, 1.0) if ramp else 1.0


def cosine_lr(epoch: int, *, total_epochs: int, lr: float, final_factor: float = 1e-3) -> float:
    r"""Learning rate of one epoch: half a cosine from ``lr`` towards ``lr * final_factor``.

    .. math:: \eta_{min} + (lr - \eta_{min}) (1 + \cos(\pi (epoch - 1) / total)) / 2

    Epoch 1 has exactly ``lr``; the minimum would be reached one epoch after the last, as with
    ``torch.optim.lr_scheduler.CosineAnnealingLR`` stepped at the end of each epoch.

    Parameters
    ----------
    epoch : int
        Number of the epoch being trained, from 1 to ``total_epochs``.
    total_epochs : int
        Epochs of the whole run.
    lr : float
        Initial learning rate.
    final_factor : float
        :math:`\eta_{min} / lr`.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the epoch is outside 1 to ``total_epochs``.

    References
    ----------
    Loshchilov and Hutter, *SGDR*, arXiv 1608.03983, eq. 5, without restarts.
    """
    _check_epoch(epoch)
    if epoch > total_epochs:
        raise ValueError(
            f"epoch is {epoch}, expected 1 to total_epochs ({total_epochs}); "
            "beyond them the cosine would rise again"
        )
    lowest = lr * final_factor
    rate = lowest + (lr - lowest) * (1 + math.cos(math.pi * (epoch - 1) / total_epochs)) / 2
    return lr * (rate / lr)  # rounded as by PyTorch's LambdaLR, which trained earlier runs


def teacher_temperature(
    epoch: int, *, begin: int = 0, first: float = 0.07, last: float = 0.04, ramp_epochs: int = 30
) -> float:
    r"""Temperature of SimGCD's soft labels in one epoch: half a cosine from ``first`` to ``last``.

    .. math:: \tau_t = last + (first - last) (1 + \cos(\pi \min(1, (epoch - begin - 1) / ramp))) / 2

    Parameters
    ----------
    epoch : int
        Number of the epoch being trained, from 1.
    begin : int
        Epochs that were done when the classifier joined; the next one has exactly ``first``.
    first, last : float
        Temperatures at the start, and after the ramp.
    ramp_epochs : int
        Length of the ramp; 0 means ``last`` from the start.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the epoch is not one of a classifier.

    References
    ----------
    Wen et al., *Parametric Classification for Generalized Category Discovery*, arXiv 2211.11727,
    section 5.1.
    """
    _check_epoch(epoch)
    if epoch <= begin:
        raise ValueError(f"epoch is {epoch}, but the classifier only joins after epoch {begin}")
    share = min((epoch - begin - 1) / ramp_epochs, 1.0) if ramp_epochs else 1.0
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _check_epoch(epoch: int) -> None:
    if epoch < 1:
        raise ValueError(f"epoch is {epoch}, expected 1 or more: epochs are counted from 1")
