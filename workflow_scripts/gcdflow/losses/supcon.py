"""Supervised contrastive loss: samples that belong together attract, all others repel."""

from __future__ import annotations

import torch
from torch import Tensor

from gcdflow.losses._tensors import check_shape, scaled_similarities, weighted_mean, zero_loss


def sup_con(
    z: Tensor, labels: Tensor, *, temperature: float = 0.07, weights: Tensor | None = None
) -> Tensor:
    r"""Supervised contrastive loss :math:`L_{out}`, optionally with a weight per anchor.

    For each anchor :math:`i` with positives :math:`P(i)` (same label, itself excluded),

    .. math::
        \ell_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)}
            \log \frac{\exp(z_i \cdot z_p / \tau)}{\sum_{a \ne i} \exp(z_i \cdot z_a / \tau)}

    The loss is :math:`\sum_i w_i \ell_i / \sum_i w_i` over the anchors that have positives.

    Parameters
    ----------
    z : Tensor of shape (N, d), floating point
        L2-normalised embeddings, all views stacked.
    labels : Tensor of shape (N,), int64
        Classes or pseudo labels, of any value. The value -1 is a class like any other: leave out
        samples without a label before the call.
    temperature : float
        :math:`\tau > 0`; the paper's 0.07 by default.
    weights : Tensor of shape (N,), optional
        Non-negative weight of each embedding *as an anchor*; None gives all the same weight.

    Returns
    -------
    Tensor, scalar, at least float32
        If no anchor with a positive weight has positives, 0 with a gradient of 0.

    Raises
    ------
    ValueError
        If shapes do not match.

    References
    ----------
    Khosla et al., *Supervised Contrastive Learning*, arXiv 2004.11362, eq. 2. It is the supervised
    term of Vaze et al., *Generalized Category Discovery*, arXiv 2201.02609, eq. 2.
    """
    check_shape("labels", labels, len(z))
    positive = labels[:, None] == labels[None, :]
    return sup_con_pairs(z, positive, temperature=temperature, weights=weights)


def sup_con_pairs(
    z: Tensor, positive: Tensor, *, temperature: float = 0.07, weights: Tensor | None = None
) -> Tensor:
    r"""The supervised contrastive loss with any positives: a matrix says which pairs attract.

    It is :func:`sup_con` where :math:`P(i)` is row i of the matrix without its diagonal.

    Parameters
    ----------
    z : Tensor of shape (N, d), floating point
        L2-normalised embeddings.
    positive : Tensor of shape (N, N), bool
        Whether the column is a positive of the row. The diagonal does not count.
    temperature, weights
        As in :func:`sup_con`; so are the result and the errors.
    """
    n, _ = z.shape
    check_shape("positive", positive, n, n)
    check_shape("weights", weights, n)
    if n < 2:
        return zero_loss(z)
    itself = torch.eye(n, dtype=torch.bool, device=z.device)
    positive = positive & ~itself
    n_positives = positive.sum(dim=1)
    logits = scaled_similarities(z, z, temperature).masked_fill(itself, -torch.inf)
    # masked_fill, not a product: the diagonal is -inf, and -inf * 0 would be NaN.
    log_share = logits.log_softmax(dim=1).masked_fill(~positive, 0.0)
    losses = -log_share.sum(dim=1) / n_positives.clamp(min=1)
    return weighted_mean(losses, n_positives > 0, weights)
