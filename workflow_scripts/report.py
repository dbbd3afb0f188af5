#!/usr/bin/env python
"""Write and print the table of a run from the metrics of its checkpoint epochs.

The output is an HTML page if its name ends with .html, otherwise Markdown.

Example:
  python workflow_scripts/report.py --run digits --output report.md metrics_epoch*.json \\
      --baselines baseline_*.json
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, show, stage_parser
from gcdflow.wording import counted


def main(arguments: argparse.Namespace) -> None:
    """Write and print the table."""
    from gcdflow.clustering.guidance import verdict
    from gcdflow.evaluation.comparison import EXPLANATION, compared, markdown_comparison
    from gcdflow.evaluation.page import as_page
    from gcdflow.evaluation.report import (
        classes_of_truth,
        markdown_table,
        percent,
        read_run,
        selection_text,
        warning_text,
    )
    from gcdflow.files.atomic import atomic_write

    metrics = read_run(arguments.metrics)
    last = max(metrics, key=lambda m: m["epoch"])
    text = (
        f"# {arguments.run}\n\n"
        "Accuracy in percent; all, old, new: unlabelled training images (transductive), test: the\n"
        f"test split (inductive). The truth has {classes_of_truth(last)}.\n\n"
        f"{markdown_table(metrics)}\n\n"
        "Also in percent, of training images: labels changed since the refresh before; agreement\n"
        "(adjusted Rand index) with it; against labels, the labelled images in a cluster where\n"
        "another class prevails.\n"
    )
    text += f"\n{selection_text(metrics)}"
    said = verdict(last.get("against_labels"), last["label_change_rate"], last.get("mean_cosine"))
    if said:
        text += f"\nVerdict: {said}.\n"
    warning = warning_text(metrics)
    if warning:
        text += f"\n{warning}"
    rows = compared(metrics, arguments.baselines)
    if rows:
        text += f"\n{EXPLANATION}\n{markdown_comparison(rows)}\n"
    with atomic_write(arguments.output, "w") as file:
        file.write(as_page(text) if arguments.output.suffix == ".html" else text)
    show(text)  # before the log line, even if both go into one file
    logging.info(
        "%s: %s; at the last, accuracy %s and %s for %s",
        arguments.output,
        counted(len(metrics), "epoch"),
        percent(last["transductive"]["all"]),
        counted(last["n_clusters"], "cluster"),
        classes_of_truth(last),
    )


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument("metrics", type=Path, nargs="+", help="metrics_epoch*.json of one run")
    parser.add_argument(
        "--baselines", type=Path, nargs="*", default=[], help="baseline_*.json of the same run"
    )
    parser.add_argument("--run", required=True, help="name of the run, for the title")
    parser.add_argument("--output", type=Path, required=True, help="table to write (.md or .html)")
    run_stage(main, parser)
