"""What the estimators accept; everything else is answered with one sentence."""

from __future__ import annotations

import numbers
from collections.abc import Iterable

import numpy as np
from sklearn.utils.validation import validate_data

from gcdflow.errors import InputError

LARGEST = 1e150  # squares of larger values are no longer finite


def features(X, *, name: str = "X", estimator=None, reset: bool = True) -> np.ndarray:
    """A finite (n, d) float16, float32 or float64 array.

    With an estimator, its ``n_features_in_`` is set, or compared where ``reset`` is false.
    """
    if estimator is not None:
        X = validate_data(
            estimator,
            X,
            reset=reset,
            dtype=[np.float64, np.float32, np.float16],
            ensure_all_finite=False,
            ensure_min_samples=0,
        )
    X = np.asarray(X)
    if X.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {X.dtype}, expected real numbers (float16 to float64)")
    if X.ndim != 2 or X.shape[1] < 1:
        raise InputError(
            f"{name} has shape {X.shape}, expected (n_samples, n_features); reshape a single"
            " feature to (-1, 1)"
        )
    if X.dtype not in (np.float16, np.float32, np.float64):
        X = X.astype(np.float64)
    good = np.isfinite(X).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{name} contains NaN or infinity in {int((~good).sum())} of {len(X)} rows (first: row"
            f" {row}), expected finite values; remove these rows or mend the features"
        )
    if X.dtype == np.float64 and X.size and max(-X.min(), X.max()) > LARGEST:
        raise InputError(
            f"{name} contains values up to {np.abs(X).max():.3g}, expected at most {LARGEST:g};"
            " rescale the features"
        )
    return X


def training_features(X, estimator) -> np.ndarray:
    """Features of at least two samples."""
    X = features(X, estimator=estimator)
    if len(X) < 2:
        raise InputError(
            f"X has {len(X)} sample(s), expected at least 2: a density needs a neighbour"
            " (minimum of 2 is required)"
        )
    return X


def labels(y, n: int) -> np.ndarray:
    """Consecutive class numbers (n,) int32, -1 = unlabelled, from any integers >= -1."""
    if y is None:
        return np.full(n, -1, dtype=np.int32)
    y = np.asarray(y)
    if y.shape != (n,):
        raise InputError(f"y has shape {y.shape}, expected ({n},): one label per row of X")
    whole = y.dtype.kind in "iu" or (y.dtype.kind == "f" and (y == np.floor(y)).all())
    if not whole:
        raise InputError(
            f"y has dtype {y.dtype} (Unknown label type), expected integers; encode classes as"
            " 0, 1, … and unlabelled samples as -1"
        )
    if n and y.min() < -1:
        raise InputError(
            f"y contains {int(y.min())}, expected classes from 0 and -1 for unlabelled samples"
        )
    classes, numbers_ = np.unique(y, return_inverse=True)
    return (numbers_ - (classes[0] == -1)).astype(np.int32)


def neighbours(k, *, name: str = "k") -> int:
    """A whole number of neighbours, at least 1."""
    if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 1:
        raise InputError(f"{name} is {k!r}, expected a whole number of neighbours, at least 1")
    return int(k)


def percentile(p, *, name: str = "density_percentile") -> float:
    """A percentile between 0 and 100, an int where it is one."""
    if isinstance(p, bool) or not isinstance(p, numbers.Real) or not 0 <= p <= 100:
        raise InputError(f"{name} is {p!r}, expected a percentile between 0 and 100")
    return int(p) if isinstance(p, numbers.Integral) else float(p)


def grid(values, check, name: str) -> list:
    """The distinct values of one axis of the grid, ascending."""
    if isinstance(values, numbers.Number):
        values = [values]
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(
            f"{name} is {values!r}, expected a sequence of numbers such as range(3, 21)"
        )
    checked = sorted({check(value, name=f"a value of {name}") for value in values})
    if not checked:
        raise InputError(f"{name} is empty, expected at least one value")
    return checked


def weight(value, name: str) -> float:
    """A finite weight of a part of the score."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not np.isfinite(value):
        raise InputError(f"{name} is {value!r}, expected a finite number")
    return float(value)
