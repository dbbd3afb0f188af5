#!/usr/bin/env python
"""Estimate the number of clusters of an epoch's features, for methods that need it.

One estimate comes from the labels (GCD, arXiv 2201.02609), another from the labels of withheld
classes and silhouettes (CiPR, arXiv 2304.06928). Neither sees the truth.

Example:
  python workflow_scripts/estimate.py --features features_epoch050.npz \\
      --output estimates_epoch050.json
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Estimate, write, report."""
    from gcdflow.clustering.number import ESTIMATES, estimates
    from gcdflow.files.atomic import write_json
    from threadpoolctl import threadpool_limits

    with threadpool_limits(arguments.threads):
        found = estimates(arguments.features, normalized=not arguments.no_normalize)
    write_json(arguments.output, found)
    parts = [
        f"{counted(found[name]['n_clusters'], 'cluster')} ({name}), {found[name]['seconds']:.1f} s"
        for name in ESTIMATES
    ]
    logging.info("%s: %s", arguments.output, "; ".join(parts))


if __name__ == "__main__":
    parser = stage_parser(__doc__, "features", "threads")
    parser.add_argument("--no-normalize", action="store_true", help="do not normalise the features")
    parser.add_argument("--output", type=Path, required=True, help="estimates to write (.json)")
    run_stage(main, parser)
