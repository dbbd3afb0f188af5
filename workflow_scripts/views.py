#!/usr/bin/env python
"""Store what the frozen part of a backbone gives for a number of views of each image.

Training draws two of them for each step, so that the frozen part is computed once. A killed call
resumes when repeated, and loses one chunk.

Example:
  python workflow_scripts/views.py --run mine --split runs/mine/split.npz --output views.npy
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import (
    add_device_arguments,
    add_settings_arguments,
    read_settings,
    run_stage,
    stage_parser,
)
from gcdflow.config.settings import RunSettings, ViewsSettings
from gcdflow.errors import InputError


def stored_views(run: RunSettings) -> ViewsSettings:
    """What the views of a run depend on (InputError if it stores none)."""
    stored = run.train_settings(guided=False).views_settings()
    if stored is None:
        raise InputError("training.views is null: this run trains with fresh views")
    return stored


def main(arguments: argparse.Namespace) -> None:
    """Make the file."""
    settings = read_settings(arguments, ViewsSettings, stored_views)

    from gcdflow.training.checkpoint import located
    from gcdflow.training.views import make_views  # imports torch: after --help

    output = arguments.output
    make_views(
        located(settings, arguments.weights),
        arguments.split,
        output,
        device=arguments.device,
        threads=arguments.threads,
        num_workers=arguments.num_workers,
        result_version=arguments.result_version,
    )
    logging.info(
        "%s: %d views of each training image, %.1f MB",
        output,
        settings.views,
        output.stat().st_size / 1e6,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "split", "weights", "result-version")
    add_settings_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="file to write (.npy)")
    add_device_arguments(parser)
    run_stage(main, parser)
