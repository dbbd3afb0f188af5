"""Say in words how well the categories of a run agree with the labels that a person gave.

No truth is needed: it counts labelled pictures whose cluster is another category.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from gcdflow.categories.assignments import Assignments
from gcdflow.clustering.guidance import collapse, is_against
from gcdflow.wording import counted

_MOST_CLASSES = 3  # that a sentence names
# A discovered category is mixed if so many labelled pictures look like it, and so large a part of
# its cluster has labels: a few strays in a large cluster say nothing.
_FEWEST_LABELS = 5
_LEAST_SHARE = 0.25


def is_poor(assignments: Assignments, similarity: float | None = None) -> bool:
    """Whether :func:`verdict` asks a person to do something."""
    return bool(_problems(assignments, similarity))


def verdict(assignments: Assignments, similarity: float | None = None) -> str:
    """One line about a result: what is wrong and what to do, or that labels and clusters agree.

    Parameters
    ----------
    similarity : float or None
        Mean cosine similarity of the features of two pictures; None if it is not known.

    Returns
    -------
    str
        Empty if nothing is wrong, and nothing is labelled.
    """
    if problems := _problems(assignments, similarity):
        return "; ".join(problems)
    labelled = int(assignments.labelled_mask.sum())
    if labelled == 0:
        return ""
    agreeing = labelled - int(_contradicted(assignments).sum())
    return f"the clusters agree with {agreeing} of {_your(labelled)}"


def _problems(assignments: Assignments, similarity: float | None) -> list[str]:
    contradicted, mine = _contradicted(assignments), set(assignments.labels) - {""}
    against, labelled = int(contradicted.sum()), int(assignments.labelled_mask.sum())
    found = [said] if (said := collapse(similarity)) else []
    if labelled and is_against(against / labelled):
        classes = Counter(np.array(assignments.labels, dtype=object)[contradicted])
        found.append(
            f"{against} of {_your(labelled)} are contradicted: label more pictures of "
            f"{_named(classes)}, or train (longer)"
        )
    n_clusters = len(set(assignments.clusters.tolist()))
    if n_clusters < len(mine):
        found.append(
            f"{counted(n_clusters, 'cluster')} for {counted(len(mine), 'class', 'classes')} of "
            "yours: some of them are not told apart"
        )
    return found + _mixed(assignments)


def _mixed(assignments: Assignments) -> list[str]:
    """A sentence for each discovered category that holds many labelled pictures."""
    found = []
    suggested = np.array(assignments.suggested, dtype=object)
    for name in sorted(set(assignments.suggested) - {""} - assignments.old_categories):
        here = np.flatnonzero(suggested == name)
        size = int(np.isin(assignments.clusters, assignments.clusters[here]).sum())
        if len(here) >= _FEWEST_LABELS and len(here) >= _LEAST_SHARE * size:
            classes = Counter(assignments.labels[i] for i in here)
            found.append(
                f"{name} is mixed, because it holds pictures that you call {_named(classes)}"
            )
    return found


def _contradicted(assignments: Assignments) -> np.ndarray:
    """bool (n,), labelled samples whose cluster is another category."""
    return np.array([bool(name) for name in assignments.suggested], dtype=bool)


def _your(labelled: int) -> str:
    return f"your {counted(labelled, 'label')}"


def _named(classes: Counter[str]) -> str:
    """The most frequent classes with their numbers; of equally frequent ones in order of names."""
    ordered = sorted(classes.items(), key=lambda item: (-item[1], item[0]))
    more = ", …" if len(ordered) > _MOST_CLASSES else ""
    return ", ".join(f"{name} ({n})" for name, n in ordered[:_MOST_CLASSES]) + more
