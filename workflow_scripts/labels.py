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

from gcdflow.cli import run_stage, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Read, compare, write."""
    import numpy as np
    from gcdflow.data.datasets.photos import present_labels
    from gcdflow.data.datasets.seen_photos import see_photographs
    from gcdflow.files.formats import UNLABELLED, Photographs, Split, load_kept

    run = arguments.output.absolute().parent.name
    # The target comes first, because --forcerun takes all words after it as names of rules.
    again = f"snakemake --cores all runs/{run}/gallery.html --forcerun dataset"
    again = arguments.again or again
    before = load_kept(Photographs, arguments.seen) if arguments.seen else None
    seen = see_photographs(arguments.split, before, arguments.threads, for_labels=True)
    labels, changes = present_labels(arguments.table, Split.load(arguments.split), again, seen)
    labels.save(arguments.output)
    given = labels.labels[labels.labels != UNLABELLED]
    logging.info(
        "%s: %s of %s (%s)",
        arguments.output,
        counted(len(given), "label"),
        counted(len(np.unique(given)), "class", "classes"),
        changes,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "threads")
    parser.add_argument("--table", type=Path, required=True, help="CSV file of labels")
    parser.add_argument(
        "--seen",
        type=Path,
        help="photographs.npz, if it exists, to recognise renamed photographs",
    )
    parser.add_argument("--output", type=Path, required=True, help="labels to write (.npz)")
    parser.add_argument(
        "--again",
        metavar="COMMAND",
        help="command that trains the run again, for hints in messages (default: without options)",
    )
    run_stage(main, parser)
