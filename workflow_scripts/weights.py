#!/usr/bin/env python
"""Download the pretrained weights of a vision transformer from timm's hub.

Example:
  python workflow_scripts/weights.py --model dino_vitb16 --output weights/dino_vitb16.safetensors
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Download the file."""
    from gcdflow.models.timm_models import timm_name  # imports torch: after --help
    from gcdflow.models.weights import download_weights

    download_weights(arguments.model, arguments.output)
    logging.info(
        "%s: weights of %s, %.0f MB",
        arguments.output,
        timm_name(arguments.model),
        arguments.output.stat().st_size / 1e6,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("--model", required=True, help="such as dino_vitb16, or a name in timm")
    parser.add_argument("--output", type=Path, required=True, help="weight file to write")
    run_stage(main, parser)
