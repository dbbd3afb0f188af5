#!/usr/bin/env python
"""Scan a dataset, hide the truth: write split.npz (for all stages) and truth.npz (evaluation).

Example:
  python workflow_scripts/dataset.py --run digits --split split.npz --truth truth.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_settings_arguments, read_settings, run_stage, stage_parser
from gcdflow.config import DatasetSettings
from gcdflow.datasets import dataset_module
from gcdflow.datasets.catalogue import split_catalogue


def main(arguments: argparse.Namespace) -> None:
    """Write both files."""
    settings = read_settings(arguments, DatasetSettings, lambda run: run.dataset)
    catalogue = dataset_module(settings.name).catalogue(settings)
    split, truth = split_catalogue(
        catalogue, prop_train_labels=settings.prop_train_labels, seed=settings.seed
    )
    truth.save(arguments.truth)
    split.save(arguments.split)
    logging.info(
        "%s: %s: %d samples, %d for training (%d labelled), %d classes (%d old)",
        arguments.split,
        settings.name,
        len(split.indices),
        split.train_mask.sum(),
        split.labelled_mask.sum(),
        len(truth.class_names),
        len(split.old_class_names),
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_settings_arguments(parser)
    parser.add_argument("--split", type=Path, required=True, help="split.npz to write")
    parser.add_argument("--truth", type=Path, required=True, help="truth.npz to write")
    run_stage(main, parser)
