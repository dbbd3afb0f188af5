"""Mean-entropy regulariser: it pulls the mean prediction of a batch towards equal categories."""

from __future__ import annotations

import math

from torch import Tensor

from gcdflow.losses._tensors import scaled_similarities, zero_loss


def mean_entropy_gap(x: Tensor, prototypes: Tensor, *, temperature: float = 0.1) -> Tensor:
    r"""What the entropy of the mean prediction lacks of the largest entropy there is.

    With the predictions :math:`p_i` of all views (see
    :func:`~gcdflow.losses.distillation.self_distillation`) and their mean :math:`\bar{p}`, it is

    .. math::
        \log K - H(\bar{p}), \quad H(\bar{p}) = -\sum_k \bar{p}_k \log \bar{p}_k

    which is 0 if all categories are predicted equally often. Without it, categories die out.

    Parameters
    ----------
    x : Tensor of shape (N, d), floating point
        L2-normalised features, all views of a batch stacked.
    prototypes : Tensor of shape (K, d), floating point
        L2-normalised; gradients flow through them.
    temperature : float
        :math:`\tau_s > 0`, of predictions.

    Returns
    -------
    Tensor, scalar, at least float32
        From 0 to log K. For N = 0, 0 with a gradient of 0.

    References
    ----------
    Wen et al., arXiv 2211.11727, section 4.2, second term of the unsupervised classification
    objective, plus the constant log K; after Assran et al., *Masked Siamese Networks*,
    arXiv 2204.07141, section 3.
    """
    if len(x) == 0:
        return zero_loss(x)
    predicted = scaled_similarities(x, prototypes, temperature).log_softmax(dim=1)
    # As a logarithm: the mean itself may round to 0, where the entropy has no gradient.
    log_mean = predicted.logsumexp(dim=0) - math.log(len(x))
    return math.log(len(prototypes)) + (log_mean.exp() * log_mean).sum()
