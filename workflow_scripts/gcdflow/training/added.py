"""Features of photographs that were added since training; kept by content."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from gcdflow.data.datasets.images import FileImages
from gcdflow.data.datasets.photos import folder_of_photographs
from gcdflow.files.formats import AddedFeatures, Features, Photographs, Split, other_origin

log = logging.getLogger(__name__)


def added_features(
    split_path: Path,
    photographs_path: Path,
    features_path: Path,
    checkpoint_path: Path,
    before: AddedFeatures | None,
    *,
    device: str = "auto",
    threads: int = 1,
    num_workers: int | None = None,
    weights: Path | None = None,
) -> tuple[AddedFeatures, int]:
    """Features of all photographs that are no samples of the split, by content id.

    What ``before`` has from the same checkpoint is kept, also of photographs that are gone: they
    may come back. PyTorch is imported only if there is a new photograph to read.

    Parameters
    ----------
    features_path : path of the features of the samples, from the same checkpoint
    weights : path of the backbone's weight file, if the run names one

    Returns
    -------
    added : AddedFeatures
    new : int, photographs whose features were extracted now

    Raises
    ------
    InputError
        If a file is not valid, or the files do not belong together.
    """
    split, seen = Split.load(split_path), Photographs.of_split(photographs_path, split_path)
    folder = folder_of_photographs(split)
    samples = Features.of_checkpoint(features_path, checkpoint_path)
    kept = np.empty((0, samples.features.shape[1]), dtype=np.float32)
    ids, unreadable = np.empty(0, dtype=np.int64), {}
    if before is not None and not other_origin(before.metadata, samples.metadata):
        ids, kept, unreadable = before.indices, before.features, dict(before.unreadable)

    new = _new_contents(split, seen, {*ids.tolist()})
    new = {number: content for number, content in new.items() if content[0] not in unreadable}
    if new:
        paths = [path for _, path in new.values()]
        bad = FileImages(folder, paths).unreadable(threads)
        unreadable |= {sha256: bad[path] for sha256, path in new.values() if path in bad}
        new = {number: content for number, content in new.items() if content[1] not in bad}
    if new:
        from gcdflow.training.features import features_of_images

        images = FileImages(folder, [path for _, path in new.values()])
        found = features_of_images(
            checkpoint_path,
            images,
            device=device,
            threads=threads,
            num_workers=num_workers,
            weights=weights,
        )
        ids = np.concatenate([ids, np.array(list(new), dtype=np.int64)])
        kept = np.concatenate([kept, found])
    metadata = samples.metadata | ({"unreadable": unreadable} if unreadable else {})
    return AddedFeatures(indices=ids, features=kept, metadata=metadata), len(new)


def _new_contents(split: Split, seen: Photographs, known: set[int]) -> dict[int, tuple[str, str]]:
    """SHA-256 and a path of each photograph that is no sample and not known, by content id."""
    known = known | set(split.indices.tolist())
    return {number: (sha256, path) for path, number, sha256 in seen.there if number not in known}
