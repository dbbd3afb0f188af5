#!/usr/bin/env python
"""Cluster a feature cache by an SSDDBC grid search, and write the best clustering.

Works on anybody's features: an .npz with 'features' (n × d, float), and if you have them 'labels'
(n, integer; -1 = unlabelled), 'indices' (n, sample ids) and 'train_mask' (n, bool; others are left
out); or a .npy of features alone. The output holds indices, labels, core_mask, densities,
best_params and metadata.

Example:
  python workflow_scripts/cluster.py --features F.npz --output P.npz --grid-table G.tsv

The same search in two shards, which can run side by side on two machines, and equal in every byte
(each command takes the same features, labels and grid; see docs/ssddbc.md):
  cd workflow_scripts
  python neighbours.py --features F.npz --output N.npz
  python cluster_shard.py --features F.npz --neighbours N.npz --shard 1/2 --output C1.npz
  python cluster_shard.py --features F.npz --neighbours N.npz --shard 2/2 --output C2.npz
  python score_shard.py --features F.npz --clusterings C1.npz C2.npz --shard 1/2 --output S1.npz
  python score_shard.py --features F.npz --clusterings C1.npz C2.npz --shard 2/2 --output S2.npz
  python cluster.py --features F.npz --neighbours N.npz --clusterings C1.npz C2.npz
      --silhouettes S1.npz S2.npz --output P.npz --grid-table G.tsv
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_clustering_arguments, clustering_inputs, run_stage, stage_parser
from gcdflow.errors import InputError
from gcdflow.settings import ClusteringSettings


def main(arguments: argparse.Namespace) -> None:
    """Cluster, write, report."""
    from dataclasses import replace  # which no Python before 3.7 has, that should say what it is

    from gcdflow.clustering import (
        ShardPaths,
        cluster_features,
        pseudo_label_scalars,
        write_grid_table,
    )
    from gcdflow.event_log import event_file, write_scalars
    from gcdflow.formats import PseudoLabels

    made = (arguments.neighbours, arguments.clusterings, arguments.silhouettes)
    if any(made) and not all(made):
        raise InputError("--neighbours, --clusterings and --silhouettes go together")
    features, grid, threads = clustering_inputs(arguments)
    grid = replace(grid, w_ce=arguments.w_ce, w_sil=arguments.w_sil)
    previous = PseudoLabels.load(arguments.previous) if arguments.previous else None
    pseudo, results = cluster_features(
        features,
        grid,
        threads=threads,
        previous=previous,
        shards=ShardPaths(*made) if all(made) else None,
    )
    if arguments.grid_table is not None:
        write_grid_table(arguments.grid_table, results)
    if arguments.log_dir is not None:
        epoch = int(features.metadata.get("epoch", 0))
        path = event_file(arguments.log_dir, "cluster", epoch, epoch)
        write_scalars(path, epoch, pseudo_label_scalars(pseudo))
    pseudo.save(arguments.output)
    change = pseudo.metadata["label_change_rate"]
    logging.info(
        "%s: %d clusters of %d samples, core ratio %.2f, k=%d percentile=%g, score %.4f "
        "(cross-entropy %.4f, silhouette %.4f)%s",
        arguments.output,
        pseudo.metadata["n_clusters"],
        pseudo.metadata["n_samples"],
        pseudo.metadata["core_ratio"],
        pseudo.best_params["k"],
        pseudo.best_params["density_percentile"],
        pseudo.metadata["score"],
        pseudo.metadata["cross_entropy"],
        pseudo.metadata["silhouette"],
        "" if change is None else f", {change:.1%} of labels changed",
    )


if __name__ == "__main__":
    parser, defaults = stage_parser(__doc__), ClusteringSettings()
    add_clustering_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="pseudo labels to write (.npz)")
    parser.add_argument("--grid-table", type=Path, help="table of all configurations to write")
    parser.add_argument(
        "--w-ce", type=float, default=defaults.w_ce, help="weight of cross-entropy in the score"
    )
    parser.add_argument(
        "--w-sil", type=float, default=defaults.w_sil, help="weight of the silhouette in the score"
    )
    parser.add_argument(
        "--previous", type=Path, help="pseudo labels of the refresh before (label change rate)"
    )
    parser.add_argument("--log-dir", type=Path, help="directory of TensorBoard event files")
    parser.add_argument("--neighbours", type=Path, help="gather a search in shards: its neighbours")
    parser.add_argument(
        "--clusterings", type=Path, nargs="+", help="... what all its cluster_shard.py wrote"
    )
    parser.add_argument(
        "--silhouettes", type=Path, nargs="+", help="... what all its score_shard.py wrote"
    )
    run_stage(main, parser)
