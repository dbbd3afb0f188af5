"""Say that a run's clusters contradict its own labels, or that its features have collapsed.

No truth is needed.

The module needs no packages, because the stage that writes reports works without NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Shares of the labelled samples. The limit is between what was measured on the digits, which are
# easy (0.00 to 0.04, from the second epoch of training on), and on clip art, which is hard (0.41 to
# 0.44). A refresh of either changed the share by at most 0.03.
MOST_AGAINST = 0.10
MOST_RISE = 0.05
# Share of images that a refresh moves to other clusters; on the digits at most 0.06.
MOST_CHANGE = 0.25
# Mean cosine similarity of two images. Trained networks, and random ones too, stay far below: 0.3
# to 0.98 on the digits.
MOST_ALIKE = 0.9999
_FEWEST_VALUES = 3  # of a range that has an inside

_WEAKEN = "weaken L_pseudo if it guides (pseudo.pseudo_loss_weight)"
WHAT_TO_DO = (
    f"train longer before the first clustering (schedule.warmup_epochs), {_WEAKEN}, or check the "
    "labels"
)


def is_against(share: float | None) -> bool:
    """Whether the share of labelled samples against their labels is above the limit."""
    return share is not None and share > MOST_AGAINST


def collapse(similarity: float | None) -> str:
    """What to tell the user of features that have collapsed; empty if they have not.

    Parameters
    ----------
    similarity : float or None
        Mean cosine similarity of two images; None if it is not known.
    """
    if similarity is None or similarity <= MOST_ALIKE:
        return ""
    return (
        "the representation has collapsed: the mean cosine similarity of two images is "
        f"{similarity:.6f}, so clusters mean little; try a smaller training.lr or "
        "pseudo.pseudo_loss_weight"
    )


def verdict(against: float | None, change: float | None, similarity: float | None = None) -> str:
    """One sentence about the clusters of an epoch: that they go with the labels, or what to do.

    Parameters
    ----------
    against : float or None
        Share of the labelled samples against their labels; None if nothing is labelled.
    change : float or None
        Share of labels that the last refresh changed; None for the first.
    similarity : float or None
        As of :func:`collapse`.
    """
    problems = [said] if (said := collapse(similarity)) else []
    if is_against(against):
        problems.append(
            f"{100 * against:.0f} % of the labels are contradicted: label more images, or "
            f"{WHAT_TO_DO}"
        )
    if change is not None and change > MOST_CHANGE:
        problems.append(
            f"the last refresh moved {100 * change:.0f} % of the images to other clusters, which "
            "are therefore not settled: train longer"
        )
    if not problems and against is not None:
        return f"the clusters agree with {100 * (1 - against):.0f} % of the labels"
    return "; ".join(problems)


def edges_of_grid(
    best: Mapping[str, float], grid: Mapping[str, Sequence[int]], n: int
) -> list[str]:
    """Settings whose best value is at an end of its range: a wider range may be better.

    Not among them are ranges of one or two values, and values beyond which there are none.

    Parameters
    ----------
    best : mapping
        Name of a setting to the value that was chosen: ``k`` and ``percentile``.
    grid : mapping
        Name of a setting to its values.
    n : int
        Number of samples.
    """
    limits = {"k": (1, n - 1), "percentile": (0, 100)}
    found = []
    for name, value in best.items():
        values, (least, most) = sorted(set(grid[name])), limits[name]
        if (
            len(values) >= _FEWEST_VALUES
            and value in (values[0], values[-1])
            and least < value < most
        ):
            side = "smallest" if value == values[0] else "largest"
            found.append(f"the best {name} ({value:g}) is the {side} of clustering.{name}")
    return found


def guidance_warnings(against: int, labelled: int, before: int | None = None) -> list[str]:
    """What to tell the user of a clustering; nothing if it goes with the labels.

    Parameters
    ----------
    against : int
        Result of :func:`gcdflow.clustering.matching.count_against_labels`.
    labelled : int
        Number of labelled samples.
    before : int or None
        As ``against``, of the clustering of the refresh before, with the same labels.

    Returns
    -------
    list of str
        One sentence for a share above ``MOST_AGAINST``, and one for a rise above ``MOST_RISE``.
    """
    if labelled == 0:
        return []
    sentences = []
    if is_against(against / labelled):
        sentences.append(
            f"the clusters contradict the labels: {against} of {labelled} labelled samples "
            f"are in a cluster where another class prevails; {WHAT_TO_DO}"
        )
    if before is not None and (against - before) / labelled > MOST_RISE:
        sentences.append(
            "guidance has made it worse: labelled samples in a cluster where another class "
            f"prevails rose from {before} to {against} of {labelled} since the refresh before; "
            f"{_WEAKEN}, or train longer before the first clustering (schedule.warmup_epochs)"
        )
    return sentences
