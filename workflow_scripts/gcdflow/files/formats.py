"""The archives that pass between the stages, as values: read, checked and written.

:mod:`gcdflow.files.declared` says what is in them. A reader checks names, dtypes, shapes and value
ranges before anybody uses a number, and raises one clear :class:`InputError`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from gcdflow.errors import InputError
from gcdflow.files import declared
from gcdflow.files.arrays import read_npy, read_npz
from gcdflow.files.atomic import canonical_json, sha256_file, write_npz
from gcdflow.files.declared import Field, RunFile
from gcdflow.files.json_text import parse_json_object

log = logging.getLogger(__name__)

UNLABELLED = -1


class ArrayFile:
    """Value of an archive; its fields are attributes: arrays, and dictionaries of JSON objects.

    ``invariants`` are functions of the value that say what is wrong across its fields, or nothing.
    """

    declared: ClassVar[RunFile]
    invariants: ClassVar[tuple[Callable[[Any], str | None], ...]]

    def __init_subclass__(cls, *, declared: RunFile, invariants: tuple = ()) -> None:
        cls.declared, cls.invariants = declared, invariants
        types = {field.name: dict if field.keys else np.ndarray for field in declared.fields}
        cls.__annotations__ = types
        dataclass(frozen=True)(cls)

    def save(self, path: str | Path) -> None:
        """Write the archive atomically."""
        texts = {k: np.array(canonical_json(v)) for k, v in vars(self).items() if type(v) is dict}
        write_npz(path, {**vars(self), **texts})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and check the archive.

        Raises
        ------
        InputError
            If it is missing, no such archive, or something in it is not as it is declared.
        """
        arrays = cls._read(path)
        for field in cls.declared.fields:
            if field.keys and field.name in arrays:
                try:
                    arrays[field.name] = parse_json_object(str(arrays[field.name]), field.keys)
                except ValueError as error:
                    raise InputError(f"{path}: '{field.name}': {error}") from None
        value = cls(**cls._completed(arrays))
        for problem in value._problems():
            if problem is not None:
                raise InputError(f"{path}: {problem}")
        return value

    @classmethod
    def _read(cls, path: str | Path) -> dict[str, Any]:
        return read_npz(path, cls.declared.fields)

    @classmethod
    def _completed(cls, arrays: dict[str, Any]) -> dict[str, Any]:
        return arrays

    def _problems(self) -> Iterator[str | None]:
        """What is wrong in the arrays by themselves, and then across them."""
        arrays = {field: getattr(self, field.name) for field in self.declared.fields if field.axes}
        lengths = {
            field.name: len(array)
            for field, array in arrays.items()
            if field.axes[0] == "n" or (field.axes[0] == "n or 0" and len(array))
        }
        if len(set(lengths.values())) > 1:
            yield f"arrays differ in length: {lengths}"
        for field, array in arrays.items():
            if field.axes[0] == "n" and array.size == 0 and not (field.optional and len(array)):
                yield f"holds no samples: '{field.name}' is empty (shape {array.shape})"
            if field.unique:
                yield _problem_of_names(field.name, array)
            if field.least is not None:
                below = len(getattr(self, field.below)) - 1 if field.below else field.most
                yield _problem_of_numbers(field, array, below, self.indices)
        for invariant in self.invariants:
            yield invariant(self)


def _problem_of_names(name: str, array: np.ndarray) -> str | None:
    values, counts = np.unique(array, return_counts=True)
    if (counts > 1).any():
        return f"'{name}' holds {values[counts > 1][0]} more than once"
    return f"'{name}' holds an empty name" if array.dtype.kind == "U" and "" in values else None


def _problem_of_numbers(
    field: Field, array: np.ndarray, most: float, indices: np.ndarray
) -> str | None:
    # As numbers of Python: those of the array may be too small to hold the bounds.
    if array.size == 0 or (field.least <= array.min().item() and array.max().item() <= most):
        return None
    bad = ~((array >= np.float64(field.least)) & (array <= np.float64(most)))  # of NaN too
    samples = bad.reshape(len(array), -1).any(axis=1)
    expected = f"{field.least:g}…{most}" if field.below else field.range
    return (
        f"'{field.name}' of {samples.sum()} of {len(array)} samples is out of range (first: "
        f"{array[bad][0]} of sample {indices[np.argmax(samples)]}), expected {expected}"
    )


# -- what must hold across fields ------------------------------------------------------------------


