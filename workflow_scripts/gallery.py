#!/usr/bin/env python
"""Show the categories of a run as an HTML page of thumbnails, typical images first.

The page contains its images, so it can be mailed and opened without a network. With --table, people
correct the categories in it, and it saves the CSV file of labels.

Example:
  python workflow_scripts/gallery.py --split split.npz --assignments assignments.csv \\
      --run digits --output gallery.html
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gcdflow.cli import run_stage, settings_of_text, stage_parser, whole_number

if TYPE_CHECKING:
    from gcdflow.categories.next_step import NextStep


def main(arguments: argparse.Namespace) -> None:
    """Write, report."""
    from gcdflow.categories.gallery import write_gallery

    after = following(arguments)
    found = write_gallery(
        arguments.split,
        arguments.assignments,
        arguments.output,
        features_path=arguments.features,
        photographs_path=arguments.photographs,
        thumbs=arguments.thumbs,
        table=arguments.table,
        again=arguments.again,
        next_step=after,
        run=arguments.run,
        most=arguments.thumbnails,
        threads=arguments.threads,
    )
    logging.info("%s: %s", arguments.output, found)
    if after is not None:
        logging.info("next: train, %s: %s", after.time, after.command)


def following(arguments: argparse.Namespace) -> "NextStep | None":
    """What the page offers to do next; None if nothing."""
    if arguments.train is None:
        return None
    from gcdflow.categories.next_step import next_step
    from gcdflow.config.settings import RunSettings
    from gcdflow.files.formats import Split

    command, settings, *measured = arguments.train
    run = settings_of_text(settings, RunSettings, "--train")
    n = len(Split.load(arguments.split).indices)
    return next_step(command, run, n, *map(Path, measured))


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "assignments", "threads")
    parser.add_argument(
        "--features",
        type=Path,
        help="features of the images, to put look-alike categories next to each other",
    )
    parser.add_argument(
        "--photographs", type=Path, help="photographs.npz: where photographs are now"
    )
    parser.add_argument(
        "--thumbs", type=Path, help="list of thumbnails in a folder beside the page (thumbs.tsv)"
    )
    parser.add_argument("--table", type=Path, help="CSV file of labels, for the page to change")
    parser.add_argument(
        "--again",
        metavar="COMMAND",
        default="",
        help="command that the page names, to sort again with the labels that it saved (default: "
        "without options)",
    )
    parser.add_argument(
        "--train",
        nargs=4,
        metavar=("COMMAND", "SETTINGS", "STARTED", "LOOKED"),
        help="offer training as the next step: the command, the run's settings (JSON), and two of "
        "Snakemake's benchmark files (a training of no epochs, a feature extraction), from which "
        "the time is estimated",
    )
    parser.add_argument("--output", type=Path, required=True, help="page to write (.html)")
    parser.add_argument("--run", default="", help="name of the run, for the title")
    parser.add_argument(
        "--thumbnails",
        type=whole_number(1),
        default=40,
        help="largest number of images per category (smaller if there are very many categories)",
    )
    run_stage(main, parser)
