#!/usr/bin/env python
"""Train one segment, from the start or a checkpoint up to an epoch, and write a checkpoint.

Without --pseudo-labels, the segment is the warm-up (contrastive training only). With them, pseudo
labels guide it. If the command is killed, the same command resumes from the rolling checkpoint.

Examples:
  python workflow_scripts/train.py --run digits --split runs/digits/split.npz \\
      --stop-at-epoch 50 --output ckpt_epoch050.pt
  python workflow_scripts/train.py --gpus 2 --run digits --split runs/digits/split.npz \\
      --resume-from-ckpt ckpt_epoch050.pt --pseudo-labels pseudo_epoch050.npz \\
      --stop-at-epoch 75 --output ckpt_epoch075.pt
"""

import argparse
import logging
import sys
from pathlib import Path

from gcdflow.cli import (
    add_device_arguments,
    add_settings_arguments,
    read_settings,
    run_stage,
    stage_parser,
    whole_number,
)
from gcdflow.config.settings import TrainSettings
from gcdflow.distributed.launcher import launch, launched_ranks


def main(arguments: argparse.Namespace) -> None:
    """Train the segment."""
    guided = arguments.pseudo_labels is not None
    settings = read_settings(arguments, TrainSettings, lambda run: run.train_settings(guided))
    if arguments.skip_bad_steps is not None:
        training = settings.training.model_copy(update={"skip_bad_steps": arguments.skip_bad_steps})
        settings = settings.model_copy(update={"training": training})
    if arguments.gpus > 1 and launched_ranks() == 1:
        sys.exit(launch(arguments.gpus))

    from gcdflow.training.checkpoint import located
    from gcdflow.training.segment import train_segment
    from gcdflow.training.segment_files import SegmentFiles  # these import torch: after --help

    output = arguments.output
    files = SegmentFiles(
        split=arguments.split,
        output=output,
        log_dir=arguments.log_dir,
        resume_from=arguments.resume_from_ckpt,
        pseudo_labels=arguments.pseudo_labels,
        views=arguments.views,
    )
    train_segment(
        located(settings, arguments.weights),
        files,
        stop_at_epoch=arguments.stop_at_epoch,
        device=arguments.device,
        threads=arguments.threads,
        num_workers=arguments.num_workers,
        result_version=arguments.result_version,
    )
    logging.info(
        "%s: trained to epoch %d of %d, %.1f MB",
        output,
        arguments.stop_at_epoch,
        settings.total_epochs,
        output.stat().st_size / 1e6,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "weights", "log-dir", "result-version")
    add_settings_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="checkpoint to write")
    parser.add_argument(
        "--stop-at-epoch",
        type=whole_number(0),
        required=True,
        help="write the checkpoint after this epoch; 0: the network before training",
    )
    parser.add_argument("--resume-from-ckpt", type=Path, help="checkpoint to resume from")
    parser.add_argument("--pseudo-labels", type=Path, help="pseudo labels that guide the segment")
    parser.add_argument(
        "--skip-bad-steps",
        type=whole_number(0),
        help="steps that may be skipped because their loss is not finite; no result depends on "
        "it, so --settings do not hold it (default: that of --run, or 0)",
    )
    parser.add_argument("--views", type=Path, help="stored views to start from (training.views)")
    add_device_arguments(parser)
    parser.add_argument(
        "--gpus",
        type=whole_number(0),  # Snakemake passes 0 if it has no GPU
        default=1,
        help="processes that share each step, one per GPU (or CPU processes, which share "
        "--threads); under torchrun, torchrun decides",
    )
    run_stage(main, parser)
