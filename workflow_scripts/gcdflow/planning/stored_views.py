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
from gcdflow.files.records import content_digest

FOLDER = "views"
DIGEST = "[0-9a-f]{16}"  # the name of a file, without its suffix


def views_file(settings: RunSettings) -> str | None:
    """Path of the stored views of a run; None where views are fresh."""
    stored = settings.train_settings(guided=False).stored_views()
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


def runs_by_views(runs: Mapping[str, RunSettings]) -> dict[str, list[str]]:
    """Names of the runs that share each file of stored views, by its path."""
    found: dict[str, list[str]] = {}
    for name, settings in runs.items():
        if (path := views_file(settings)) is not None:
            found.setdefault(path, []).append(name)
    return found


def run_of_views(owners: Mapping[str, list[str]], digest: str) -> str:
    """The first run that has the stored views of a digest: its images are what they are made of.

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
    return owners[path][0]


def views_settings(settings: RunSettings) -> str:
    """All that stored views depend on, besides the images and the weight file, as JSON text.

    Where a weight file lies that the run names is no setting.
    """
    stored = settings.train_settings(guided=False).stored_views()
    return json.dumps(with_named_weights(stored, "file").model_dump(), sort_keys=True)


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
    for run in names:
        for epoch in filter(None, runs[run].checkpoint_epochs()):  # epoch 0 does without
            yield declared.CHECKPOINT.of(run, epoch)
            yield declared.FEATURES.of(run, epoch)
