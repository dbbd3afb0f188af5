"""Weights of pseudo labels, from the densities of their samples."""

from __future__ import annotations

import numpy as np

_STEEPNESS = 12.0  # sigmoid from 0.0025 at the sparsest to 0.9975 at the densest sample
_INVERSE_RANGE = (0.2, 0.8)  # keeps dense samples relevant and sparse ones from dominating


def pseudo_weights(densities: np.ndarray, mode: str) -> np.ndarray:
    """Weight of each pseudo-labelled sample, by the rank of its density.

    Let r be the rank of a density (1 = sparsest; equal densities share their mean rank) divided by
    n. The weights are

    * ``none``: 1;
    * ``density``: sigmoid(12 (r - 0.5)), which trusts dense samples;
    * ``inverse_density``: 1 - sigmoid(12 (r - 0.5)), clipped to [0.2, 0.8], which favours sparse
      samples because they teach more.

    Parameters
    ----------
    densities : array-like of shape (n,)
        Densities, in any unit: only their order counts.
    mode : {'none', 'density', 'inverse_density'}

    Returns
    -------
    ndarray of shape (n,), float32
    """
    densities = np.asarray(densities)
    if mode == "none":
        return np.ones(len(densities), dtype=np.float32)
    relative_rank = _average_ranks(densities) / max(len(densities), 1)
    weights = 1 / (1 + np.exp(-_STEEPNESS * (relative_rank - 0.5)))
    if mode == "inverse_density":
        weights = np.clip(1 - weights, *_INVERSE_RANGE)
    return weights.astype(np.float32)


def _average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share their mean rank, as in ``scipy.stats.rankdata``."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]
