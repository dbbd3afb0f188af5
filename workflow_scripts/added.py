#!/usr/bin/env python
"""Extract the features of photographs that were added since training, with the last checkpoint.

An existing output keeps its features by content: only new photographs are read.

Example:
  python workflow_scripts/added.py --split runs/photos/split.npz \\
      --photographs runs/photos/photographs.npz --features runs/photos/features_epoch040.npz \\
      --checkpoint runs/photos/ckpt_epoch040.pt --output runs/photos/features_added.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_device_arguments, available_threads, run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Read the new ones, write all."""
    from gcdflow.files.formats import AddedFeatures, load_kept
    from gcdflow.training.added import added_features  # imports torch only for new photographs

    before = load_kept(AddedFeatures, arguments.output)
    added, new = added_features(
        arguments.split,
        arguments.photographs,
        arguments.features,
        arguments.checkpoint,
        before,
        device=arguments.device,
        threads=arguments.threads or available_threads(),
        num_workers=arguments.num_workers,
        weights=arguments.weights,
    )
    added.save(arguments.output)
    logging.info(
        "%s: %d features of added photographs, %d of them new%s",
        arguments.output,
        len(added.indices),
        new,
        f"; {len(added.unreadable)} cannot be read" if added.unreadable else "",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "features", "weights")
    parser.add_argument(
        "--photographs", type=Path, required=True, help="photographs.npz: the current photographs"
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to use")
    parser.add_argument(
        "--output", type=Path, required=True, help="features to write or to extend (.npz)"
    )
    add_device_arguments(parser)
    run_stage(main, parser)
