#!/usr/bin/env python
"""Cluster a feature cache under one part of a grid.

`cluster.py --help` shows the other steps.

Example:
  python workflow_scripts/cluster_shard.py --features F.npz --neighbours N.npz --shard 1/2
      --output C1.npz
"""

import argparse
from pathlib import Path

from gcdflow.cli import add_clustering_arguments, clustering_inputs, run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Cluster and write."""
    from gcdflow.clustering import cluster_shard
    from gcdflow.ssddbc import Shard

    features, grid, threads = clustering_inputs(arguments)
    cluster_shard(
        *(features, grid, Shard(*arguments.shard), arguments.neighbours, arguments.output),
        threads=threads,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_clustering_arguments(parser, shard=True)
    parser.add_argument("--output", type=Path, required=True, help="clusterings to write (.npz)")
    parser.add_argument("--neighbours", type=Path, required=True, help="what neighbours.py wrote")
    run_stage(main, parser)
