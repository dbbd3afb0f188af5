"""Files of stored views: which run uses which, what each is made from, and when it may go.

Runs that differ only in what comes after the frozen part of the backbone share one file. Its name
is a digest of the settings that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from gcdflow.config.settings import RunSettings, with_named_weights
from gcdflow.errors import InputError
from gcdflow.files import declared
from gcdflow.files.records import content_digest, made_from

FOLDER = "views"
DIGEST = "[0-9a-f]{16}"  # the name of a file, without its suffix


def views_file(settings: RunSettings) -> str | None:
    """Path of the stored views of a run; None where views are fresh."""
    stored = settings.train_settings(guided=False).views_settings()
    if stored is None:
        return None
    depends_on = {
        "dataset": settings.dataset.images(),
        **with_named_weights(stored, "file").model_dump(),
    }
    if (named := getattr(settings.backbone, "named_file", None)) is not None:
        # The plan names a missing file elsewhere.
        depends_on["weights_sha256"] = content_digest(named) or "missing"
    digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
    return f"{FOLDER}/{digest[:16]}.npy"


def runs_by_views(
    runs: Mapping[str, RunSettings], placed: Callable[[str], str]
) -> dict[str, list[str]]:
    """Names of the runs that share each file of stored views, by its path.

    The views are made of the split of the first. An existing file stays with the run that it was
    made from, even if the order of runs changes or that run leaves the configuration: otherwise,
    finished runs that use it would train again. The last name is always of the configuration.

    Parameters
    ----------
    placed : callable
        Puts a path below the prefix of all files, where there is one.
    """
    found: dict[str, list[str]] = {}
    for name, settings in runs.items():
        if (path := views_file(settings)) is not None:
            found.setdefault(path, []).append(name)
    for path, names in found.items():
        maker = _maker(Path(placed(path)))
        split = Path(placed(declared.SPLIT.of(maker or names[0])))
        if maker in names[1:]:
            names.remove(maker)
            names.insert(0, maker)
        elif maker is not None and maker not in runs and split.exists():
            names.insert(0, maker)
    return found


def _maker(views: Path) -> str | None:
    """The run from whose split an existing file was made; None if no record says so."""
    inputs = made_from(views) if views.exists() else None
    splits = [path for path in map(Path, inputs or []) if path.name == declared.SPLIT.path]
    return splits[0].parent.name if splits else None


def runs_of_views(owners: Mapping[str, list[str]], digest: str) -> list[str]:
    """The runs that share the stored views of a digest, as :func:`runs_by_views` has them.

    Raises
    ------
    InputError
        If there is none.
    """
    path = f"{FOLDER}/{digest}.npy"
    if path not in owners:
        listed = ", ".join(f"{path} ({names[0]})" for path, names in owners.items()) or "none"
        raise InputError(
            f"no run of the configuration has the stored views {path} (there are: {listed})"
        )
    return owners[path]


def unneeded_views(
    owners: Mapping[str, list[str]],
    runs: Mapping[str, RunSettings],
    placed: Callable[[str], str],
) -> list[str]:
    """Paths of the stored views that exist and that none of their runs needs any more.

    A run needs them until all its checkpoints and all their features exist. Files that belong to
    no run of the configuration are not among them: another one may need them.
    """

    def exists(path: str) -> bool:
        return Path(placed(path)).exists()

    return [
        placed(path)
        for path, names in owners.items()
        if exists(path) and all(map(exists, _made_of(names, runs)))
    ]


def _made_of(names: Iterable[str], runs: Mapping[str, RunSettings]) -> Iterator[str]:
    for run in filter(runs.__contains__, names):
        for epoch in filter(None, runs[run].checkpoint_epochs()):  # epoch 0 does without
            yield declared.CHECKPOINT.of(run, epoch)
            yield declared.FEATURES.of(run, epoch)
