#!/usr/bin/env python
"""Cluster features with an SSDDBC grid search, and write the best clustering.

The input may come from any source: an .npz with 'features' (n × d, float) and optionally 'labels'
(n, integer; -1 = unlabelled), 'indices' (n, sample ids) and 'train_mask' (n, bool; only these
samples are clustered), or a .npy with features alone. The output holds indices, labels, core_mask,
densities, neighbours, best_params and metadata.

Example:
  python workflow_scripts/cluster.py --features F.npz --output P.npz --grid-table G.tsv
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_grid_arguments, grid_of, run_stage, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Cluster, write, report."""
    from gcdflow.clustering.search import cluster_features, pseudo_label_scalars, write_grid_table
    from gcdflow.files.event_log import write_scalars
    from gcdflow.files.formats import PseudoLabels, load_features

    grid = grid_of(arguments)
    features = load_features(arguments.features, arguments.labels)
    previous = PseudoLabels.load(arguments.previous) if arguments.previous else None
    pseudo, results = cluster_features(
        features,
        grid,
        threads=arguments.threads,
        device="cuda" if arguments.gpus else "cpu",
        previous=previous,
    )
    if arguments.grid_table is not None:
        write_grid_table(arguments.grid_table, results)
    epoch = int(features.metadata.get("epoch", 0))
    write_scalars(arguments.log_dir, "cluster", epoch, pseudo_label_scalars(pseudo))
    pseudo.save(arguments.output)
    change, against = (pseudo.metadata[key] for key in ("label_change_rate", "against_labels"))
    agreement = pseudo.metadata["agreement"]
    logging.info(
        "%s: %s of %s, core ratio %.2f, k=%d percentile=%g, score %.4f "
        "(cross-entropy %.4f, silhouette %.4f, modularity %.4f)%s%s",
        arguments.output,
        counted(pseudo.metadata["n_clusters"], "cluster"),
        counted(pseudo.metadata["n_samples"], "sample"),
        pseudo.metadata["core_ratio"],
        pseudo.best_params["k"],
        pseudo.best_params["density_percentile"],
        pseudo.metadata["score"],
        pseudo.metadata["cross_entropy"],
        pseudo.metadata["silhouette"],
        pseudo.metadata["modularity"],
        "" if change is None else f", {change:.1%} of labels changed, agreement {agreement:.3f}",
        "" if against is None else f", {against:.1%} of labelled samples against their labels",
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "log-dir", "threads")
    parser.add_argument(
        "--features", type=Path, required=True, help="features to cluster (.npz, .npy)"
    )
    parser.add_argument(
        "--labels", type=Path, help="labels.npz that replaces the labels of the features"
    )
    add_grid_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="pseudo labels to write (.npz)")
    parser.add_argument("--grid-table", type=Path, help="table of all configurations to write")
    parser.add_argument(
        "--previous", type=Path, help="pseudo labels of the last refresh (to compare with)"
    )
    parser.add_argument(
        "--gpus", type=int, choices=(0, 1), default=0, help="1: a GPU compares all points"
    )
    run_stage(main, parser)
