"""What the rules need to know of a run: its epochs, and the inputs of its jobs.

Paths are those that the rules write, without a prefix. ``rules/common.smk`` asks for the run and
the epoch in a job's wildcards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gcdflow.config.settings import FETCHED_WEIGHTS, PhotosSettings, RunSettings, TimmSettings
from gcdflow.data.places import check_images
from gcdflow.errors import InputError
from gcdflow.files import declared
from gcdflow.files.declared import RunFile
from gcdflow.planning.stored_views import views_file

Inputs = dict[str, str]  # name of an input to its path


# -- epochs ----------------------------------------------------------------------------------------


def checked_epoch(settings: RunSettings, run: str, epoch: int) -> int:
    """The epoch itself.

    Raises
    ------
    InputError
        If the run has no checkpoint at that epoch; the message lists those that it has.
    """
    epochs = settings.checkpoint_epochs()
    if epoch not in epochs:
        listed = ", ".join(f"{e:03d}" for e in epochs)
        raise InputError(
            f"run '{run}' has no checkpoint at epoch {epoch:03d}; its checkpoint epochs are "
            f"{listed} (0 if pretrained, warmup_epochs, then every refresh_interval, and "
            "total_epochs)"
        )
    return epoch


def previous_epoch(settings: RunSettings, run: str, epoch: int) -> int | None:
    """The checkpoint epoch before another one; None for epoch 0 and the end of the warm-up."""
    checked_epoch(settings, run, epoch)
    earlier = [end for end in settings.schedule.segment_ends() if end < epoch]
    return earlier[-1] if earlier else None


def segment_length(settings: RunSettings, run: str, epoch: int) -> int:
    """Epochs of the segment that ends with an epoch."""
    return epoch - (previous_epoch(settings, run, epoch) or 0)


def last_epoch(settings: RunSettings) -> int:
    """The last checkpoint epoch."""
    return settings.schedule.segment_ends()[-1]


# -- files -----------------------------------------------------------------------------------------


def log_dir(output: str) -> str:
    """Folder of a run's TensorBoard files, by the path of any other file of the run."""
    return str(Path(output).parent / "log")


def seen_photographs(output: str) -> str:
    """List of a run's photographs, by the path of any other file of the run."""
    return str(Path(output).parent / declared.PHOTOGRAPHS.path)


def weights_files(settings: RunSettings, run: str) -> list[str]:
    """File of the weights that the network began with, in a list; it is empty for random ones.

    Raises
    ------
    InputError
        If the run names a file that does not exist. (Pretrained ones are fetched.)
    """
    backbone = settings.backbone
    if not isinstance(backbone, TimmSettings) or backbone.weights_file is None:
        return []
    named = backbone.named_file
    if named is not None and not Path(named).is_file():
        raise InputError(f"runs.{run}: backbone.weights: no file at {named}; put it there")
    return [backbone.weights_file]


def weights_inputs(runs: Mapping[str, RunSettings], weights: str) -> list[str]:
    """The file that weights are converted from, in a list; it is empty for those that are fetched.

    Parameters
    ----------
    weights : str
        Path of the converted file.

    Raises
    ------
    InputError
        If no run names such a file, or two runs name different ones.
    """
    found = {
        str(Path(run.backbone.foreign_file).absolute()): run.backbone.foreign_file
        for run in runs.values()
        if isinstance(run.backbone, TimmSettings)
        and run.backbone.foreign_file is not None
        and run.backbone.weights_file == weights
    }
    if not found and not weights.startswith(FETCHED_WEIGHTS):
        raise InputError(f"{weights}: no run names a weight file that this could be made from")
    if len(found) > 1:
        named = " and ".join(sorted(found.values()))
        raise InputError(
            f"backbone.weights: {named} would both become {weights}; rename one of them"
        )
    return list(found.values())


def _of_epoch(settings: RunSettings, run: str, epoch: int, **files: RunFile) -> Inputs:
    epoch = checked_epoch(settings, run, epoch)
    return {name: file.of(run, epoch) for name, file in files.items()}


def _of_previous_epoch(settings: RunSettings, run: str, epoch: int, **files: RunFile) -> Inputs:
    """Nothing for epoch 0 and the end of the warm-up."""
    previous = previous_epoch(settings, run, epoch)
    return {} if previous is None else _of_epoch(settings, run, previous, **files)