def labels_where_labelled(split: Split) -> str | None:
    """A sample has a label if it is labelled, and -1 if it is not."""
    differ = (split.labels != UNLABELLED) != split.labelled_mask
    said = f"'labels' and 'labelled_mask' disagree on {differ.sum()} samples (first: "
    return f"{said}{split.indices[np.argmax(differ)]})" if differ.any() else None


def labelled_in_training(split: Split) -> str | None:
    """Labels of the test split would leak into training."""
    leaks = (split.labelled_mask & ~split.train_mask).any()
    return "samples of the test split are labelled" if leaks else None


def paths_below_root(split: Split | Photographs) -> str | None:
    """No image lies outside the folder of the images."""
    strangers = [image for image in split.paths.tolist() if leaves_folder(image)]
    return f"image path '{strangers[0]}' does not lie in the folder" if strangers else None


def classes_old_or_new(truth: Truth) -> str | None:
    """All samples of a class agree whether it is an old one."""
    known, old = truth.labels >= 0, truth.old_mask
    mixed = np.intersect1d(truth.labels[known & old], truth.labels[known & ~old])
    said = "'old_mask' calls class {} old for some samples, new for others"
    return said.format(mixed[0]) if len(mixed) else None


def clusters_consecutive(pseudo: PseudoLabels) -> str | None:
    """Cluster ids are all numbers from 0 to the largest."""
    consecutive = len(np.unique(pseudo.labels)) == pseudo.n_clusters
    return None if consecutive else "'labels' are not consecutive cluster ids from 0"


def some_core_points(pseudo: PseudoLabels) -> str | None:
    """Test samples go to clusters by core points."""
    return None if pseudo.core_mask.any() else "'core_mask' marks no core point, expected some"


def counts_in_metadata(pseudo: PseudoLabels) -> str | None:
    """What the metadata say of the clustering is true, where they say something."""
    for key, found in (("n_clusters", pseudo.n_clusters), ("n_samples", len(pseudo.labels))):
        if pseudo.metadata.get(key, found) != found:
            return f"'metadata' has {key} {pseudo.metadata[key]}, but 'labels' has {found}"
    return None


def each_with_features(added: AddedFeatures) -> str | None:
    """Both arrays may be empty, and list the same photographs."""
    n, m = len(added.indices), len(added.features)
    return None if n == m else f"arrays differ in length: {{'indices': {n}, 'features': {m}}}"


def leaves_folder(path: str) -> bool:
    """A path that is not one of a file below a folder: empty, absolute, or out of it by ``..``."""
    pure = PurePosixPath(path)
    return not pure.name or pure.is_absolute() or ".." in pure.parts or "\0" in path


# -- the archives ----------------------------------------------------------------------------------


class Split(
    ArrayFile,
    declared=declared.SPLIT,
    invariants=(labels_where_labelled, labelled_in_training, paths_below_root),
):
    """What every stage may know of the samples (``split.npz``): all but the hidden truth."""

    @property
    def left_out(self) -> dict[str, str]:
        """Path of each image that could not be read and is no sample, and why."""
        return self.source.get("left_out", {})

    @property
    def real_classes(self) -> list[str]:
        """Names such as ``NA`` that are classes in the file of labels."""
        return self.source.get("real_classes", [])


class Truth(ArrayFile, declared=declared.TRUTH, invariants=(classes_old_or_new,)):
    """The hidden truth (``truth.npz``), for evaluation and monitoring only."""


class Labels(ArrayFile, declared=declared.LABELS):
    """Labels that replace those of a split or feature cache (``labels.npz``)."""


