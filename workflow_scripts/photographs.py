#!/usr/bin/env python
"""List the photographs that are in the folder of a run now.

Photographs that were renamed or moved are recognised by their content. If the output exists, only
files that it does not list, or lists with another size or time, are read.

Example:
  python workflow_scripts/photographs.py --split runs/photos/split.npz \\
      --output runs/photos/photographs.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Look, compare, write."""
    from gcdflow.data.datasets.seen_photos import see_photographs
    from gcdflow.files.formats import Photographs, load_kept

    before = load_kept(Photographs, arguments.output)
    photographs = see_photographs(arguments.split, before, arguments.threads)
    photographs.save(arguments.output)
    logging.info("%s: %d photographs", arguments.output, photographs.present.sum())


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "threads")
    parser.add_argument(
        "--output", type=Path, required=True, help="list to write or to update (.npz)"
    )
    run_stage(main, parser)