def train_inputs(settings: RunSettings, run: str, epoch: int) -> Inputs:
    """Inputs of a segment, but its weights."""
    own = {"split": declared.SPLIT.of(run), **_stored_views(settings, epoch)}
    own |= _of_previous_epoch(settings, run, epoch, checkpoint=declared.CHECKPOINT)
    guiding = settings.guiding_epoch(previous_epoch(settings, run, epoch))
    return own if guiding is None else own | {"pseudo_labels": declared.PSEUDO.of(run, guiding)}


def features_inputs(settings: RunSettings, run: str, epoch: int) -> Inputs:
    """Inputs of a feature extraction, but the weights."""
    checkpoint = _of_epoch(settings, run, epoch, checkpoint=declared.CHECKPOINT)
    return {"split": declared.SPLIT.of(run), **checkpoint, **_stored_views(settings, epoch)}


def _stored_views(settings: RunSettings, epoch: int) -> Inputs:
    """Nothing for epoch 0: its features do not wait until all views are made."""
    path = views_file(settings) if epoch > 0 else None
    return {} if path is None else {"views": path}


def cluster_inputs(settings: RunSettings, run: str, epoch: int) -> Inputs:
    """Inputs of a clustering; the previous pseudo labels only to count those that changed."""
    features = _of_epoch(settings, run, epoch, features=declared.FEATURES)
    return features | _of_previous_epoch(settings, run, epoch, previous=declared.PSEUDO)


def classes_inputs(settings: RunSettings, run: str, epoch: int) -> Inputs:
    """Inputs of the categories that a classifier gives.

    Raises
    ------
    InputError
        If the run has no classifier at that epoch.
    """
    files = {"checkpoint": declared.CHECKPOINT, "features": declared.FEATURES}
    inputs = _of_epoch(settings, run, epoch, **files)
    if not settings.has_classifier(epoch):
        raise InputError(
            f"run '{run}' has no classifier at epoch {epoch:03d}; its objective is "
            f"'{settings.objective.name}' (one of simgcd has a classifier, with n_prototypes: null "
            "after the warm-up)"
        )
    return inputs


def images_of_split(settings: RunSettings, split: str, starts_jobs: bool) -> list[str]:
    """Inputs of the listing of images: none, but what it will read must be there.

    So a missing folder is found before other rules fetch or compute anything.

    Parameters
    ----------
    split : str
        Path of the split. If it exists, nobody needs the images to list them again.
    starts_jobs : bool
        Jobs will run; a mere plan needs no images.

    Raises
    ------
    InputError
        If the folder of the dataset is missing, or the file that comes first.
    """
    if starts_jobs and not Path(split).exists():
        check_images(settings.dataset)
    return []


def photographs_inputs(settings: RunSettings, run: str) -> Inputs:
    """Inputs of what only runs on photographs have, besides their folder and CSV file.

    Raises
    ------
    InputError
        If the dataset has neither.
    """
    if not isinstance(settings.dataset, PhotosSettings):
        raise InputError(
            f"run '{run}' is of dataset '{settings.dataset.name}', which has no CSV file of labels "
            "(dataset 'photos' has one)"
        )
    return {"split": declared.SPLIT.of(run)}


def _end(settings: RunSettings, run: str, look: bool) -> int:
    """The epoch of the results: the last one, or that of a look before training."""
    return checked_epoch(settings, run, 0) if look else last_epoch(settings)


def added_inputs(settings: RunSettings, run: str, look: bool = False) -> Inputs:
    """Inputs of the features of added photographs, but the weights.

    Parameters
    ----------
    look : bool
        For a look before training; also in the next functions.
    """
    trained = {"features": declared.FEATURES, "checkpoint": declared.CHECKPOINT}
    seen = {"photographs": declared.PHOTOGRAPHS.of(run)}
    inputs = photographs_inputs(settings, run) | seen
    return inputs | _of_epoch(settings, run, _end(settings, run, look), **trained)


def cluster_final_inputs(settings: RunSettings, run: str, look: bool = False) -> Inputs:
    """Inputs of the clustering with the labels as they are now."""
    features = declared.FEATURES.of(run, _end(settings, run, look))
    return {"features": features, "labels": declared.LABELS.of(run)}


