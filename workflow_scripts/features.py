#!/usr/bin/env python
"""Extract the backbone's features of all training and test images into a feature cache.

Example:
  python workflow_scripts/features.py --checkpoint ckpt_epoch050.pt \\
      --split runs/digits/split.npz --output features_epoch050.npz
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_device_arguments, run_stage, stage_parser, whole_number


def main(arguments: argparse.Namespace) -> None:
    """Extract and write the features."""
    from gcdflow.training.features import extract_features  # imports torch: after --help

    features = extract_features(
        arguments.checkpoint,
        arguments.split,
        arguments.views,
        device=arguments.device,
        threads=arguments.threads,
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
        weights=arguments.weights,
    )
    features.save(arguments.output)
    logging.info(
        "%s: %d features of %d dimensions, mean length %.3f",
        arguments.output,
        *features.features.shape,
        (features.features**2).sum(axis=1).mean() ** 0.5,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "weights")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to use")
    parser.add_argument(
        "--views", type=Path, help="stored views to start from, instead of the images"
    )
    parser.add_argument("--output", type=Path, required=True, help="feature cache to write")
    parser.add_argument("--batch-size", type=whole_number(1), default=64, help="images at a time")
    add_device_arguments(parser)
    run_stage(main, parser)
