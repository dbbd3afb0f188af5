"""Turn a dataset on the disk into ``split.npz`` and ``truth.npz``: choose the shown labels."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gcdflow.data.class_names import chosen_classes
from gcdflow.errors import InputError
from gcdflow.files.formats import UNLABELLED, Split, Truth, leaves_folder

if TYPE_CHECKING:
    from gcdflow.config.settings import LabelDrawSettings

UNKNOWN = -1  # class of a sample whose true class is unknown
_DATA = Path(__file__).parent / "data"
_SSB_SPLITS = _DATA / "ssb_splits.json"
_CLASS_NAMES = _DATA / "published_class_names.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """All samples of a dataset with their true classes, before labels are hidden.

    Attributes
    ----------
    classes : int64 (n,), true class of each sample, in the dataset's own numbering from 0; -1 if
        unknown
    train_mask : bool (n,), training split (else test)
    class_names : list of str, one for each class id
    old_classes : list of int, ids of the old (known) classes in the order of their labels
    source : dict, plain JSON values; ``dataset`` names the module that opens the images
    paths : list of str, image of each sample as ``open_images`` expects it, usually a path relative
        to the source's root; or empty
    labelled_mask : bool (n,), samples whose label is shown; None: the settings decide
    """

    classes: np.ndarray
    train_mask: np.ndarray
    class_names: list[str]
    old_classes: list[int]
    source: dict[str, Any]
    paths: list[str] = field(default_factory=list)
    labelled_mask: np.ndarray | None = None


def read_pairs(path: Path, key: str, value: str, pattern: str = r"\S+") -> dict[str, str]:
    """Lines of ``<key> <value>`` of a text file in UTF-8, as a dictionary in their order.

    Parameters
    ----------
    key, value : str
        What they are, for messages.
    pattern : str
        Regular expression of a key.

    Raises
    ------
    InputError
        If the file cannot be read or is empty, a line is something else, or a key occurs twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: cannot be read (not UTF-8 text)") from None
    pairs: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, _, content = line.partition(" ")
        if not re.fullmatch(pattern, name) or not content.strip():
            raise InputError(f"{path}, line {number}: expected '<{key}> <{value}>', found '{line}'")
        if name in pairs:
            raise InputError(f"{path}, line {number}: {key} {name} is listed a second time")
        pairs[name] = content.strip()
    if not pairs:
        raise InputError(f"{path}: lists no {key}s")
    return pairs


def published_split(name: str) -> dict[str, Any]:
    """A published class split (``ssb_splits.json``), such as ``cub``.

    Its ``class_names`` are the names of the classes, in the order of their ids.
    """
    names = json.loads(_CLASS_NAMES.read_text(encoding="utf-8"))[name]
    entry = json.loads(_SSB_SPLITS.read_text(encoding="utf-8"))[name]
    return {**entry, "class_names": names}


def old_class_ids(
    chosen: list[int | str] | None,
    class_names: list[str],
    published: dict[str, Any] | None,
) -> list[int]:
    """Ids of the old classes, according to the settings or the published split.

    Parameters
    ----------
    chosen : list of int and str, or None
        ``dataset.old_classes``: ids, names, or None for the published list.
    published : dict or None
        The published list, if one exists: ``known_classes`` (ids), ``num_classes`` and optionally
        ``class_names``. Results compare with published ones only if the classes have these names.

    Raises
    ------
    InputError
        If neither list exists, a name or id is unknown, ambiguous or listed twice, or the published
        list has another number of classes.
    """
    if chosen is not None:
        return chosen_classes("dataset.old_classes", chosen, class_names)
    if published is None:
        raise InputError("dataset.old_classes is missing: list the names of the old classes")
    # The published ids are ranks: an extra or missing class would shift them silently.
    if len(class_names) != published["num_classes"]:
        raise InputError(
            f"dataset.root: found {len(class_names)} classes, expected the "
            f"{published['num_classes']} of the published list of old classes; to use others, "
            "list names in dataset.old_classes"
        )
    _warn_of_other_classes(class_names, published.get("class_names", class_names))
    return published["known_classes"]


def _warn_of_other_classes(names: list[str], published: list[str]) -> None:
    """Warn if class names differ from the published ones, although their number is the same."""
    differ = [i for i, pair in enumerate(zip(names, published, strict=True)) if _differ(*pair)]
    if differ:
        first = differ[0]
        log.warning(
            f"dataset.root: {len(differ)} of {len(names)} classes are not those of the published "
            f"list (first: class {first} is '{names[first]}', published: '{published[first]}'): "
            "results are not comparable with published ones; to choose old classes among these, "
            "list names in dataset.old_classes"
        )


