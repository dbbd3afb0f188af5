"""The files that pass between the stages: what is in them, how they are written, read and checked.

All are plain ``.npz`` archives, read with ``allow_pickle=False``. A reader checks names, dtypes,
shapes and value ranges before anybody uses a number, and raises one clear :class:`InputError`.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gcdflow.atomic import canonical_json, write_npz
from gcdflow.errors import InputError

UNLABELLED = -1

# What NumPy and zipfile raise for archives that are cut off, altered or not what they claim to be.
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(
    path: str | Path, required: dict[str, str], optional: dict[str, str] | None = None
) -> dict[str, np.ndarray]:
    """Read named arrays from an ``.npz`` file and check their kind and number of dimensions.

    Parameters
    ----------
    required, optional : dict of array name to specification
        ``"i1"``: kind (``b`` bool, ``i`` signed or unsigned integer, ``f`` float, ``U`` text)
        followed by the number of dimensions.

    Returns
    -------
    dict of name to ndarray; integers as int64

    Raises
    ------
    InputError
        If the file is missing, is no npz, or an array is missing or of another kind.
    """
    specifications = {**required, **(optional or {})}
    arrays: dict[str, np.ndarray] = {}
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: expected an .npz archive, found a single .npy array")
        with archive:
            for name in required:
                if name not in archive.files:
                    raise InputError(
                        f"{path}: array '{name}' is missing (found: {', '.join(archive.files)})"
                    )
            for name, specification in specifications.items():
                if name in archive.files:
                    arrays[name] = _checked(path, name, archive[name], specification)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a readable .npz file of plain arrays ({error})") from None
    return arrays


def _read_npy(path: str | Path, name: str, specification: str) -> np.ndarray:
    """Read a single array from a ``.npy`` file; otherwise as :func:`read_npz`."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a readable .npy file of a plain array ({error})") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path}: expected a single .npy array, found an .npz archive")
    return _checked(path, name, array, specification)


def _checked(path, name: str, array: np.ndarray, specification: str) -> np.ndarray:
    kind, n_dimensions = specification[0], int(specification[1])
    found = "i" if array.dtype.kind == "u" else array.dtype.kind
    if found != kind or array.ndim != n_dimensions:
        kinds = {"b": "bool", "i": "integer", "f": "float", "U": "text"}
        raise InputError(
            f"{path}: array '{name}' is {array.dtype} with {array.ndim} dimensions, "
            f"expected {kinds[kind]} with {n_dimensions}"
        )
    return array.astype(np.int64) if kind == "i" else array


