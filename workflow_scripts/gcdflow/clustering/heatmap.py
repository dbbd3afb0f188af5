"""The grid of a clustering as a picture: score and number of clusters over k and percentile."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gcdflow.errors import InputError
from gcdflow.files.declared import GRID

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NEEDED = ("k", "density_percentile", "score", "n_clusters")
_LARGEST_GRID = 1_000_000


def read_grid_table(path: Path, *more: str) -> dict[str, np.ndarray]:
    """Read the columns that the picture needs, and ``more``, from a ``grid_epoch*.tsv``.

    Raises
    ------
    InputError
        If the file is missing, a column is, or a value is no number.
    """
    needed = (*_NEEDED, *more)
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        grid = {name: np.array([float(row[name]) for row in rows]) for name in needed}
        _check_grid(grid)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not a grid table; expected numbers in the columns {', '.join(needed)} "
            f"({type(error).__name__}: {error})"
        ) from None
    if not rows:
        raise InputError(f"{path}: holds no configuration")
    return grid


def _check_grid(grid: dict[str, np.ndarray]) -> None:
    """Make sure that the numbers are of a grid search (ValueError)."""
    for field in GRID.fields:
        values = grid.get(field.name, np.zeros(0))
        if not np.isfinite(values).all():
            raise ValueError(f"{field.name} is not finite")
        least = -np.inf if field.least is None else field.least
        wrong = values[(values < least) | (values > field.most)]
        if len(wrong):
            raise ValueError(f"{field.name} is {wrong[0]:g}, expected {field.range}")
        if field.kind == "whole number" and (values % 1).any():
            raise ValueError(f"{field.name} is not a whole number")
    cells = np.stack([grid["k"], grid["density_percentile"]], axis=1)
    if len(np.unique(cells, axis=0)) != len(cells):
        raise ValueError("a configuration occurs twice")
    sides = [len(np.unique(grid[name])) for name in ("k", "density_percentile")]
    if sides[0] * sides[1] > _LARGEST_GRID:
        raise ValueError(f"a grid of {sides[0]} times {sides[1]} is too large for a picture")


def as_matrix(grid: dict[str, np.ndarray], column: str) -> tuple[np.ndarray, ...]:
    """A column over the grid.

    Returns
    -------
    matrix : float (number of percentiles, number of k); NaN where there is no configuration
    percentiles, ks : the sorted values of the axes
    """
    ks, at_k = np.unique(grid["k"], return_inverse=True)
    percentiles, at_percentile = np.unique(grid["density_percentile"], return_inverse=True)
    matrix = np.full((len(percentiles), len(ks)), np.nan)
    matrix[at_percentile, at_k] = grid[column]
    return matrix, percentiles, ks


def draw_heatmap(grid: dict[str, np.ndarray], title: str = "") -> Figure:
    """Draw score and number of clusters side by side; the best configuration is framed.

    Parameters
    ----------
    grid : dict of arrays
        As :func:`read_grid_table` gives it.
    title : str
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    best = int(np.argmax(grid["score"]))
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    panels = (("score", "Score", "viridis"), ("n_clusters", "Number of clusters", "cividis"))
    for axes, (column, label, colours) in zip(figure.subplots(1, 2), panels, strict=True):
        matrix, percentiles, ks = as_matrix(grid, column)
        picture = axes.imshow(matrix, origin="lower", aspect="auto", cmap=colours)
        figure.colorbar(picture, ax=axes)
        axes.set_xticks(range(len(ks)), [f"{k:g}" for k in ks])
        axes.set_yticks(range(len(percentiles)), [f"{p:g}" for p in percentiles])
        axes.set(xlabel="k (neighbours)", ylabel="density percentile", title=label)
        x = int(np.searchsorted(ks, grid["k"][best]))
        y = int(np.searchsorted(percentiles, grid["density_percentile"][best]))
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="red", lw=2))
        if column == "n_clusters" and matrix.size <= 300:
            _write_numbers(axes, matrix)
    chosen = f"best: k={grid['k'][best]:g}, percentile={grid['density_percentile'][best]:g}, " + (
        f"score {grid['score'][best]:.4f}, {grid['n_clusters'][best]:g} clusters"
    )
    figure.suptitle(f"{title} ({chosen})" if title else chosen)
    return figure


def _write_numbers(axes, matrix: np.ndarray) -> None:
    """Write each cell's number in it, light on dark and dark on light."""
    middle = (np.nanmin(matrix) + np.nanmax(matrix)) / 2
    for (y, x), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            colour = "black" if value > middle else "white"
            axes.text(x, y, f"{value:g}", ha="center", va="center", fontsize=7, color=colour)