def evaluate_inputs(settings: RunSettings, run: str, epoch: int) -> Inputs:
    """Inputs of an evaluation, the first of two rules that read the truth (see `baselines`)."""
    found = {"features": declared.FEATURES, "pseudo_labels": declared.PSEUDO}
    if settings.has_classifier(epoch):
        found["classes"] = declared.CLASSES
    return {**_of_epoch(settings, run, epoch, **found), "truth": declared.TRUTH.of(run)}


def report_inputs(settings: RunSettings, run: str) -> list[str]:
    """The metrics of all checkpoint epochs."""
    return [declared.METRICS.of(run, epoch) for epoch in settings.checkpoint_epochs()]


def assign_inputs(settings: RunSettings, run: str, look: bool = False) -> Inputs:
    """Inputs of the table of categories; photographs may have other labels and places now."""
    epoch = _end(settings, run, look)
    inputs = {"split": declared.SPLIT.of(run), "features": declared.FEATURES.of(run, epoch)}
    if not isinstance(settings.dataset, PhotosSettings):
        return inputs | {"pseudo_labels": declared.PSEUDO.of(run, epoch)}
    now = {
        "pseudo_labels": declared.PSEUDO_FIRST_LOOK if look else declared.PSEUDO_FINAL,
        "added": declared.ADDED_FIRST_LOOK if look else declared.ADDED,
        "labels": declared.LABELS,
        "photographs": declared.PHOTOGRAPHS,
    }
    return inputs | {name: file.of(run) for name, file in now.items()}


def thumbs_inputs(settings: RunSettings, run: str) -> Inputs:
    """Inputs of the thumbnails of photographs."""
    return photographs_inputs(settings, run) | {"photographs": declared.PHOTOGRAPHS.of(run)}


def gallery_inputs(settings: RunSettings, run: str, look: bool = False) -> Inputs:
    """Inputs of the page of thumbnails; those of photographs are made once."""
    table = declared.FIRST_LOOK_TABLE if look else declared.ASSIGNMENTS
    inputs = {
        "split": declared.SPLIT.of(run),
        "features": declared.FEATURES.of(run, _end(settings, run, look)),
        "assignments": table.of(run),
    }
    if isinstance(settings.dataset, PhotosSettings):
        now = {"photographs": declared.PHOTOGRAPHS, "thumbs": declared.THUMBS}
        return inputs | {name: file.of(run) for name, file in now.items()}
    return inputs


def summary_metrics(
    runs: Mapping[str, RunSettings], names: Iterable[str], placed: Callable[[str], str]
) -> Inputs:
    """Metrics of the last epoch of some runs: name of the run to path.

    Parameters
    ----------
    placed : callable
        Puts a path below the prefix of all files, where there is one.
    """
    return {run: placed(declared.METRICS.of(run, last_epoch(runs[run]))) for run in names}


def results_asked_for(
    metrics: Mapping[str, str],
    baselines: Iterable[str],
    targets: Iterable[str],
    placed: Callable[[str], str],
) -> list[str]:
    """What a table of runs waits for: results of those that are reported in the same call.

    Parameters
    ----------
    metrics : mapping
        Name of a run to the metrics of its last epoch; paths without prefix, as the result.
    baselines : iterable of str
        What other methods have found at these epochs.
    targets : iterable of str
        What the user asks Snakemake for; ``all`` asks for all reports.
    placed : callable
        Puts a path below the prefix of all files, where there is one.
    """
    asked = {Path(target) for target in targets}
    pages = (declared.REPORT.path, declared.REPORT_PAGE.path)
    found = []
    for path in metrics.values():
        own = Path(placed(path))
        if asked & {Path("all"), own, *(own.parent / page for page in pages)}:
            found.append(path)
    folders = {Path(path).parent for path in found}
    return [*found, *(path for path in baselines if Path(path).parent in folders)]


def all_results(runs: Mapping[str, RunSettings], names: Iterable[str]) -> list[str]:
    """What plain ``snakemake`` makes: the results of some runs that people look at."""
    looked_at = (declared.REPORT, declared.REPORT_PAGE, declared.CURVES, declared.GALLERY)
    found = []
    for run in names:
        found += [file.of(run) for file in looked_at]
        epochs = runs[run].checkpoint_epochs()
        found += [declared.GRID_PICTURE.of(run, epoch) for epoch in epochs]
    return [*found, "results/summary.html"] if found else []