def _check_lengths(path, arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> None:
    lengths = {name: len(arrays[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: arrays differ in length: {lengths}")


def _check_unique(path, indices: np.ndarray) -> None:
    if len(np.unique(indices)) != len(indices):
        raise InputError(f"{path}: 'indices' holds a sample id more than once")


def _parse_json(path, name: str, text: np.ndarray) -> dict[str, Any]:
    try:
        value = json.loads(str(text))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: '{name}' is not JSON text ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: '{name}' is not a JSON object")
    return value


@dataclass(frozen=True)
class Split:
    """What every stage may know of the samples (``split.npz``): all but the hidden truth.

    Attributes
    ----------
    indices : int64 (n,), sample ids
    train_mask : bool (n,), training split (else test)
    labelled_mask : bool (n,), label is given
    labels : int64 (n,), old class of labelled samples, -1 elsewhere
    source : dict, where the images come from (see :mod:`gcdflow.datasets`)
    paths : str (n,), image file of each sample relative to the source's root; empty if in memory
    old_class_names : str (number of old classes,), name of each label
    """

    indices: np.ndarray
    train_mask: np.ndarray
    labelled_mask: np.ndarray
    labels: np.ndarray
    source: dict[str, Any]
    paths: np.ndarray
    old_class_names: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write ``split.npz`` atomically."""
        arrays = {**vars(self), "source": np.array(canonical_json(self.source))}
        write_npz(path, arrays)

    @classmethod
    def load(cls, path: str | Path) -> Split:
        """Read and check ``split.npz``."""
        a = read_npz(
            path,
            {"indices": "i1", "train_mask": "b1", "labelled_mask": "b1", "labels": "i1"}
            | {"source": "U0", "paths": "U1", "old_class_names": "U1"},
        )
        _check_lengths(path, a, ("indices", "train_mask", "labelled_mask", "labels"))
        _check_unique(path, a["indices"])
        if len(a["paths"]) not in (0, len(a["indices"])):
            raise InputError(
                f"{path}: {len(a['paths'])} image paths for {len(a['indices'])} samples"
            )
        labelled, labels = a["labelled_mask"], a["labels"]
        if (labels[~labelled] != UNLABELLED).any():
            raise InputError(f"{path}: 'labels' holds labels of samples that are not labelled")
        n_old = len(a["old_class_names"])
        if labelled.any() and not (0 <= labels[labelled].min() <= labels[labelled].max() < n_old):
            raise InputError(f"{path}: 'labels' has values outside 0…{n_old - 1}")
        if (labelled & ~a["train_mask"]).any():
            raise InputError(f"{path}: samples of the test split are labelled")
        a["source"] = _parse_json(path, "source", a["source"])
        return cls(**a)


@dataclass(frozen=True)
class Truth:
    """The hidden truth (``truth.npz``), for evaluation and monitoring only.

    Attributes
    ----------
    indices : int64 (n,), sample ids
    labels : int64 (n,), true class of every sample; -1 where nobody knows it
    old_mask : bool (n,), the true class is an old one
    class_names : str (number of classes,)
    """

    indices: np.ndarray
    labels: np.ndarray
    old_mask: np.ndarray
    class_names: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write ``truth.npz`` atomically."""
        write_npz(path, vars(self))

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """Read and check ``truth.npz``."""
        a = read_npz(path, {"indices": "i1", "labels": "i1", "old_mask": "b1", "class_names": "U1"})
        _check_lengths(path, a, ("indices", "labels", "old_mask"))
        _check_unique(path, a["indices"])
        n_classes = len(a["class_names"])
        if len(a["labels"]) and not (-1 <= a["labels"].min() <= a["labels"].max() < n_classes):
            raise InputError(f"{path}: 'labels' has values outside -1…{n_classes - 1}")
        return cls(**a)


@dataclass(frozen=True)
class Labels:
    """Labels that replace those of a split or feature cache (``labels.npz``).

    Attributes
    ----------
    indices : int64 (n,), sample ids
    labels : int64 (n,), class of labelled samples, -1 elsewhere
    class_names : str (number of classes,), name of each label
    """

    indices: np.ndarray
    labels: np.ndarray
    class_names: np.ndarray

    def save(self, path: str | Path) -> None:
        """Write ``labels.npz`` atomically."""
        write_npz(path, vars(self))

    @classmethod
    def load(cls, path: str | Path) -> Labels:
        """Read and check ``labels.npz``."""
        a = read_npz(path, {"indices": "i1", "labels": "i1", "class_names": "U1"})
        _check_lengths(path, a, ("indices", "labels"))
        _check_unique(path, a["indices"])
        n_classes, labels = len(a["class_names"]), a["labels"]
        if len(labels) and not (UNLABELLED <= labels.min() <= labels.max() < n_classes):
            raise InputError(f"{path}: 'labels' has values outside -1…{n_classes - 1}")
        return cls(**a)


@dataclass(frozen=True)
class Features:
    """A feature cache (``features_epoch*.npz``).

    Attributes
    ----------
    indices : int64 (n,), sample ids
    features : float32 (n, d), as the backbone gives them (the consumer normalises)
    labels : int64 (n,), old-class label of labelled samples, -1 elsewhere
    train_mask : bool (n,)
    metadata : dict; ``checkpoint``, ``checkpoint_sha256``, ``fingerprint`` and ``epoch`` of the
        source, empty for features that come from elsewhere
    """

    indices: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    train_mask: np.ndarray
    metadata: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write the feature cache atomically."""
        write_npz(path, {**vars(self), "metadata": np.array(canonical_json(self.metadata))})

    def relabelled(self, path: str | Path, labels: Labels) -> Features:
        """The same features with the labels of ``path``; InputError if it lacks some samples."""
        at = align(path, labels.indices, self.indices)
        return replace(self, labels=labels.labels[at])

    @classmethod
    def load(cls, path: str | Path) -> Features:
        """Read and check a feature cache; all arrays but ``features`` may be missing.

        Without ``labels`` nothing is labelled, without ``train_mask`` all samples are for
        training, without ``indices`` the samples are numbered from 0. A ``.npy`` file holds the
        features alone.
        """
        if Path(path).suffix == ".npy":
            a = {"features": _read_npy(path, "features", "f2")}
        else:
            a = read_npz(
                path,
                {"features": "f2"},
                {"indices": "i1", "labels": "i1", "train_mask": "b1", "metadata": "U0"},
            )
        n = len(a["features"])
        a.setdefault("indices", np.arange(n, dtype=np.int64))
        a.setdefault("labels", np.full(n, UNLABELLED, dtype=np.int64))
        a.setdefault("train_mask", np.ones(n, dtype=bool))
        _check_lengths(path, a, ("features", "indices", "labels", "train_mask"))
        _check_unique(path, a["indices"])
        if n and a["labels"].min() < UNLABELLED:
            raise InputError(
                f"{path}: 'labels' holds {a['labels'].min()}; expected class ids from 0, "
                "or -1 for unlabelled"
            )
        bad = ~np.isfinite(a["features"]).all(axis=1)
        if bad.any():
            raise InputError(
                f"{path}: features of {bad.sum()} of {n} samples are NaN or infinite "
                f"(first: sample {a['indices'][np.argmax(bad)]})"
            )
        a["metadata"] = _parse_json(path, "metadata", a.get("metadata", np.array("{}")))
        return cls(**a)


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo labels of the training split (``pseudo_epoch*.npz``, design section 4).

    Attributes
    ----------
    indices : int64 (n,), sample ids
    labels : int64 (n,), cluster ids, consecutive from 0
    core_mask : bool (n,), core points
    densities : float32 (n,)
    best_params : dict, chosen ``k`` and ``density_percentile``
    metadata : dict, score and its parts, counts, provenance
    """

    indices: np.ndarray
    labels: np.ndarray
    core_mask: np.ndarray
    densities: np.ndarray
    best_params: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0

    def save(self, path: str | Path) -> None:
        """Write the pseudo labels atomically."""
        texts = {
            name: np.array(canonical_json(getattr(self, name)))
            for name in ("best_params", "metadata")
        }
        write_npz(path, {**vars(self), **texts})

    @classmethod
    def load(cls, path: str | Path) -> PseudoLabels:
        """Read and check pseudo labels."""
        a = read_npz(
            path,
            {"indices": "i1", "labels": "i1", "core_mask": "b1", "densities": "f1"}
            | {"best_params": "U0", "metadata": "U0"},
        )
        _check_lengths(path, a, ("indices", "labels", "core_mask", "densities"))
        _check_unique(path, a["indices"])
        if len(a["labels"]) == 0:
            raise InputError(f"{path}: holds no samples")
        if a["labels"].min() < 0 or len(np.unique(a["labels"])) != a["labels"].max() + 1:
            raise InputError(f"{path}: 'labels' are not consecutive cluster ids from 0")
        for name in ("best_params", "metadata"):
            a[name] = _parse_json(path, name, a[name])
        return cls(**a)


def align(path: str | Path, indices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions in ``indices`` (int64, n) of the sample ids ``wanted`` (int64, m).

    Raises
    ------
    InputError
        If an id is missing; ``path`` names the file that holds ``indices``.
    """
    order = np.argsort(indices, kind="stable")
    found = np.minimum(np.searchsorted(indices, wanted, sorter=order), len(indices) - 1)
    positions = order[found] if len(indices) else np.zeros(len(wanted), dtype=np.int64)
    missing = indices[positions] != wanted if len(indices) else np.ones(len(wanted), dtype=bool)
    if missing.any():
        raise InputError(
            f"{path}: {missing.sum()} of {len(wanted)} expected samples are missing "
            f"(first: {wanted[np.argmax(missing)]}); does the file belong to this run?"
        )
    return positions
