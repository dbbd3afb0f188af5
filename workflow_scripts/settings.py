#!/usr/bin/env python
"""Write the settings of a run, including defaults and inherited ones, as YAML.

The file has the same keys as a run in the configuration. It leaves out keys that change no category
(gpus, baselines, clustering.label_draws, clustering.device) and keys of newer versions that have
their defaults.

Example:
  python workflow_scripts/settings.py --run digits --output config.yaml
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_settings_arguments, read_settings, run_stage, stage_parser
from gcdflow.config.settings import RunSettings
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Write the file."""
    import yaml
    from gcdflow.files.atomic import atomic_write

    settings = read_settings(arguments, RunSettings, lambda run: run).for_results()
    with atomic_write(arguments.output, "w") as file:
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
    logging.info(
        "%s: dataset %s, backbone %s, %s",
        arguments.output,
        settings["dataset"]["name"],
        settings["backbone"]["name"],
        counted(settings["schedule"]["total_epochs"], "epoch"),
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_settings_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="YAML file to write")
    run_stage(main, parser)
