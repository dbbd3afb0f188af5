#!/usr/bin/env python
"""Write tables of several runs: each run (TSV), and means over seeds (Markdown, HTML).

Each argument names a setting and the metrics of one run. Runs with the same setting differ only in
the seed. If a file does not exist, the tables show its run as missing.

Example:
  python workflow_scripts/summary.py --tsv summary.tsv --markdown summary.md \\
      digits=runs/digits/metrics_epoch125.json digits=runs/digits-seed1/metrics_epoch125.json
"""

import argparse
import logging
from pathlib import Path

from gcdflow.cli import run_stage, show, stage_parser


def main(arguments: argparse.Namespace) -> None:
    """Write the requested tables, and print the table of means."""
    from gcdflow.evaluation.comparison import EXPLANATION
    from gcdflow.evaluation.page import as_page
    from gcdflow.evaluation.summary import (
        compared_results,
        markdown_table,
        missing_runs,
        parse_result,
        write_tsv,
    )
    from gcdflow.files.atomic import atomic_write

    results = [parse_result(text) for text in arguments.results]
    text = (
        "# Runs\n\n"
        "Mean ± standard deviation over seeds, at the last epoch. Accuracy in percent; all, old,\n"
        "new: unlabelled training images (transductive), test: the test split (inductive).\n\n"
        f"{markdown_table(results)}\n{missing_runs(results)}"
    )
    comparison = compared_results(results, arguments.baselines)
    if comparison:
        text += f"\n{EXPLANATION}\n{comparison}\n"
    if arguments.tsv:
        with atomic_write(arguments.tsv, "w") as file:
            write_tsv(file, results)
    for path, content in ((arguments.markdown, text), (arguments.html, as_page(text))):
        if path:
            with atomic_write(path, "w") as file:
                file.write(content)
    show(text)  # before the log line, even if both go into one file
    done = sum(result.metrics is not None for result in results)
    made = arguments.markdown or arguments.html or arguments.tsv or "table"
    logging.info("%s: %d of %d runs are done", made, done, len(results))


if __name__ == "__main__":
    parser = stage_parser(__doc__)
    parser.add_argument(
        "results", nargs="+", metavar="setting=metrics", help="a setting and metrics_epoch*.json"
    )
    parser.add_argument(
        "--baselines", type=Path, nargs="*", default=[], help="baseline_*.json of the same runs"
    )
    parser.add_argument("--tsv", type=Path, help="table of all runs to write")
    parser.add_argument("--markdown", type=Path, help="table of means to write")
    parser.add_argument("--html", type=Path, help="table of means as an HTML page to write")
    run_stage(main, parser)
