"""The files that pass between the steps of a sharded search, and how they are checked.

All are plain ``.npz`` archives with an array ``origin``: JSON text that says what they were made
from, so that parts which do not belong together are refused. Numbers that compiled code follows
without looking are checked here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gcdflow.arrays import read_npz
from gcdflow.atomic import canonical_json, write_npz
from gcdflow.errors import InputError
from gcdflow.json_text import parse_json_object
from gcdflow.ssddbc import Shard, ShardedGridSearch
from gcdflow.ssddbc.sharded import ClusteredShard, Neighbours, ScoredShard, shares_of_grid

_WORDS = {
    "features": "from other features",
    "normalize": "from features normalised in another way",
    "labels": "with other labels",
    "k": "for other k",
    "density_percentile": "for other percentiles",
    "labelings": "of other clusterings",
}
_LARGEST_DISTANCE = 1e200  # sums of distances stay finite
_LONGEST = 1e10  # seconds
_LARGEST_BLOCK = 64  # points whose silhouettes, each within -1 and 1, are summed


@dataclass(frozen=True)
class ShardFiles:
    """Reads and writes the files of one search on some features.

    Attributes
    ----------
    search : ShardedGridSearch
    X : (n, d) float, features
    y : (n,) int64, classes from 0, -1 = unlabelled
    """

    search: ShardedGridSearch
    X: np.ndarray
    y: np.ndarray

    def save_neighbours(self, path: Path, neighbours: Neighbours) -> None:
        """Write the neighbours atomically."""
        arrays = {"ids": neighbours.ids, "dist": neighbours.dist, "radius": neighbours.radius}
        arrays |= {"valid": neighbours.valid, "seconds": np.array(neighbours.seconds)}
        write_npz(path, arrays | _text(self._origin("features", "normalize")))

    def load_neighbours(self, path: Path) -> Neighbours:
        """Read and check neighbours; InputError if they are not these features', or too few."""
        a = read_npz(
            path,
            {"ids": "i2", "dist": "f2", "valid": "i1", "radius": "f1"}
            | {"seconds": "f0", "origin": "U0"},
        )
        self._check_origin(path, a["origin"], "features", "normalize")
        _check_seconds(path, a["seconds"])
        n, k = len(self.X), min(max(self.search.axes()[0]), len(self.X) - 1)
        _check_lists(path, a, n, k)
        # An id or a distance behind the valid ones was not checked, and is not looked at.
        return Neighbours(
            a["ids"].astype(np.int32),
            a["dist"].astype(np.float64),
            a["valid"],
            a["radius"].astype(np.float64),
            float(a["seconds"]),
        )

    def save_clustered(self, path: Path, part: ClusteredShard) -> None:
        """Write the clusterings of a shard atomically."""
        arrays = {"labels": part.labels, "seconds": part.seconds, "shard": _numbers(part.shard)}
        write_npz(path, arrays | _text(self._origin(*self._all)))

    def load_clustered(self, paths: Sequence[Path]) -> list[ClusteredShard]:
        """Read and check the clusterings of all shards; each must be there once."""
        parts = [self._load_clustered(path) for path in paths]
        _check_shards(paths, [part.shard for part in parts])
        return parts

    def _load_clustered(self, path: Path) -> ClusteredShard:
        a = read_npz(path, {"labels": "i2", "seconds": "f1", "shard": "i1", "origin": "U0"})
        self._check_origin(path, a["origin"], *self._all)
        shard, labels = _shard(path, a["shard"]), a["labels"]
        try:
            expected = len(shares_of_grid(*self.search.axes(), shard.of)[shard.number - 1])
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if labels.shape != (expected, len(self.X)) or len(a["seconds"]) != expected:
            raise InputError(
                f"{path}: 'labels' has shape {labels.shape} and 'seconds' {a['seconds'].shape}, "
                f"expected {expected} configurations of {len(self.X)} samples in shard {shard}"
            )
        _check_seconds(path, a["seconds"])
        for row in labels:
            if row.min() < 0 or row.max() >= len(row) or not np.bincount(row).all():
                raise InputError(f"{path}: 'labels' are not consecutive cluster ids from 0")
        return ClusteredShard(shard, labels.astype(np.int32), a["seconds"].astype(np.float64))

    def save_scored(
        self, path: Path, part: ScoredShard, clustered: Sequence[ClusteredShard]
    ) -> None:
        """Write the silhouettes of a shard atomically."""
        arrays = {"sums": part.sums, "seconds": np.array(part.seconds)}
        arrays |= {"shard": _numbers(part.shard)}
        write_npz(path, arrays | _text(self._origin(*self._all) | self._labelings(clustered)))

    def load_scored(
        self, paths: Sequence[Path], clustered: Sequence[ClusteredShard]
    ) -> list[ScoredShard]:
        """Read and check the silhouettes of all shards under these clusterings."""
        blocks, labelings = self.search.shape_of_sums(self.y, clustered)
        expected = self._origin(*self._all) | self._labelings(clustered)
        parts = []
        for path in paths:
            a = read_npz(path, {"sums": "f2", "seconds": "f0", "shard": "i1", "origin": "U0"})
            _check_fits(path, _parsed(path, a["origin"]), expected)
            _check_seconds(path, a["seconds"])
            shard, sums = _shard(path, a["shard"]), a["sums"].astype(np.float64)
            shape = (len(range(blocks)[shard.number - 1 :: shard.of]), labelings)
            if sums.shape != shape:
                raise InputError(
                    f"{path}: 'sums' has shape {sums.shape}, expected {shape} (blocks of samples, "
                    f"labelings) in shard {shard}"
                )
            if not (np.abs(sums) <= _LARGEST_BLOCK).all():
                raise InputError(
                    f"{path}: 'sums' holds what are no sums of {_LARGEST_BLOCK} silhouettes"
                )
            parts.append(ScoredShard(shard, sums, float(a["seconds"])))
        _check_shards(paths, [part.shard for part in parts])
        return parts

    _all = ("features", "normalize", "labels", "k", "density_percentile")

    def _origin(self, *names: str) -> dict[str, Any]:
        """What a file was made from, by these names."""
        ks, percentiles = self.search.axes()
        values = {
            "features": lambda: _digest(self.X),
            "labels": lambda: _digest(np.asarray(self.y, dtype=np.int64)),
            "normalize": lambda: self.search.normalize,
            "k": lambda: ks,
            "density_percentile": lambda: percentiles,
        }
        return {name: values[name]() for name in names}

    def _labelings(self, clustered: Sequence[ClusteredShard]) -> dict[str, str]:
        return {"labelings": _digest(self.search.whole_grid(clustered)[0])}

    def _check_origin(self, path: Path, text: np.ndarray, *names: str) -> None:
        _check_fits(path, _parsed(path, text), self._origin(*names))


