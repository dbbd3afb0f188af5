#!/usr/bin/env python
"""Measure pseudo labels against the hidden truth: accuracy on old, new and all classes.

Transductive accuracy is that of the unlabelled training samples. Inductive accuracy is that of the
test split, whose samples join the clusters of their nearest core points. The categories of a
classifier are measured in the same way. Draws of labels show how stable the number of clusters
is, without the truth. Only the tables read the result.

Example:
  python workflow_scripts/evaluate.py --features features_epoch050.npz \\
      --pseudo-labels pseudo_epoch050.npz --truth truth.npz --output metrics_epoch050.json
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import add_grid_arguments, grid_of, run_stage, stage_parser, whole_number
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Evaluate, write, report."""
    from gcdflow.evaluation.metrics import accuracy_scalars, evaluate
    from gcdflow.evaluation.report import classes_of_truth, percent, range_of_clusters
    from gcdflow.files.atomic import write_json
    from gcdflow.files.event_log import write_scalars

    metrics = evaluate(
        arguments.features,
        arguments.pseudo_labels,
        arguments.truth,
        arguments.classes,
        threads=arguments.threads,
        label_draws=arguments.label_draws,
        grid=grid_of(arguments) if arguments.label_draws else None,
    )
    epoch = int(metrics["epoch"] or 0)
    write_scalars(arguments.log_dir, "evaluate", epoch, accuracy_scalars(metrics))
    write_json(arguments.output, metrics)
    parts = [
        f"{by}{kind} all {percent(found[kind]['all'])} old {percent(found[kind]['old'])} "
        f"new {percent(found[kind]['new'])}"
        for by, found in (("", metrics), ("by the classifier ", metrics.get("classifier")))
        if found is not None
        for kind in ("transductive", "inductive")
    ]
    logging.info(
        "%s: %s; %s%s for %s",
        arguments.output,
        "; ".join(parts),
        counted(metrics["n_clusters"], "cluster"),
        range_of_clusters(metrics),
        classes_of_truth(metrics),
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__, "features", "pseudo-labels", "log-dir", "threads")
    parser.add_argument("--truth", type=Path, required=True, help="truth.npz of the run")
    parser.add_argument("--classes", type=Path, help="categories that a classifier gives")
    parser.add_argument("--output", type=Path, required=True, help="metrics to write (.json)")
    parser.add_argument(
        "--label-draws",
        type=whole_number(0),
        default=0,
        help="repeat the grid search with so many draws of labels, to see how stable the number of "
        "clusters is (default: not at all)",
    )
    add_grid_arguments(parser)
    run_stage(main, parser)
