#!/usr/bin/env python
"""Take the checkpoint of a warm-up from another run with the same settings and the same split.

Example:
  python workflow_scripts/share.py --run digits-other --split runs/digits-other/split.npz \\
      --checkpoint runs/digits/ckpt_epoch050.pt --output runs/digits-other/ckpt_epoch050.pt
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_settings_arguments, read_settings, run_stage, stage_parser
from gcdflow.config.settings import TrainSettings


def main(arguments: argparse.Namespace) -> None:
    """Take it."""
    settings = read_settings(arguments, TrainSettings, lambda run: run.train_settings(False))

    from gcdflow.training.checkpoint import located  # these import torch: after --help
    from gcdflow.training.shared_warmup import take_warmup

    output = arguments.output
    epoch = take_warmup(
        arguments.checkpoint,
        output,
        settings=located(settings, arguments.weights),
        split=arguments.split,
        log_dir=arguments.log_dir,
    )
    logging.info(
        "%s: trained to epoch %d by %s, %.1f MB",
        output,
        epoch,
        arguments.checkpoint,
        output.stat().st_size / 1e6,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "weights", "log-dir")
    add_settings_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to take")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint to write")
    run_stage(main, parser)
