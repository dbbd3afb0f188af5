"""Stateless randomness: each number is a pure function of its key.

A counter-based generator (SplitMix64's finaliser, Steele et al. 2014, chained over the key) gives
every (seed, epoch, sample, view, draw) its own number. It keeps no state between calls, so results
do not depend on how an epoch is divided into batches, workers, segments or processes.
"""

from __future__ import annotations

import numpy as np

# Parts of keys that keep the numbers of each use apart. A change gives other results.
LABELLED_STREAM, UNLABELLED_STREAM = 0, 1
AUGMENTATION_STREAM = 2
TORCH_STREAM = 3
STORED_DRAW_STREAM = 4
NEIGHBOUR_STREAM = 5
STORED_VIEWS_STREAM = 5  # as the one before, but of epoch 0; training begins with epoch 1

_GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def hash_keys(*keys: int | np.ndarray) -> np.ndarray:
    """Hash integer keys to uint64; the keys are broadcast against each other.

    Parameters
    ----------
    *keys : int or ndarray of int
        At least one; the order matters.

    Returns
    -------
    ndarray of uint64, of the broadcast shape
    """
    arrays = np.broadcast_arrays(*(np.asarray(key, dtype=np.int64) for key in keys))
    state = np.zeros(arrays[0].shape, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for array in arrays:
            state = _mix((state ^ array.astype(np.uint64)) + _GOLDEN_GAMMA)
    return state


def uniforms(n_draws: int, *keys: int | np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1), ``n_draws`` for each combination of keys.

    Returns
    -------
    ndarray of float64, shape (*broadcast shape of keys, n_draws)
    """
    expanded = [np.asarray(key, dtype=np.int64)[..., None] for key in keys]
    bits = hash_keys(*expanded, np.arange(n_draws, dtype=np.int64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(ids: np.ndarray, *keys: int) -> np.ndarray:
    """The ids in an order that depends only on the keys and on the ids themselves."""
    ids = np.sort(np.asarray(ids, dtype=np.int64))
    return ids[np.argsort(hash_keys(*keys, ids), kind="stable")]