def _differ(name: str, other: str) -> bool:
    """Whether two names differ in more than spelling or a leading number with a dot."""
    one, two = (
        re.sub(r"[\W_]", "", re.sub(r"^\d+\.", "", text).casefold()) for text in (name, other)
    )
    return one != two


def draw_labelled(candidates: np.ndarray, proportion: float, seed: int) -> np.ndarray:
    """Draw the positions of the samples whose label is shown.

    The draw is that of the published code (Vaze et al., arXiv 2201.02609,
    ``subsample_instances``): NumPy's legacy generator draws ``int(proportion * n)`` of the n
    candidates, in dataset order, without stratification by class.

    Parameters
    ----------
    candidates : ndarray of int, positions of the training samples of old classes, ascending
    """
    size = int(proportion * len(candidates))
    return np.random.RandomState(seed).choice(candidates, replace=False, size=size)


def split_catalogue(catalogue: Catalogue, settings: LabelDrawSettings) -> tuple[Split, Truth]:
    """Show labels for a share of the training samples of old classes, and hide all others.

    Labels are positions in ``old_classes``. In the truth, the new classes follow in ascending order
    of their ids. Sample ids are positions in the catalogue.

    Parameters
    ----------
    settings
        ``prop_train_labels`` and ``seed`` of the draw; ignored if the catalogue has a
        ``labelled_mask``.

    Raises
    ------
    InputError
        If a class has no images, or no sample can be labelled.
    """
    n_classes, n_old = len(catalogue.class_names), len(catalogue.old_classes)
    known = catalogue.classes != UNKNOWN
    _check_names(catalogue)
    _check_every_class_has_images(catalogue, known)
    old = set(catalogue.old_classes)
    order = [*catalogue.old_classes, *(c for c in range(n_classes) if c not in old)]
    rank = np.empty(n_classes, dtype=np.int64)
    rank[order] = np.arange(n_classes)
    truth_labels = np.full(len(known), UNKNOWN, dtype=np.int64)
    truth_labels[known] = rank[catalogue.classes[known]]
    old_mask = known & (truth_labels < n_old)

    labelled_mask = catalogue.labelled_mask
    if labelled_mask is None:
        candidates = np.flatnonzero(old_mask & catalogue.train_mask)
        labelled = draw_labelled(candidates, settings.prop_train_labels, settings.seed)
        if len(labelled) == 0:
            raise InputError(
                f"dataset.prop_train_labels: {settings.prop_train_labels} of the "
                f"{len(candidates)} training samples of old classes leaves none to label"
            )
        labelled_mask = np.zeros(len(known), dtype=bool)
        labelled_mask[labelled] = True
    indices = np.arange(len(known), dtype=np.int64)
    names = np.array([catalogue.class_names[c] for c in order], dtype=np.str_)
    split = Split(
        indices=indices,
        train_mask=catalogue.train_mask,
        labelled_mask=labelled_mask,
        labels=np.where(labelled_mask, truth_labels, UNLABELLED),
        source=catalogue.source,
        paths=np.array(catalogue.paths, dtype=np.str_),
        old_class_names=names[:n_old],
    )
    return split, Truth(indices, truth_labels, old_mask, names)


def _check_names(catalogue: Catalogue) -> None:
    """Check names of files and classes, which may come from untrusted tables and folders."""
    where = f"dataset '{catalogue.source['dataset']}'"
    for path in catalogue.paths:
        if leaves_folder(path):
            raise InputError(f"{where}: image path '{path}' does not lie in the dataset's folder")
        if not _is_text(path):
            raise InputError(f"{where}: the file name '{path}' is not UTF-8; rename it")
    names = catalogue.class_names
    if len(set(names)) != len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"{where}: two classes have the name '{twice}'")
    for name in names:
        if not name or not _is_text(name) or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
            raise InputError(
                f"{where}: the class name '{name}' is empty, holds a control character or is not "
                "UTF-8"
            )


def _is_text(name: str) -> bool:
    """Whether the name is valid UTF-8 (Python keeps undecodable bytes as lone surrogates)."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _check_every_class_has_images(catalogue: Catalogue, known: np.ndarray) -> None:
    counts = np.bincount(catalogue.classes[known], minlength=len(catalogue.class_names))
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        raise InputError(
            f"dataset '{catalogue.source['dataset']}': {len(empty)} of {len(counts)} classes have "
            f"no images (first: {catalogue.class_names[empty[0]]})"
        )
