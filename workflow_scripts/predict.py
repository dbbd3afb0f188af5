#!/usr/bin/env python
"""Sort new images into the categories of a finished run, without training.

The run's folder has everything that is needed, except for the weights, which stay where the run had
them. The table has the columns of assignments.csv. It says which images resemble no category.

Example:
  python workflow_scripts/predict.py --run runs/photos --images new/ --output found.csv
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_device_arguments, run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Sort, write, report."""
    from gcdflow.prediction import predict

    images = arguments.images
    found = predict(
        arguments.run,
        images[0] if len(images) == 1 else images,
        **({} if arguments.unknown is None else {"unknown": arguments.unknown}),
        weights=arguments.weights,
        device=arguments.device,
        threads=arguments.threads,
        num_workers=arguments.num_workers,
    )
    found.save(arguments.output)
    logging.info("%s: %s", arguments.output, found.summary())


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run: runs/photos")
    parser.add_argument(
        "--images",
        type=Path,
        nargs="+",
        required=True,
        help="folder of images, or image files",
    )
    parser.add_argument("--output", type=Path, required=True, help="table to write (.csv)")
    parser.add_argument(
        "--unknown",
        type=float,
        help="share of the run's own images that lie farther from all categories than what counts "
        "as resembling none (default: 0.02; 0: every image gets a category)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="safetensors file of the backbone (default: where the run had it)",
    )
    add_device_arguments(parser)
    run_stage(main, parser)
