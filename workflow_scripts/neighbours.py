#!/usr/bin/env python
"""Find the nearest neighbours of a feature cache, which all shards of a clustering begin with.

They serve every grid whose largest k is no larger. `cluster.py --help` shows the other steps.

Example:
  python workflow_scripts/neighbours.py --features F.npz --output N.npz
"""

import argparse
from pathlib import Path

from gcdflow.cli import add_clustering_arguments, clustering_inputs, run_stage, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Find and write them."""
    from gcdflow.clustering import find_neighbours

    features, grid, threads = clustering_inputs(arguments)
    find_neighbours(features, grid, arguments.output, threads=threads)


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    add_clustering_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="neighbours to write (.npz)")
    run_stage(main, parser)
