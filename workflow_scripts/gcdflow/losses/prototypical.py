"""Prototypical loss: it pulls every sample towards the prototype of its pseudo cluster."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gcdflow.losses._tensors import (
    at_least_float32,
    check_shape,
    scaled_similarities,
    weighted_mean,
    zero_loss,
)

_SMALLEST_NORM = 1e-12  # below this a direction is rounding noise; also the eps of F.normalize


def prototypical(
    z: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    *,
    temperature: float = 0.1,
    weights: Tensor | None = None,
) -> Tensor:
    r"""Cross-entropy over the similarities to all prototypes, optionally weighted.

    .. math::
        \ell_i = -\log \frac{\exp(z_i \cdot c_{y_i} / \tau)}{\sum_k \exp(z_i \cdot c_k / \tau)}

    The loss is :math:`\sum_i w_i \ell_i / \sum_i w_i`. A prototype that is a zero row stands for a
    cluster without members: the softmax skips it, and samples with its label are left out.

    Parameters
    ----------
    z : Tensor of shape (N, d), floating point
        L2-normalised embeddings.
    labels : Tensor of shape (N,), int64
        Clusters in [0, K).
    prototypes : Tensor of shape (K, d), floating point
        L2-normalised rows or zero rows, as :func:`cluster_prototypes` returns them.
    temperature : float
        :math:`\tau > 0`.
    weights : Tensor of shape (N,), optional
        Non-negative weight of each sample; None gives all the same weight.

    Returns
    -------
    Tensor, scalar, at least float32
        If no sample with a positive weight is left, 0 with a gradient of 0.

    Raises
    ------
    ValueError
        If shapes do not match.

    References
    ----------
    Snell et al., *Prototypical Networks for Few-shot Learning*, arXiv 1703.05175, eq. 2, with
    cosine similarity over a temperature instead of the negative squared Euclidean distance.
    """
    check_shape("labels", labels, len(z))
    check_shape("z", z, len(labels), prototypes.shape[1])
    check_shape("weights", weights, len(z))
    if len(z) == 0:
        return zero_loss(z)
    empty = (prototypes == 0).all(dim=1)
    kept = ~empty[labels]
    logits = scaled_similarities(z, prototypes, temperature)
    # Samples left out keep all their logits, so that their loss is finite and 0 * loss is 0.
    logits = logits.masked_fill(kept[:, None] & empty[None, :], -torch.inf)
    return weighted_mean(F.cross_entropy(logits, labels, reduction="none"), kept, weights)


def cluster_prototypes(z: Tensor, labels: Tensor, n_clusters: int) -> Tensor:
    """Prototype of each cluster: the mean of its members, L2-normalised.

    Parameters
    ----------
    z : Tensor of shape (N, d), floating point
        Embeddings; gradients flow through them.
    labels : Tensor of shape (N,), int64
        Clusters in [0, n_clusters).
    n_clusters : int
        K.

    Returns
    -------
    Tensor of shape (K, d), at least float32
        A cluster without members has a zero row.

    References
    ----------
    Snell et al., arXiv 1703.05175, eq. 1, projected onto the unit sphere.
    """
    sums, _ = _sums_and_counts(z, labels, n_clusters)
    return F.normalize(sums, dim=1, eps=_SMALLEST_NORM)


@torch.no_grad()
def update_prototypes(prototypes: Tensor, z: Tensor, labels: Tensor, *, momentum: float) -> Tensor:
    """Move the prototypes of the clusters in a batch towards their batch means.

    ``c_k`` becomes ``momentum * c_k + (1 - momentum) * mean_k``, L2-normalised, where ``mean_k`` is
    the mean of the batch's members of cluster k. Prototypes of absent clusters do not change by a
    bit, nor does a prototype that its batch mean would cancel to zero.

    Parameters
    ----------
    prototypes : Tensor of shape (K, d), floating point
        L2-normalised rows or zero rows; a zero row takes the direction of its first batch mean.
    z : Tensor of shape (B, d), floating point
        L2-normalised embeddings.
    labels : Tensor of shape (B,), int64
        Clusters in [0, K).
    momentum : float
        In [0, 1]; 0 forgets the old prototype, 1 keeps it.

    Returns
    -------
    Tensor of shape (K, d), dtype of ``prototypes``
        A new tensor that requires no gradient.

    Raises
    ------
    ValueError
        If shapes do not match.
    """
    check_shape("z", z, len(labels), prototypes.shape[1])
    sums, counts = _sums_and_counts(z, labels, len(prototypes))
    means = sums / counts.clamp(min=1)
    moved = momentum * at_least_float32(prototypes) + (1 - momentum) * means
    norms = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    unit = (moved / norms.clamp(min=_SMALLEST_NORM)).to(prototypes.dtype)
    return torch.where((counts > 0) & (norms > _SMALLEST_NORM), unit, prototypes)


def _sums_and_counts(z: Tensor, labels: Tensor, n_clusters: int) -> tuple[Tensor, Tensor]:
    """Sum (K, d) and number (K, 1) of the rows of each cluster."""
    z = at_least_float32(z)
    sums = z.new_zeros(n_clusters, z.shape[1]).index_add(0, labels, z)
    counts = z.new_zeros(n_clusters, 1).index_add(0, labels, z.new_ones(len(z), 1))
    return sums, counts
