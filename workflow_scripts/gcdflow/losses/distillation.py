"""Self-distillation: each view learns the sharper prediction for the other view."""

from __future__ import annotations

from torch import Tensor

from gcdflow.losses._tensors import check_shape, scaled_similarities, zero_loss


def self_distillation(
    x1: Tensor,
    x2: Tensor,
    prototypes: Tensor,
    *,
    temperature: float = 0.1,
    teacher_temperature: float = 0.04,
) -> Tensor:
    r"""Cross-entropy between the soft labels of one view and the prediction of the other.

    With prototypes :math:`c_k`, a view is predicted to be of category k with probability

    .. math::
        p_k = \frac{\exp(x \cdot c_k / \tau_s)}{\sum_j \exp(x \cdot c_j / \tau_s)}

    Its soft label q is the same with the temperature :math:`\tau_t`, and a constant: no gradient
    flows through it. The loss is the mean over all 2B views of

    .. math::
        \ell_i = -\sum_k q'_k \log p_k

    where q' is the soft label of the other view of the same image.

    Parameters
    ----------
    x1, x2 : Tensor of shape (B, d), floating point
        L2-normalised features; row i of both is a view of the same image.
    prototypes : Tensor of shape (K, d), floating point
        L2-normalised; gradients flow through them.
    temperature : float
        :math:`\tau_s > 0`, of predictions.
    teacher_temperature : float
        :math:`\tau_t > 0`, of soft labels.

    Returns
    -------
    Tensor, scalar, at least float32
        For B = 0, 0 with a gradient of 0.

    Raises
    ------
    ValueError
        If the shapes of the views differ.

    References
    ----------
    Wen et al., *Parametric Classification for Generalized Category Discovery: A Baseline Study*,
    arXiv 2211.11727, section 4.2, first term of the unsupervised classification objective, for both
    views of an image.
    """
    check_shape("x2", x2, *x1.shape)
    if len(x1) == 0:
        return zero_loss(x1)
    views = [scaled_similarities(x, prototypes, 1.0) for x in (x1, x2)]
    predicted = [(view / temperature).log_softmax(dim=1) for view in views]
    soft_labels = [(view.detach() / teacher_temperature).softmax(dim=1) for view in views]
    losses = [
        -(label * prediction).sum(dim=1).mean()
        for label, prediction in zip(reversed(soft_labels), predicted, strict=True)
    ]
    return (losses[0] + losses[1]) / 2
