"""What the rules tell the stages of a run: settings, flags, and the versions of results.

Parameters are plain and sorted, so that only a real change re-runs a rule.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from gcdflow.config.settings import PhotosSettings, RunSettings, Settings, with_named_weights
from gcdflow.config.sweeps import titles
from gcdflow.errors import InputError
from gcdflow.files.records import version_after
from gcdflow.planning.job_resources import JobFiles
from gcdflow.planning.plan import last_epoch, previous_epoch
from gcdflow.planning.state import state_of_labels, state_of_photographs

# A change of code re-runs nothing by itself. Whoever changes what a stage computes from the same
# input raises its number here; that stage, and all that follows from it, then runs again.
RESULT_VERSIONS = {
    "dataset": 2,
    "views": 1,
    "train": 2,
    "features": 1,
    "classes": 1,
    "cluster": 2,
    "heatmap": 1,
    "evaluate": 3,
    "estimate": 2,
    "baseline": 3,
    "report": 7,
    "photographs": 1,
    "added": 1,
    "labels": 2,
    "assign": 4,
    "thumbs": 1,
    "gallery": 5,
    "sorted": 2,
    "sidecars": 1,
    "summary": 4,
    "curves": 1,
    "pages": 7,
}


def updating(version: int, output: str, placed: Callable[[str], str]) -> Callable[..., int | str]:
    """The version of a job that updates a file, as a param; another after a failed update.

    Parameters
    ----------
    version : int
        That of the stage.
    output : str
        The first output of the rule.
    placed : callable
        Puts a path below the prefix of all files, where there is one.
    """
    return lambda wildcards: version_after(version, placed(output.format(run=wildcards.run)))


def as_json(settings: Settings) -> str:
    """Settings as JSON text with sorted keys."""
    return json.dumps(settings.model_dump(), sort_keys=True)


def result_settings(settings: RunSettings) -> str:
    """All that any result of the run depends on."""
    return json.dumps(settings.for_results(), sort_keys=True)


def dataset_settings(settings: RunSettings) -> str:
    """All that the split depends on."""
    return as_json(settings.dataset)


def train_settings(settings: RunSettings, run: str, epoch: int) -> str:
    """All that a segment depends on; pseudo-label settings are left out of the warm-up.

    A weight file that the run names is an input: where it lies is no setting.
    """
    guided = settings.guiding_epoch(previous_epoch(settings, run, epoch)) is not None
    return as_json(with_named_weights(settings.train_settings(guided), "file"))


def views_settings(settings: RunSettings) -> str:
    """All that stored views depend on, besides the images and the weight file; as above."""
    stored = settings.train_settings(guided=False).views_settings()
    return as_json(with_named_weights(stored, "file"))


def limit_flags(settings: RunSettings) -> list[str]:
    """What a training may do without another result; Snakemake must not compare it."""
    limit = settings.training.skip_bad_steps
    return ["--skip-bad-steps", str(limit)] if limit else []


def cluster_flags(settings: RunSettings) -> list[str]:
    """The grid, as the flags of the clustering stage."""
    grid = settings.clustering
    flags = ["--k", grid.k, "--percentile", grid.percentile]
    flags += ["--w-ce", str(grid.w_ce), "--w-sil", str(grid.w_sil)]
    flags += ["--w-mod", str(grid.w_mod)] if grid.w_mod else []
    flags += [] if grid.neighbours is None else ["--neighbours", grid.neighbours]
    flags += ["--merge-by-class"] if grid.merge_by_class else []
    return flags if grid.normalize else [*flags, "--no-normalize"]


def evaluate_flags(settings: RunSettings) -> list[str]:
    """The draws of labels, with the grid that is searched for each; nothing without draws."""
    draws = settings.clustering.label_draws
    return ["--label-draws", str(draws), *cluster_flags(settings)] if draws else []


def input_flags(files: JobFiles, flags: Mapping[str, str]) -> list[str]:
    """Flags, each with its file, for those inputs that a job has.

    Parameters
    ----------
    flags : mapping
        Name of an input to its flag.
    """
    found = [(flag, files.get(name)) for name, flag in flags.items()]
    return [word for flag, path in found if path for word in (flag, str(path))]


def labels_table(settings: RunSettings) -> str:
    """Path of the CSV file of labels."""
    dataset = settings.dataset
    return str(Path(dataset.root, dataset.folder, dataset.labels))


def table_flags(settings: RunSettings) -> list[str]:
    """The CSV file of labels as a flag; nothing for datasets without one."""
    is_of_photos = isinstance(settings.dataset, PhotosSettings)
    return ["--table", labels_table(settings)] if is_of_photos else []


def again_flags(settings: RunSettings, command: str) -> list[str]:
    """The command that sorts again after the table of labels changed; nothing without a table."""
    return ["--again", command] if table_flags(settings) else []


def afresh(settings: RunSettings) -> list[str]:
    """Options for a training with the photographs and labels that are there now."""
    return ["--forcerun", "dataset"] if isinstance(settings.dataset, PhotosSettings) else []


def next_step_flags(settings: RunSettings, command: str, logs: str) -> list[str]:
    """What a first look is to say of the training that follows; nothing if there is none.

    Parameters
    ----------
    command : str
        That trains.
    logs : str
        Folder of the run's logs, where Snakemake leaves what it measured.
    """
    if last_epoch(settings) == 0:
        return []
    measured = [f"{logs}/{rule}_epoch000.benchmark.tsv" for rule in ("train", "features")]
    return ["--train", command, result_settings(settings), *measured]


def photographs_state(settings: RunSettings) -> str:
    """A text that changes with the photographs in the folder: they are no inputs."""
    dataset = settings.dataset
    return state_of_photographs(Path(dataset.root, dataset.folder), Path(labels_table(settings)))


def labels_state(settings: RunSettings) -> str:
    """A text that changes with the CSV file and the photographs that it lists."""
    dataset = settings.dataset
    return state_of_labels(Path(dataset.root, dataset.folder), Path(labels_table(settings)))


def summary_runs(runs: Mapping[str, RunSettings], metrics: Mapping[str, str]) -> list[str]:
    """Arguments of the summary: ``title=path`` for each run, by the metrics of its last epoch.

    Raises
    ------
    InputError
        If there are no runs.
    """
    if not metrics:
        raise InputError("the table has no runs: name some under 'default_runs'")
    title = titles(runs, metrics)
    return [f"{title[run]}={path}" for run, path in metrics.items()]
