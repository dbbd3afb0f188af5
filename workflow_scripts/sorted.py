#!/usr/bin/env python
"""Write a folder for each category of a run, with links to its images (or copies of them).

Example:
  python workflow_scripts/sorted.py --split runs/photos/split.npz \\
      --assignments runs/photos/assignments.csv --output runs/photos/sorted
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Write, report."""
    from gcdflow.categories.folders import write_folders

    found = write_folders(
        arguments.split, arguments.assignments, arguments.output, copies=arguments.copies
    )
    logging.info("%s: %s", arguments.output, found)


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "assignments")
    parser.add_argument("--output", type=Path, required=True, help="folder to write, a new one")
    parser.add_argument("--copies", action="store_true", help="copy the images instead")
    run_stage(main, parser)
