#!/usr/bin/env python
"""Write an XMP sidecar with the category as a keyword for each image of a run.

Images are neither opened nor changed: the sidecars are in a folder of their own. Copy them beside
the images if you like. Doubtful images have none.

Example:
  python workflow_scripts/sidecars.py --split runs/photos/split.npz \\
      --assignments runs/photos/assignments.csv --output runs/photos/sidecars
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Write, report."""
    from gcdflow.categories.sidecars import write_sidecars

    found = write_sidecars(arguments.split, arguments.assignments, arguments.output)
    logging.info("%s: %s", arguments.output, found)


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "assignments")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, a new one")
    run_stage(main, parser)
