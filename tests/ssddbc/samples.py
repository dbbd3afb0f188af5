"""Samples in groups that are easy to find."""

import numpy as np


def groups(n=240, d=8, seed=0):
    """Four separated groups, the first two of them partly labelled."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(4, size=n)
    X = 5 * rng.normal(size=(4, d))[classes] + rng.normal(size=(n, d))
    y = np.where((classes < 2) & (rng.random(n) < 0.5), classes, -1)
    return X.astype(np.float32), y, classes
