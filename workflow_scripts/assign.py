#!/usr/bin/env python
"""Write a table of all images of a run: category, confidence and known label.

A category is an old class, or new-1, new-2, … by decreasing size. Confidence is near 1 for an image
in the middle of its category, and near 0 for one between two categories.

Example:
  python workflow_scripts/assign.py --split split.npz --features features_epoch125.npz \\
      --pseudo-labels pseudo_epoch125.npz --output assignments.csv
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Assign, write, report."""
    from gcdflow.categories.assignments import assign
    from gcdflow.categories.photographs import assign_photographs
    from gcdflow.categories.verdict import is_poor, verdict
    from gcdflow.files.formats import Features

    files = [arguments.split, arguments.features, arguments.pseudo_labels, arguments.labels]
    if arguments.photographs is None:
        assignments = assign(*files, threads=arguments.threads)
    else:
        of_photographs = (arguments.photographs, arguments.added)
        assignments = assign_photographs(*files, *of_photographs, threads=arguments.threads)
    assignments.save(arguments.output)
    similarity = Features.load(arguments.features).mean_cosine
    said = verdict(assignments, similarity)
    if said:
        level = logging.WARNING if is_poor(assignments, similarity) else logging.INFO
        logging.log(level, said)
    logging.info("%s: %s", arguments.output, assignments.summary())


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "features", "pseudo-labels", "threads")
    parser.add_argument(
        "--labels", type=Path, help="newer labels (.npz) that replace those of the split"
    )
    parser.add_argument(
        "--photographs", type=Path, help="photographs.npz: where photographs are now (with --added)"
    )
    parser.add_argument("--added", type=Path, help="features_added.npz: of added photographs")
    parser.add_argument("--output", type=Path, required=True, help="table to write (.csv)")
    run_stage(main, parser)
