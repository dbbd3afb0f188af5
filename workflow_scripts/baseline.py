#!/usr/bin/env python
"""Cluster the features of an epoch by another method, and measure it against the hidden truth.

A method that needs the number of clusters runs several times: with the true number, and with each
estimate of the stage `estimate`. Only the tables read the result.

Example:
  python workflow_scripts/baseline.py --method kmeans --features features_epoch050.npz \\
      --truth truth.npz --estimates estimates_epoch050.json --output baseline_kmeans_epoch050.json
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, stage_parser
from gcdflow.config.settings import BASELINES
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Cluster, evaluate, write, report."""
    from gcdflow.evaluation.baselines import evaluate_baseline
    from gcdflow.evaluation.report import percent
    from gcdflow.files.atomic import write_json
    from threadpoolctl import threadpool_limits

    with threadpool_limits(arguments.threads):
        baseline = evaluate_baseline(
            arguments.method,
            arguments.features,
            arguments.truth,
            arguments.estimates,
            normalized=not arguments.no_normalize,
            threads=arguments.threads,
        )
    write_json(arguments.output, baseline)
    parts = [
        f"{counted(result['n_clusters'], 'cluster')} ({result['number']}), accuracy "
        f"{percent(result['transductive']['all'])}, {result['seconds']:.1f} s"
        for result in baseline["results"]
    ]
    logging.info("%s: %s", arguments.output, "; ".join(parts))


if __name__ == "__main__":
    parser = stage_parser(__doc__, "features", "threads")
    parser.add_argument("--method", choices=BASELINES, required=True, help="how to cluster")
    parser.add_argument("--truth", type=Path, required=True, help="truth.npz of the run")
    parser.add_argument(
        "--estimates",
        type=Path,
        help="estimates of the number of clusters, for methods that need it",
    )
    parser.add_argument("--no-normalize", action="store_true", help="do not normalise the features")
    parser.add_argument("--output", type=Path, required=True, help="result to write (.json)")
    run_stage(main, parser)
