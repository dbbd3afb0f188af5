#!/usr/bin/env python
"""Scan a dataset, and write split.npz (for all stages) and truth.npz (for evaluation only).

This stage decodes every image once to find missing and broken ones. Broken images among the user's
own photographs are left out and listed; in any other dataset, they are an error.

Example:
  python workflow_scripts/dataset.py --run digits --split split.npz --truth truth.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_settings_arguments, read_settings, run_stage, stage_parser
from gcdflow.config.settings import Dataset
from gcdflow.data.datasets import dataset_module, open_images
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.seen_photos import catalogue_again
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Write both files."""
    settings = read_settings(arguments, Dataset, lambda run: run.dataset)
    module = dataset_module(settings.name)
    if arguments.seen and settings.name == "photos":
        found = catalogue_again(settings, arguments.seen, arguments.threads)
    else:
        found = module.catalogue(settings)
    split, truth = split_catalogue(found, settings)
    images = open_images(split.source, split.paths)
    if hasattr(module, "without"):
        unreadable = images.unreadable(arguments.threads)
        if unreadable:
            split, truth = split_catalogue(module.without(settings, found, unreadable), settings)
    else:
        images.check(arguments.threads)
    truth.save(arguments.truth)
    split.save(arguments.split)
    logging.info(
        "%s: %s: %s, %d for training (%d labelled), %s (%d old)%s",
        arguments.split,
        settings.name,
        counted(len(split.indices), "sample"),
        split.train_mask.sum(),
        split.labelled_mask.sum(),
        counted(len(truth.class_names), "class", "classes"),
        len(split.old_class_names),
        f"; {len(split.left_out)} left out" if split.left_out else "",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "threads")
    add_settings_arguments(parser)
    parser.add_argument("--split", type=Path, required=True, help="split.npz to write")
    parser.add_argument("--truth", type=Path, required=True, help="truth.npz to write")
    parser.add_argument(
        "--seen",
        type=Path,
        help="photographs.npz, if it exists, to recognise renamed photographs",
    )
    run_stage(main, parser)
