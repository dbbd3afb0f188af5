#!/usr/bin/env python
"""Give every training and test image the category of a checkpoint's classifier.

Example:
  python workflow_scripts/classes.py --checkpoint ckpt_epoch200.pt \\
      --features features_epoch200.npz --output classes_epoch200.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Classify, and write the categories."""
    from gcdflow.training.classes import classify  # imports torch: after --help

    classes = classify(arguments.checkpoint, arguments.features)
    classes.save(arguments.output)
    logging.info(
        "%s: %s in %s",
        arguments.output,
        counted(len(classes.labels), "image"),
        counted(len(set(classes.labels.tolist())), "category", "categories"),
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "features")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of the features")
    parser.add_argument("--output", type=Path, required=True, help="categories to write (.npz)")
    run_stage(main, parser)
