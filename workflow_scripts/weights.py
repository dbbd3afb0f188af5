#!/usr/bin/env python
"""Make a safetensors file of pretrained weights: from a package or timm's hub, or from a file.

Only this stage reads weight files of PyTorch (.pth, .pt, ...). It runs no code in them.

Examples:
  python workflow_scripts/weights.py --model dino_vitb16 --output weights/dino_vitb16.safetensors
  python workflow_scripts/weights.py --file dino_resnet50.pth --output dino_resnet50.safetensors
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Fetch or convert the file."""
    from gcdflow.models.weights import convert_weights, fetch_weights  # timm: after --help

    if arguments.file is not None:
        convert_weights(arguments.file, arguments.output)
    else:
        fetch_weights(arguments.model, arguments.output)
    size = arguments.output.stat().st_size / 1e6
    logging.info(
        "%s: weights of %s, %.0f MB", arguments.output, arguments.file or arguments.model, size
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--model", help="such as efficientnet_lite0 or dino_vitb16, or a name in timm"
    )
    source.add_argument("--file", type=Path, help="weight file to convert")
    parser.add_argument("--output", type=Path, required=True, help="weight file to write")
    run_stage(main, parser)
