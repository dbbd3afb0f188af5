"""The files that pass between the stages: what is in them, how they are written, read and checked.

All are plain ``.npz`` archives (see :mod:`gcdflow.files.arrays`). A reader checks names, dtypes,
shapes and value ranges before anybody uses a number, and raises one clear :class:`InputError`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from gcdflow.errors import InputError
from gcdflow.files.arrays import read_npy, read_npz
from gcdflow.files.atomic import canonical_json, write_npz
from gcdflow.files.json_text import parse_json_object

UNLABELLED = -1

_LARGEST_FEATURE = 1e15  # sums of squares stay finite in float32
_LAST_EPOCH = 999


def _check_lengths(path, arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> None:
    lengths = {name: len(arrays[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{path}: arrays differ in length: {lengths}")


def _check_unique(path, indices: np.ndarray) -> None:
    if len(np.unique(indices)) != len(indices):
        raise InputError(f"{path}: 'indices' holds a sample id more than once")


def _check_not_empty(path, arrays: dict[str, np.ndarray]) -> None:
    if len(arrays["indices"]) == 0:
        raise InputError(f"{path}: holds no samples")


def _check_names(path, name: str, names: np.ndarray) -> None:
    if len(set(names.tolist())) != len(names) or "" in names.tolist():
        raise InputError(f"{path}: '{name}' holds an empty name, or one more than once")


def _parse_json(path, name: str, text: np.ndarray) -> dict[str, Any]:
    try:
        return parse_json_object(str(text))
    except ValueError as error:
        raise InputError(f"{path}: '{name}' is {error}") from None


def _check_metadata(path, metadata: dict[str, Any]) -> None:
    """What other stages rely on, where it is there."""
    epoch = metadata.get("epoch", 0)
    if type(epoch) is not int or not 0 <= epoch <= _LAST_EPOCH:
        raise InputError(f"{path}: 'metadata' has epoch {epoch!r}, expected 0…{_LAST_EPOCH}")
    for key in ("checkpoint", "checkpoint_sha256", "fingerprint"):
        if not isinstance(metadata.get(key, ""), str):
            raise InputError(f"{path}: 'metadata' has {key} {metadata[key]!r}, expected text")


def leaves_folder(path: str) -> bool:
    """A path that is not one of a file below a folder: empty, absolute, or out of it by ``..``."""
    pure = PurePosixPath(path)
    return not pure.name or pure.is_absolute() or ".." in pure.parts or "\0" in path


@dataclass(frozen=True)
class Split:
    """What every stage may know of the samples (``split.npz``): all but the hidden truth.

    Attributes
    ----------
    indices : int64 (n,), sample ids
    train_mask : bool (n,), training split (else test)
    labelled_mask : bool (n,), label is given
    labels : int64 (n,), old class of labelled samples, -1 elsewhere
    source : dict, where the images come from (see :mod:`gcdflow.data.datasets`)
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

    @property
    def left_out(self) -> dict[str, str]:
        """Path of each image that could not be read and is no sample, and why."""
        return self.source.get("left_out", {})

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
        _check_not_empty(path, a)
        strangers = [image for image in a["paths"].tolist() if leaves_folder(image)]
        if strangers:
            raise InputError(f"{path}: image path '{strangers[0]}' does not lie in the folder")
        _check_names(path, "old_class_names", a["old_class_names"])
        labelled, labels = a["labelled_mask"], a["labels"]
        if (labels[~labelled] != UNLABELLED).any():
            raise InputError(f"{path}: 'labels' holds labels of samples that are not labelled")
        n_old = len(a["old_class_names"])
        if labelled.any() and not (0 <= labels[labelled].min() <= labels[labelled].max() < n_old):
            raise InputError(f"{path}: 'labels' has values outside 0…{n_old - 1}")
        if (labelled & ~a["train_mask"]).any():
            raise InputError(f"{path}: samples of the test split are labelled")
        a["source"] = _parse_json(path, "source", a["source"])
        for key in ("dataset", "root"):
            if not isinstance(a["source"].get(key, ""), str):
                raise InputError(f"{path}: 'source' has {key} {a['source'][key]!r}, expected text")
        left_out = a["source"].get("left_out", {})
        if not isinstance(left_out, dict) or not all(
            image and reason and isinstance(reason, str) for image, reason in left_out.items()
        ):
            raise InputError(
                f"{path}: 'source' has left_out {left_out!r}, expected paths with reasons"
            )
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
        _check_not_empty(path, a)
        _check_names(path, "class_names", a["class_names"])
        n_classes, classes = len(a["class_names"]), a["labels"]
        if not (-1 <= classes.min() <= classes.max() < n_classes):
            raise InputError(f"{path}: 'labels' has values outside -1…{n_classes - 1}")
        known, old = classes >= 0, a["old_mask"]
        mixed = np.intersect1d(classes[known & old], classes[known & ~old])
        if len(mixed):
            raise InputError(
                f"{path}: 'old_mask' calls class {mixed[0]} old for some samples, new for others"
            )
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
        _check_not_empty(path, a)
        _check_names(path, "class_names", a["class_names"])
        n_classes, labels = len(a["class_names"]), a["labels"]
        if not (UNLABELLED <= labels.min() <= labels.max() < n_classes):
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
            a = {"features": read_npy(path, "features", "f2")}
        else:
            a = read_npz(
                path,
                {"features": "f2"},
                {"indices": "i1", "labels": "i1", "train_mask": "b1", "metadata": "U0"},
            )
        n = len(a["features"])
        if a["features"].size == 0:
            raise InputError(f"{path}: 'features' is empty (shape {a['features'].shape})")
        a.setdefault("indices", np.arange(n, dtype=np.int64))
        a.setdefault("labels", np.full(n, UNLABELLED, dtype=np.int64))
        a.setdefault("train_mask", np.ones(n, dtype=bool))
        _check_lengths(path, a, ("features", "indices", "labels", "train_mask"))
        _check_unique(path, a["indices"])
        if a["labels"].min() < UNLABELLED:
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
        largest = float(max(-a["features"].min(), a["features"].max()))
        if largest > _LARGEST_FEATURE:
            raise InputError(
                f"{path}: 'features' holds values up to {largest:.3g}, expected at most "
                f"{_LARGEST_FEATURE:g}; rescale them"
            )
        a["metadata"] = _parse_json(path, "metadata", a.get("metadata", np.array("{}")))
        _check_metadata(path, a["metadata"])
        return cls(**a)


