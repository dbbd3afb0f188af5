#!/usr/bin/env python
"""Read the current labels from the CSV file, for the photographs of an existing run.

Training uses the labels in split.npz. The CSV file may be newer: clustering with its labels takes
seconds, whereas training would take hours.

Example:
  python workflow_scripts/labels.py --table data/photos/labels.csv --split runs/photos/split.npz \\
      --output runs/photos/labels.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import available_threads, run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Read, compare, write."""
    import numpy as np
    from gcdflow.data.datasets.photos import present_labels
    from gcdflow.data.datasets.seen_photos import see_photographs
    from gcdflow.files.formats import UNLABELLED, Photographs, Split, load_kept

    run = arguments.run or arguments.output.absolute().parent.name
    before = load_kept(Photographs, arguments.seen) if arguments.seen else None
    seen = see_photographs(arguments.split, before, available_threads(), for_labels=True)
    labels, changes = present_labels(arguments.table, Split.load(arguments.split), run, seen)
    labels.save(arguments.output)
    given = labels.labels[labels.labels != UNLABELLED]
    logging.info(
        "%s: %d labels of %d classes (%s)",
        arguments.output,
        len(given),
        len(np.unique(given)),
        changes,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split")
    parser.add_argument("--table", type=Path, required=True, help="CSV file of labels")
    parser.add_argument(
        "--seen",
        type=Path,
        help="photographs.npz, if it is there: renamed photographs are recognised by it",
    )
    parser.add_argument("--output", type=Path, required=True, help="labels to write (.npz)")
    parser.add_argument(
        "--run", help="name of the run, for hints in messages (default: the output's folder)"
    )
    run_stage(main, parser)
