#!/usr/bin/env python
"""Draw a grid search: score and number of clusters over k and percentile.

Example:
  python workflow_scripts/heatmap.py --grid-table grid_epoch050.tsv --output grid_epoch050.png
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Read, draw, report."""
    from gcdflow.clustering.heatmap import draw_heatmap, read_grid_table
    from gcdflow.files.atomic import atomic_write

    grid = read_grid_table(arguments.grid_table)
    figure = draw_heatmap(grid, title=arguments.title)
    with atomic_write(arguments.output) as file:
        figure.savefig(file, format="png", dpi=100)
    best = grid["score"].argmax()
    logging.info(
        "%s: %s; best score %.4f at k=%d percentile=%g, %s",
        arguments.output,
        counted(len(grid["score"]), "configuration"),
        grid["score"][best],
        grid["k"][best],
        grid["density_percentile"][best],
        counted(int(grid["n_clusters"][best]), "cluster"),
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--grid-table", type=Path, required=True, help="grid_epoch*.tsv")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (.png)")
    parser.add_argument("--title", default="", help="title of the picture")
    run_stage(main, parser)
