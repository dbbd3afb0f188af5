#!/usr/bin/env python
"""Write a thumbnail of every image of a run into the folder thumbs, for its gallery.

The files stay while labels and categories change, so that a new gallery is made in seconds.

Example:
  python workflow_scripts/thumbs.py --split runs/photos/split.npz --output runs/photos/thumbs.tsv
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Write, report."""
    from gcdflow.categories.thumbnails import write_thumbnails

    found = write_thumbnails(
        arguments.split,
        arguments.output,
        arguments.photographs,
        threads=arguments.threads,
    )
    logging.info("%s: %s", arguments.output, found)


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "threads")
    parser.add_argument("--photographs", type=Path, help="photographs.npz: the current photographs")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="list of the thumbnails to write (.tsv); they go into the folder thumbs beside it",
    )
    run_stage(main, parser)