class Features(ArrayFile, declared=declared.FEATURES):
    """A feature cache (``features_epoch*.npz``).

    All but ``features`` may be missing. Then nothing is labelled, all samples are for training, and
    they are numbered from 0. A ``.npy`` file holds the features alone.
    """

    @classmethod
    def of_checkpoint(cls, path: str | Path, checkpoint_path: str | Path) -> Self:
        """Read a file that must be made from this checkpoint (InputError)."""
        features = cls.load(path)
        if features.metadata.get("checkpoint_sha256") != sha256_file(checkpoint_path):
            raise InputError(f"{path}: was made from another checkpoint than {checkpoint_path}")
        return features

    @property
    def mean_cosine(self) -> float:
        """Mean cosine similarity of two samples, -1 to 1; a sample with itself counts too."""
        lengths = np.linalg.norm(self.features, axis=1, keepdims=True)
        units = self.features / np.where(lengths > 0, lengths, 1)
        return min(1.0, float(np.square(units.mean(axis=0, dtype=np.float64)).sum()))

    def check_origin_of(
        self, path: str | Path, metadata: Mapping[str, Any], features_path: str | Path
    ) -> None:
        """Check by metadata that ``path`` was made from these features (InputError)."""
        if key := other_origin(self.metadata, metadata):
            raise InputError(
                f"{path}: was made from other features than {features_path} ({key} differs)"
            )

    def relabelled(self, path: str | Path, labels: Labels) -> Features:
        """The same features with the labels of ``path``; InputError if it lacks some samples."""
        at = align(path, labels.indices, self.indices)
        return replace(self, labels=labels.labels[at])

    @classmethod
    def _read(cls, path: str | Path) -> dict[str, Any]:
        if Path(path).suffix == ".npy":
            (field,) = (field for field in cls.declared.fields if field.name == "features")
            return {"features": read_npy(path, field)}
        return super()._read(path)

    @classmethod
    def _completed(cls, arrays: dict[str, Any]) -> dict[str, Any]:
        n = len(arrays["features"])
        return {
            "indices": np.arange(n, dtype=np.int64),
            "labels": np.full(n, UNLABELLED, dtype=np.int64),
            "train_mask": np.ones(n, dtype=bool),
            "metadata": {},
            **arrays,
        }


def load_features(path: str | Path, labels: str | Path | None) -> Features:
    """Read a feature cache, with the labels of a ``labels.npz`` in place of its own if given."""
    features = Features.load(path)
    return features if labels is None else features.relabelled(labels, Labels.load(labels))


class PseudoLabels(
    ArrayFile,
    declared=declared.PSEUDO,
    invariants=(clusters_consecutive, some_core_points, counts_in_metadata),
):
    """Pseudo labels of the training split (``pseudo_epoch*.npz``)."""

    @classmethod
    def _completed(cls, arrays: dict[str, Any]) -> dict[str, Any]:
        none = np.empty((len(arrays["indices"]), 0), dtype=np.int64)
        return {"neighbours": none, **arrays}

    @property
    def n_clusters(self) -> int:
        """Number of clusters."""
        return int(self.labels.max()) + 1 if len(self.labels) else 0


class Classes(ArrayFile, declared=declared.CLASSES):
    """The category that a classifier gives each sample (``classes_epoch*.npz``)."""


class Photographs(ArrayFile, declared=declared.PHOTOGRAPHS, invariants=(paths_below_root,)):
    """Where the photographs of a run are now, and where they were (``photographs.npz``)."""

    @classmethod
    def of_split(cls, path: str | Path, split_path: str | Path) -> Self:
        """Read a file that must be of this split (InputError)."""
        seen = cls.load(path)
        if seen.source.get("split_sha256") != sha256_file(split_path):
            raise InputError(f"{path}: is of another split than {split_path}")
        return seen

    @property
    def ids(self) -> dict[str, int]:
        """Sample or content id of each path, past ones included."""
        return dict(zip(self.paths.tolist(), self.indices.tolist(), strict=True))

    @property
    def there(self) -> list[tuple[str, int, str]]:
        """Path, id and SHA-256 of each photograph that is there now."""
        columns = (self.paths, self.indices, self.sha256)
        return list(zip(*(column[self.present].tolist() for column in columns), strict=True))

    @property
    def left_out(self) -> dict[str, str]:
        """Path of each file that cannot be opened, and why."""
        return self.source.get("left_out", {})


class AddedFeatures(ArrayFile, declared=declared.ADDED, invariants=(each_with_features,)):
    """Features of the photographs that were added since training (``features_added.npz``)."""

    @property
    def unreadable(self) -> dict[str, str]:
        """SHA-256 of each photograph that cannot be read, and why."""
        return self.metadata.get("unreadable", {})


KeptFile = TypeVar("KeptFile", bound=ArrayFile)


def load_kept(kind: type[KeptFile], path: Path) -> KeptFile | None:
    """What a stage kept for its next call; None, with a warning, if that is damaged.

    It only saves work, so that it is made again then.
    """
    if not path.exists():
        return None
    try:
        return kind.load(path)
    except InputError as error:
        log.warning("%s; it is made again", error)
        return None


def other_origin(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str | None:
    """The key by which two files' metadata tell of different checkpoints; None if they agree."""
    keys = ("checkpoint_sha256", "fingerprint")
    return next((key for key in keys if ours.get(key) != theirs.get(key)), None)


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
