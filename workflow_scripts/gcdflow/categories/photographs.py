"""The table of a run's current photographs, whatever their names were before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from gcdflow.categories.assignments import Assignments, sort_samples
from gcdflow.categories.newcomers import Newcomers
from gcdflow.errors import InputError
from gcdflow.files.formats import AddedFeatures, Features, Photographs, Split, align, other_origin


def assign_photographs(
    split_path: Path,
    features_path: Path,
    pseudo_path: Path,
    labels_path: Path,
    photographs_path: Path,
    added_path: Path,
    *,
    threads: int = 1,
) -> Assignments:
    """Category and confidence of every photograph that is in the folder now.

    Parameters
    ----------
    photographs_path : Path
        ``photographs.npz``, which says where each sample is and what was added.
    added_path : Path
        ``features_added.npz``.

    Returns
    -------
    Assignments
        Samples in the order of the split, then added photographs by their paths. Those that cannot
        be read, and added ones that resemble no category, are left out.

    Raises
    ------
    InputError
        If a file is not valid, or the files do not belong together.
    """
    split, seen = Split.load(split_path), Photographs.of_split(photographs_path, split_path)
    added = AddedFeatures.load(added_path)
    if key := other_origin(added.metadata, Features.load(features_path).metadata):
        raise InputError(
            f"{added_path}: was made with another checkpoint than {features_path} ({key} differs)"
        )
    there, n = seen.there, len(split.indices)
    position = {number: i for i, number in enumerate(split.indices.tolist())}
    unreadable = {
        path: added.unreadable[sha256]
        for path, number, sha256 in there
        if number not in position and sha256 in added.unreadable
    }
    new = sorted({number for path, number, _ in there if path not in unreadable} - position.keys())
    at = align(added_path, added.indices, np.array(new, dtype=np.int64))
    newcomers = Newcomers(added.indices[at], added.features[at])
    position |= {number: n + i for i, number in enumerate(new)}
    found, strangers = sort_samples(
        split_path, features_path, pseudo_path, labels_path, newcomers, threads=threads
    )
    # A table of labels calls every photograph `train` that is not said to be for testing.
    found = replace(found, train_mask=found.train_mask | (np.arange(n + len(new)) >= n))
    sorted_in = [(position[number], path) for path, number, _ in there if path not in unreadable]
    sorted_in.sort(key=lambda row: (min(row[0], n), row[1]))
    unlike = {path: newcomers.why_stranger for i, path in sorted_in if strangers[i]}
    rows = [(i, path) for i, path in sorted_in if path not in unlike]
    return found.at(
        np.array([i for i, _ in rows], dtype=np.int64),
        [path for _, path in rows],
        dict(sorted((seen.left_out | unreadable | unlike).items())),
    )
