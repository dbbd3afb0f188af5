#!/usr/bin/env python
"""Silhouettes of one part of the samples, under the clusterings of all shards of a grid.

`cluster.py --help` shows the other steps.

Example:
  python workflow_scripts/score_shard.py --features F.npz --clusterings C1.npz C2.npz --shard 1/2
      --output S1.npz
"""

import argparse
from pathlib import Path

from gcdflow.cli import add_clustering_arguments, clustering_inputs, run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Score and write."""
    from gcdflow.clustering import score_shard
    from gcdflow.ssddbc import Shard

    features, grid, threads = clustering_inputs(arguments)
    score_shard(
        *(features, grid, Shard(*arguments.shard), arguments.clusterings, arguments.output),
        threads=threads,
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_clustering_arguments(parser, shard=True)
    parser.add_argument("--output", type=Path, required=True, help="silhouettes to write (.npz)")
    parser.add_argument(
        "--clusterings", type=Path, nargs="+", required=True, help="what all cluster_shard.py wrote"
    )
    run_stage(main, parser)
