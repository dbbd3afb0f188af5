#!/usr/bin/env python
"""Draw the curves of a run: losses, accuracy, clusters, learning rate.

Example:
  python workflow_scripts/curves.py --log-dir runs/digits/log --output curves.png
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Read, draw, report."""
    from gcdflow.evaluation.curves import draw_curves
    from gcdflow.files.atomic import atomic_write
    from gcdflow.files.event_log import read_scalars

    curves = read_scalars(arguments.log_dir)
    if not curves:
        logging.warning("%s: contains no scalars; the picture stays empty", arguments.log_dir)
    figure = draw_curves(curves, title=arguments.title)
    with atomic_write(arguments.output) as file:
        figure.savefig(file, format="png", dpi=100)
    n_drawn = sum(len(axes.lines) for axes in figure.axes)
    logging.info("%s: %s", arguments.output, counted(n_drawn, "curve"))


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--log-dir", type=Path, required=True, help="TensorBoard log of the run")
    parser.add_argument("--output", type=Path, required=True, help="picture to write (.png)")
    parser.add_argument("--title", default="", help="title of the picture")
    run_stage(main, parser)
