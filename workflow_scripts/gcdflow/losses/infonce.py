"""InfoNCE between two views: every image against all others, without labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gcdflow.losses._tensors import at_least_float32, check_shape, scaled_similarities, zero_loss


def info_nce(z1: Tensor, z2: Tensor, *, temperature: float = 1.0) -> Tensor:
    r"""Symmetric InfoNCE (NT-Xent) over the 2B views of B images.

    For each view :math:`i` with the other view :math:`j` of its image,

    .. math::
        \ell_i = -\log
            \frac{\exp(z_i \cdot z_j / \tau)}{\sum_{k \ne i} \exp(z_i \cdot z_k / \tau)}

    The loss is the mean over all 2B views. The 2B - 2 views of other images are the negatives.

    Parameters
    ----------
    z1, z2 : Tensor of shape (B, d), floating point
        L2-normalised embeddings; row i of both is a view of the same image.
    temperature : float
        :math:`\tau > 0`.

    Returns
    -------
    Tensor, scalar, at least float32
        For B = 0 and for B = 1, which has no negatives, 0 with a gradient of 0.

    Raises
    ------
    ValueError
        If the shapes differ or are not (B, d).

    References
    ----------
    Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations*,
    arXiv 2002.05709, eq. 1. It is the unsupervised term of Vaze et al., *Generalized Category
    Discovery*, arXiv 2201.02609, eq. 1.
    """
    n_images, width = z1.shape
    check_shape("z2", z2, n_images, width)
    z = torch.cat([at_least_float32(z1), at_least_float32(z2)])
    if n_images == 0:
        return zero_loss(z)
    logits = scaled_similarities(z, z, temperature)
    itself = torch.eye(2 * n_images, dtype=torch.bool, device=z.device)
    other_view = torch.arange(2 * n_images, device=z.device).roll(n_images)
    return F.cross_entropy(logits.masked_fill(itself, -torch.inf), other_view)
