#!/usr/bin/env python
"""Cluster a feature cache under one part of a grid.

`cluster.py --help` shows the other steps.

Example:
  python workflow_scripts/cluster_shard.py --features F.npz --neighbours N.npz --shard 1/2
      --output C1.npz
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
    """Cluster and write."""
    from gcdflow.clustering import Grid, cluster_shard
    from gcdflow.formats import load_features
    from gcdflow.ssddbc import Shard

    features = load_features(arguments.features, arguments.labels)
    grid = Grid(arguments.k, arguments.percentile, normalize=not arguments.no_normalize)
    threads = arguments.threads or available_threads()
    cluster_shard(
        *(features, grid, Shard(*arguments.shard), arguments.neighbours, arguments.output),
        threads=threads,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_clustering_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="clusterings to write (.npz)")
    parser.add_argument(
        "--shard", type=shard_of_shards, required=True, help="which shard of how many, such as 2/4"
    )
    parser.add_argument("--neighbours", type=Path, required=True, help="what neighbours.py wrote")
    run_stage(main, parser)
