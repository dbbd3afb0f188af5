"""Draw the curves of a run as one picture, from the scalars that its stages log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = Mapping[str, Sequence[tuple[int, float]]]

# Title of each panel, and its curves: tag in the log and name in the legend.
PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    (
        "Losses",
        {
            "L_total": "total",
            "L_contrast": "contrast",
            "L_supcon": "supcon",
            "L_pseudo": "pseudo labels",
            "L_distil": "self-distillation",
            "L_entropy": "mean entropy",
            "L_class": "classifier",
        },
    ),
    (
        "Accuracy (dashed: test split)",
        {
            **{f"val_acc_{part}": part for part in ("all", "old", "new")},
            **{f"test_acc_{part}": part for part in ("all", "old", "new")},
        },
    ),
    ("Clusters", {"pseudo/n_clusters": "clusters"}),
    ("Learning rate", {"learning_rate": "learning rate"}),
    (
        "Shares",
        {
            "gamma": "γ",
            "pseudo/core_ratio": "core points",
            "pseudo/label_change_rate": "labels changed",
        },
    ),
    ("Score of the chosen clustering", {"pseudo/score": "score"}),
)
_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6")
_FEW = 30  # a curve of at most this many points has markers


def draw_curves(curves: Curves, title: str = "") -> Figure:
    """Draw the panels; a panel without curves shows the words "not logged".

    Parameters
    ----------
    curves : mapping of tag to (step, value) pairs in order of step
        Result of :func:`gcdflow.files.event_log.read_scalars`.
    title : str
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(13, 6.6), layout="constrained")
    for axes, (name, tags) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        drawn = [tag for tag in tags if curves.get(tag)]
        for tag in drawn:
            _draw(axes, curves[tag], tag, tags[tag], list(tags).index(tag))
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name == "Clusters":
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        if len(drawn) > 1:
            axes.legend(fontsize=8)
        if not drawn:
            axes.text(0.5, 0.5, "not logged", ha="center", va="center", transform=axes.transAxes)
    figure.suptitle(title)
    return figure


def _draw(axes, points: Sequence[tuple[int, float]], tag: str, label: str, number: int) -> None:
    is_test = tag.startswith("test_")
    steps, values = zip(*points, strict=True)
    axes.plot(
        steps,
        values,
        color=_COLOURS[number % 3 if is_test else number],
        linestyle="--" if is_test else "-",
        marker="o" if len(points) <= _FEW else "",
        markersize=3,
        label=f"_{label}" if is_test else label,  # the legend leaves out names with an underscore
    )
