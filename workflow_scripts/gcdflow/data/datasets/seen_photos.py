"""Which photographs are in the folder of a run now: known by name, size and time, else by content.

A run keeps what it saw (``photographs.npz``). So a file is read only if it is new or was changed. A
photograph that was renamed or moved is still the same sample, and its earlier names still refer to
it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.data.datasets.catalogue import Catalogue
from gcdflow.data.datasets.images import FileImages
from gcdflow.data.datasets.photos import catalogue, folder_of_photographs
from gcdflow.data.folder_scan import files_below, photographs
from gcdflow.data.places import photographs_folder
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Photographs, Split, load_kept

if TYPE_CHECKING:
    from gcdflow.config.settings import PhotosSettings

log = logging.getLogger(__name__)

_ID_DIGITS = 15  # 60 bits: a million photographs are all different, and a split's ids are smaller


@dataclass(frozen=True)
class Seen:
    """A file as it was when its content was read: SHA-256, bytes, time of its change in ns."""

    sha256: str
    size: int
    time: int


def content_id(sha256: str) -> int:
    """Sample id of an added photograph, from the SHA-256 of its content."""
    return int(sha256[:_ID_DIGITS], 16)


def see_photographs(
    split_path: Path, before: Photographs | None, threads: int, *, for_labels: bool = False
) -> Photographs:
    """What is in the folder now; only files that are new or changed are read.

    A file with the name, size and time of one in ``before`` has the same content.

    Parameters
    ----------
    before : Photographs or None
        What the run saw last, perhaps with another split.
    for_labels : bool
        The result says which photograph is where, and is not to be kept: if nothing was seen
        before, what is where it was when training began is taken for the sample without reading it.

    Raises
    ------
    InputError
        If the split is of another dataset, the folder is missing or holds no photograph, or a name
        is no text.
    """
    split = Split.load(split_path)
    folder, split_sha256 = folder_of_photographs(split), sha256_file(split_path)
    known = {} if before is None else _rows(before)
    believed = set(split.paths.tolist()) if for_labels and before is None else set()
    there, left_out = _contents(folder, _listed(folder, split), known, believed, threads)
    if not there:
        raise InputError(f"{folder}: holds no photographs; put them there")
    if before is not None and _is_of(before, split, split_sha256):
        of_samples, had = before.sample_sha256.tolist(), before.ids
    else:
        of_samples, had = [there[p].sha256 if p in there else "" for p in split.paths.tolist()], {}
    ids = _placed(split, of_samples, there, had)
    gone = {path: seen for path, seen in known.items() if path not in there}
    ids |= _of_former_names(split, of_samples, gone, had)
    if not for_labels:
        _report(folder, split, ids, there, left_out)
    rows = sorted({**gone, **there}.items())
    return Photographs(
        paths=np.array([path for path, _ in rows], dtype=np.str_),
        present=np.array([path in there for path, _ in rows], dtype=bool),
        indices=np.array([ids[path] for path, _ in rows], dtype=np.int64),
        sha256=np.array([seen.sha256 for _, seen in rows], dtype=np.str_),
        sizes=np.array([seen.size for _, seen in rows], dtype=np.int64),
        times=np.array([seen.time for _, seen in rows], dtype=np.int64),
        sample_sha256=np.array(of_samples, dtype=np.str_),
        source={
            **{"dataset": "photos", "root": str(folder), "split_sha256": split_sha256},
            **({"left_out": left_out} if left_out else {}),
        },
    )


def catalogue_again(settings: PhotosSettings, seen: Path, threads: int) -> Catalogue:
    """All images of the folder, of which a run knows some from before (``photographs.npz``).

    Lines of the CSV file may have a path that a photograph had then: it is recognised by content.
    """
    folder, before = Path(settings.root, settings.folder), load_kept(Photographs, seen)
    if before is None or before.source.get("root") != str(folder):
        return catalogue(settings)
    known = _rows(before)
    paths = photographs_in(photographs_folder(folder))
    there, _ = _contents(folder, paths, known, (), threads)
    holding = {there[path].sha256: path for path in sorted(there, reverse=True)}
    places = {
        path: holding.get(was.sha256)
        for path, was in known.items()
        if path not in there and not os.path.lexists(folder / path)
    }
    return catalogue(settings, places)


def _is_of(before: Photographs, split: Split, split_sha256: str) -> bool:
    is_same = before.source.get("split_sha256") == split_sha256
    return is_same and len(before.sample_sha256) == len(split.indices)


def _rows(photographs: Photographs) -> dict[str, Seen]:
    columns = (photographs.sha256, photographs.sizes, photographs.times)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {path: Seen(*row) for path, row in zip(photographs.paths.tolist(), rows, strict=True)}


# -- the files -------------------------------------------------------------------------------------


def photographs_in(folder: Path) -> list[str]:
    """Photographs in a folder and those below it, by paths relative to it, sorted.

    Raises
    ------
    InputError
        If a folder cannot be read, or a name is no text.
    """
    found = photographs(files_below(folder).files)
    for path in found:
        if any("\ud800" <= c <= "\udfff" for c in path):  # bytes that are no UTF-8
            raise InputError(f"{folder}: the file name '{path}' is not UTF-8; rename it")
    return found


def _listed(folder: Path, split: Split) -> list[str]:
    """Photographs in the folder, and samples in places where only a table finds them."""
    found = photographs_in(folder)
    hidden = set(split.paths.tolist()) - set(found)
    return [*found, *sorted(path for path in hidden if os.path.isfile(folder / path))]


def _contents(
    folder: Path,
    paths: Iterable[str],
    known: dict[str, Seen],
    believed: Collection[str],
    threads: int,
) -> tuple[dict[str, Seen], dict[str, str]]:
    """What each file holds; and of those that cannot be opened, why.

    Files in ``believed`` are not read; their SHA-256 is empty.
    """

    def see(path: str) -> Seen | None:
        try:
            status = os.stat(folder / path)
            if not stat.S_ISREG(status.st_mode):  # reading a pipe would block
                return None
            state, before = (status.st_size, status.st_mtime_ns), known.get(path)
            if before is not None and state == (before.size, before.time):
                return before
            if path in believed:
                return Seen("", *state)
            with open(folder / path, "rb") as file:
                return Seen(hashlib.file_digest(file, "sha256").hexdigest(), *state)
        except OSError:
            return None

    paths = list(paths)
    with ThreadPoolExecutor(threads) as pool:  # digests release the interpreter's lock
        found = dict(zip(paths, pool.map(see, paths), strict=True))
    bad = [path for path, seen in found.items() if seen is None]
    left_out = FileImages(folder, bad).unreadable(threads) if bad else {}
    return {path: seen for path, seen in found.items() if seen is not None}, left_out


# -- the samples -----------------------------------------------------------------------------------


def _placed(
    split: Split, of_samples: list[str], there: dict[str, Seen], had: dict[str, int]
) -> dict[str, int]:
    """Id of each photograph that is there: a sample's, or its content id if it was added.

    A sample is where it was when training began, if that file has its content; else at the path
    that it had last, or at any other with its content.
    """
    at_home = {
        path: i
        for i, path in enumerate(split.paths.tolist())
        if path in there and there[path].sha256 == of_samples[i]
    }
    taken, free = set(at_home.values()), defaultdict(list)
    for i, sha256 in enumerate(of_samples):
        if sha256 and i not in taken:
            free[sha256].append(int(split.indices[i]))
    ids = {path: int(split.indices[i]) for path, i in at_home.items()}
    others = [path for path in there if path not in ids]
    for path in [*(p for p in others if p in had), *(p for p in others if p not in had)]:
        sha256 = there[path].sha256
        candidates = free[sha256]
        kept = had.get(path) in candidates
        if candidates:
            ids[path] = candidates.pop(candidates.index(had[path]) if kept else 0)
        else:
            ids[path] = content_id(sha256)
    return ids


def _of_former_names(
    split: Split, of_samples: list[str], gone: dict[str, Seen], had: dict[str, int]
) -> dict[str, int]:
    """Ids that paths without a photograph stood for."""
    first = {sha256: i for i, sha256 in reversed(list(enumerate(of_samples))) if sha256}
    return {
        path: had[path]
        if path in had
        else int(split.indices[first[seen.sha256]])
        if seen.sha256 in first
        else content_id(seen.sha256)
        for path, seen in gone.items()
    }


def _report(
    folder: Path,
    split: Split,
    ids: dict[str, int],
    there: dict[str, Seen],
    left_out: dict[str, str],
) -> None:
    home = dict(zip(split.paths.tolist(), split.indices.tolist(), strict=True))
    samples = set(home.values())
    untrained = [path for path in there if ids[path] not in samples]
    never = sum(path in split.left_out for path in untrained)
    moved = sum(ids[path] in samples and home.get(path) != ids[path] for path in there)
    gone = len(samples) - (len(there) - len(untrained))
    log.info(
        "%s: %d photographs: %d added, %d renamed or moved, %d removed since training began%s%s",
        folder,
        len(there),
        len(untrained) - never,
        moved,
        gone,
        f"; {never} could not be read then" if never else "",
        f"; {len(left_out)} cannot be opened" if left_out else "",
    )
