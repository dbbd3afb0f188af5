"""Say that a run's pseudo labels guide against its own labels, which needs no truth.

The module imports nothing, because the stage that writes reports works without NumPy.
"""

from __future__ import annotations

# Shares of the labelled samples. The limit is between what was measured on the digits, which are
# easy (0.00 to 0.04, from the second epoch of training on), and on clip art, which is hard (0.41 to
# 0.44). A refresh of either changed the share by at most 0.03.
MOST_AGAINST = 0.10
MOST_RISE = 0.05

WHAT_TO_DO = (
    "train longer before the first clustering (schedule.warmup_epochs), lower "
    "pseudo.pseudo_loss_weight, or check the labels"
)


def is_against(share: float | None) -> bool:
    """Whether the share of labelled samples against their labels is above the limit."""
    return share is not None and share > MOST_AGAINST


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
            f"the pseudo labels guide against the labels: {against} of {labelled} labelled samples "
            f"are in a cluster where another class prevails; {WHAT_TO_DO}"
        )
    if before is not None and (against - before) / labelled > MOST_RISE:
        sentences.append(
            "guidance has made it worse: labelled samples in a cluster where another class "
            f"prevails rose from {before} to {against} of {labelled} since the refresh before; "
            "lower pseudo.pseudo_loss_weight, or train longer before the first clustering "
            "(schedule.warmup_epochs)"
        )
    return sentences
