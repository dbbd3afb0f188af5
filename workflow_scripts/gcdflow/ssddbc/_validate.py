"""Checks of the estimators' input; each error is one sentence."""

from __future__ import annotations

import numbers
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, validate_data

from gcdflow.errors import InputError

ROWS_AT_ONCE = 65_536
LARGEST = 1e150  # squares of larger values are no longer finite


def array(values, name: str) -> np.ndarray:
    """The values as a NumPy array; an error if the conversion would lose information."""
    _refuse_hidden(values, name)
    try:
        found = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} is not an array: {_first_line(error)}") from None
    if found.dtype == object and found.ndim == 0:
        raise InputError(f"{name} is of type {type(values).__name__}, expected an array or a list")
    return found


def features(X, *, name: str = "X") -> np.ndarray:
    """The features as a finite (n, d) float16, float32 or float64 array."""
    _refuse_hidden(X, name)
    expected = "expected real numbers (float16 to float64)"
    try:
        X = check_array(
            X,
            dtype=None,
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite=False,
            ensure_min_samples=0,
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {_first_line(error)}; {expected}") from None
    if X.dtype.kind not in "fiubO":
        raise InputError(f"{name} has dtype {X.dtype}, {expected}")
    if X.ndim != 2:
        raise InputError(
            f"{name} has shape {X.shape}, expected (n_samples, n_features). Reshape your data to"
            " (-1, 1) if it is a single feature, to (1, -1) if it is a single sample"
        )
    if X.dtype not in (np.float16, np.float32, np.float64):
        try:
            X = X.astype(np.float64)
        except ValueError as error:  # text; other objects raise a TypeError, as usual
            raise InputError(f"{name}: {_first_line(error)}; {expected}") from None
    # In blocks: a mask of all values would take a quarter of the memory of float32 features.
    blocks = [X[start : start + ROWS_AT_ONCE] for start in range(0, len(X), ROWS_AT_ONCE)]
    good = np.concatenate([[], *(np.isfinite(block).all(axis=1) for block in blocks)]).astype(bool)
    if not good.all():
        row = int(np.argmin(good))
        raise InputError(
            f"{name} contains NaN or infinity in {int((~good).sum())} of {len(X)} rows (first: row"
            f" {row}), expected finite values; remove these rows or correct the features"
        )
    if X.dtype == np.float64 and X.size and max(-X.min(), X.max()) > LARGEST:
        raise InputError(
            f"{name} contains values up to {np.abs(X).max():.3g}, expected at most {LARGEST:g};"
            " rescale the features"
        )
    return X


def training_samples(X, y) -> tuple[np.ndarray, np.ndarray]:
    """Features of at least two samples, and their class numbers as :func:`labels` returns them."""
    checked = features(X)
    if len(checked) < 2:
        raise InputError(
            f"X has {len(checked)} sample(s), expected at least 2: a density needs a neighbour"
            " (minimum of 2 is required)"
        )
    # Names of features: an estimator keeps them when it is fitted, but bad ones are refused now.
    validate_data(BaseEstimator(), X, skip_check_array=True)
    return checked, labels(y, len(checked))


def new_samples(X, estimator) -> np.ndarray:
    """Features whose number and names match those of the fit."""
    checked = features(X)
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return checked


def labels(y, n: int) -> np.ndarray:
    """Consecutive class numbers (n,) int32, -1 = unlabelled; ``y`` holds whole numbers >= -1."""
    if y is None:
        return np.full(n, -1, dtype=np.int32)
    y = array(y, "y")
    if y.shape != (n,):
        raise InputError(f"y has shape {y.shape}, expected ({n},): one label per row of X")
    whole = _whole(y)
    if not whole.all():
        first = int(np.argmin(whole))
        raise InputError(
            f"y has dtype {y.dtype} (Unknown label type) and contains {y.tolist()[first]!r} in"
            f" {int((~whole).sum())} of {n} places (first: sample {first}), expected integers;"
            " encode classes as 0, 1, … and unlabelled samples as -1"
        )
    if n and y.min() < -1:
        raise InputError(
            f"y contains {int(y.min())}, expected classes from 0 and -1 for unlabelled samples"
        )
    classes, numbers_ = np.unique(y, return_inverse=True)
    return (numbers_ - (classes[0] == -1)).astype(np.int32)


def _whole(y: np.ndarray) -> np.ndarray:
    """Which values are whole numbers, (n,) bool."""
    if y.dtype.kind == "f":
        return np.isfinite(y) & (y == np.floor(y))
    if y.dtype.kind == "O":  # for example from pandas
        found = [isinstance(v, numbers.Real) and not isinstance(v, bool) and v == v // 1 for v in y]
        return np.array(found, dtype=bool)
    return np.full(y.shape, y.dtype.kind in "iu")


def _refuse_hidden(values, name: str) -> None:
    """Refuse sparse matrices and masked values, which NumPy would convert without an error."""
    if issparse(values):
        raise InputError(
            f"{name} is sparse, expected a dense array; convert it with its method toarray()"
        )
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(
            f"{name} has {np.ma.count_masked(values)} masked values, expected none; fill them first"
            " with its method filled(…)"
        )


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".:")


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
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, numbers.Number):
        values = [values]
    # An iterator would be empty at the second fit and cannot be cloned.
    if isinstance(values, str | bytes | Iterator) or not isinstance(values, Iterable):
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


def search_options(normalize, neighbours, device) -> dict[str, Any]:
    """Parameters of the estimators by name, which say how neighbours are searched for."""
    # Not text, because a word such as "no" would count as true.
    if not isinstance(normalize, bool | np.bool_ | numbers.Integral) or normalize not in (0, 1):
        raise InputError(f"normalize is {normalize!r}, expected True or False")
    if neighbours is not None and neighbours not in ("exact", "approximate"):
        raise InputError(f"neighbours is {neighbours!r}, expected 'exact', 'approximate' or None")
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InputError(f"device is {device!r}, expected 'cpu', 'cuda' or 'cuda:<number>'")
    return {"normalize": bool(normalize), "neighbours": neighbours, "device": device}


def function(value, name: str):
    """A callable or None."""
    if value is not None and not callable(value):
        raise InputError(f"{name} is {value!r}, expected a function or None")
    return value