def load_features(path: str | Path, labels: str | Path | None) -> Features:
    """Read a feature cache, with the labels of a ``labels.npz`` in place of its own if given."""
    features = Features.load(path)
    return features if labels is None else features.relabelled(labels, Labels.load(labels))


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo labels of the training split (``pseudo_epoch*.npz``; docs/contract.md, section 4).

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
        _check_not_empty(path, a)
        if a["labels"].min() < 0 or len(np.unique(a["labels"])) != a["labels"].max() + 1:
            raise InputError(f"{path}: 'labels' are not consecutive cluster ids from 0")
        if not a["core_mask"].any():
            raise InputError(f"{path}: 'core_mask' marks no core point, expected some")
        good = np.isfinite(a["densities"]) & (a["densities"] > 0)
        if not good.all():
            raise InputError(
                f"{path}: densities of {(~good).sum()} of {len(good)} samples are not positive "
                f"numbers (first: {a['densities'][np.argmin(good)]} of sample "
                f"{a['indices'][np.argmin(good)]}); cluster the features again"
            )
        for name in ("best_params", "metadata"):
            a[name] = _parse_json(path, name, a[name])
        _check_metadata(path, a["metadata"])
        _check_clustering(path, a["metadata"], int(a["labels"].max()) + 1, len(a["labels"]))
        return cls(**a)


def _check_clustering(path, metadata: dict[str, Any], n_clusters: int, n_samples: int) -> None:
    """What the metadata of a clustering says of it must be true, where it says something."""
    for key, found in (("n_clusters", n_clusters), ("n_samples", n_samples)):
        if metadata.get(key, found) != found:
            raise InputError(
                f"{path}: 'metadata' has {key} {metadata[key]!r}, but 'labels' has {found}"
            )
    if not isinstance(metadata.get("normalize", True), bool):
        raise InputError(f"{path}: 'metadata' has normalize {metadata['normalize']!r}")
    change = metadata.get("label_change_rate")
    if change is not None and not (type(change) in (int, float) and 0 <= change <= 1):
        raise InputError(f"{path}: 'metadata' has label_change_rate {change!r}, expected 0 to 1")


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
