#!/usr/bin/env python
"""Silhouettes of one part of the samples, under the clusterings of all shards of a grid.

`cluster.py --help` shows the other steps.

Example:
  python workflow_scripts/score_shard.py --features F.npz --clusterings C1.npz C2.npz --shard 1/2
      --output S1.npz
"""

import argparse
from pathlib import Path

from gcdflow.cli import (
    add_clustering_arguments,
    available_threads,
    run_stage,
    shard_of_shards,
    stage_parser,
)


def main(arguments: argparse.Namespace) -> None:
    """Score and write."""
    from gcdflow.clustering import Grid, score_shard
    from gcdflow.formats import load_features
    from gcdflow.ssddbc import Shard

    features = load_features(arguments.features, arguments.labels)
    grid = Grid(arguments.k, arguments.percentile, normalize=not arguments.no_normalize)
    threads = arguments.threads or available_threads()
    score_shard(
        *(features, grid, Shard(*arguments.shard), arguments.clusterings, arguments.output),
        threads=threads,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_clustering_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="silhouettes to write (.npz)")
    parser.add_argument(
        "--shard", type=shard_of_shards, required=True, help="which shard of how many, such as 2/4"
    )
    parser.add_argument(
        "--clusterings", type=Path, nargs="+", required=True, help="what all cluster_shard.py wrote"
    )
    run_stage(main, parser)
