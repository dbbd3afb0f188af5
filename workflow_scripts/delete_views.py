#!/usr/bin/env python
"""Delete files of stored views, and the hidden files beside them.

Existing results stay. Snakemake rebuilds the views when a run needs them.

Example:
  python workflow_scripts/delete_views.py views/0123456789abcdef.npy
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Delete them."""
    from gcdflow.data.partial_views import delete_views  # imports NumPy: after --help

    freed = sum(delete_views(path) for path in arguments.paths)
    if arguments.paths:
        listed = ", ".join(map(str, arguments.paths))
        logging.info("stored views deleted: %s, %.1f MB", listed, freed / 1e6)
    else:
        logging.info("nothing is deleted: there are no stored views whose runs are all done")


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("paths", type=Path, nargs="*", help="files to delete")
    run_stage(main, parser)