def _digest(array: np.ndarray) -> str:
    """SHA-256 of type, shape and values."""
    hasher = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    hasher.update(np.ascontiguousarray(array).data)
    return hasher.hexdigest()


def _text(origin: dict[str, Any]) -> dict[str, np.ndarray]:
    return {"origin": np.array(canonical_json(origin))}


def _parsed(path: Path, text: np.ndarray) -> dict[str, Any]:
    try:
        return parse_json_object(str(text))
    except ValueError as error:
        raise InputError(f"{path}: 'origin' is {error}") from None


def _check_fits(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if canonical_json(found.get(name)) != canonical_json(value):
            raise InputError(
                f"{path}: was made {_WORDS[name]} (found {_short(found.get(name))}, expected "
                f"{_short(value)}); make it again from the same features, labels and grid"
            )


def _short(value: Any) -> str:
    text = canonical_json(value)
    return text if len(text) <= 70 else f"{text[:66]} …"


def _check_seconds(path: Path, seconds: np.ndarray) -> None:
    if not ((seconds >= 0) & (seconds <= _LONGEST)).all():
        raise InputError(f"{path}: 'seconds' holds what is no time")


def _numbers(shard: Shard) -> np.ndarray:
    return np.array([shard.number, shard.of])


def _shard(path: Path, numbers: np.ndarray) -> Shard:
    if len(numbers) != 2:
        raise InputError(f"{path}: 'shard' holds {len(numbers)} numbers, expected 2")
    try:
        return Shard(*numbers.tolist())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_shards(paths: Sequence[Path], shards: Sequence[Shard]) -> None:
    """All shards of one division are there, each once."""
    of = shards[0].of
    if (
        any(shard.of != of for shard in shards)
        or sorted(s.number for s in shards) != list(range(1, len(shards) + 1))
        or len(shards) != of
    ):
        found = ", ".join(f"{path} ({shard})" for path, shard in zip(paths, shards, strict=True))
        raise InputError(f"{found}: expected each of {of} shards once")


def _check_lists(path: Path, a: dict[str, np.ndarray], n: int, k: int) -> None:
    """Lists of n samples of which the first k entries, and all up to ``valid``, can be followed."""
    ids, dist, valid, radius = a["ids"], a["dist"], a["valid"], a["radius"]
    m = ids.shape[1]
    if not (len(ids) == len(dist) == len(valid) == len(radius) == n and dist.shape[1] == m):
        shapes = {name: a[name].shape for name in ("ids", "dist", "valid", "radius")}
        raise InputError(f"{path}: arrays have shapes {shapes}, expected lists of {n} samples")
    if valid.min() < k or valid.max() > m:
        raise InputError(
            f"{path}: 'valid' reaches from {valid.min()} to {valid.max()} neighbours, expected "
            f"{k} (the largest k) to {m} (the length of the lists)"
        )
    counts = np.arange(m) < valid[:, None]
    strangers = counts & ((ids < 0) | (ids >= n) | (ids == np.arange(n)[:, None]))
    if strangers.any():
        raise InputError(
            f"{path}: 'ids' holds {ids[strangers][0]} as a neighbour of sample "
            f"{np.argmax(strangers.any(axis=1))}, expected another of the {n} samples"
        )
    near, own = np.sort(np.where(counts, ids, -1 - np.arange(m)), axis=1), counts[:, 1:]
    ties = (dist[:, 1:] == dist[:, :-1]) & (ids[:, 1:] > ids[:, :-1])
    sorted_ = ~own | (dist[:, 1:] > dist[:, :-1]) | ties
    within = np.minimum(radius, _LARGEST_DISTANCE)[:, None]
    good = ~counts | ((dist >= 0) & (dist <= within))
    if not (sorted_.all() and good.all() and (near[:, 1:] > near[:, :-1]).all()):
        raise InputError(
            f"{path}: lists are not of different neighbours, nearest first, within 'radius'"
        )
