"""What happens before anything is planned: the checkout and the configuration are checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gcdflow.config.runs import check_text, resolve_default_runs, resolve_runs
from gcdflow.config.settings import RunSettings
from gcdflow.errors import InputError
from gcdflow.files.records import mend_times
from gcdflow.wording import counted


def check_checkout(folder: Path) -> None:
    """Refuse a checkout that Snakemake cannot run, or that is not the one this package belongs to.

    Raises
    ------
    InputError
        If its path has braces, or another checkout's package was imported before.
    """
    used = Path(__file__).resolve().parents[3]
    if used != folder:
        raise InputError(
            f"the gcdflow of {used} is in use already, so that of {folder} cannot be; import one "
            "checkout only, under several names if need be"
        )
    if "{" in str(folder) or "}" in str(folder):
        raise InputError(f"{folder}: Snakemake takes braces in a path for wildcards; rename it")


def configured_runs(
    config: Mapping[str, Any], files: Iterable[str | Path]
) -> tuple[dict[str, RunSettings], list[str]]:
    """The settings of all runs by their names, and the names of those that are made by default.

    Parameters
    ----------
    config : mapping
        As Snakemake has read it.
    files : paths of what it was read from

    Raises
    ------
    InputError
        If it is not valid; the message names the key.
    """
    for path in files:
        check_text(path)
    runs = resolve_runs(config)
    return runs, resolve_default_runs(config, runs)


def mend_runs(folders: Mapping[str, str], views: str | None = None) -> Iterator[str]:
    """Correct the times of files that a copy did not keep; a sentence for each run that had some.

    Parameters
    ----------
    folders : mapping
        Name of a run to its folder.
    views : str or None
        Folder of stored views, which come before what the runs make of them.
    """
    named = {f"run '{run}'": folder for run, folder in folders.items()}
    first = {} if views is None else {"stored views": views}
    for name, folder in (first | named).items():
        if mended := mend_times(Path(folder)):
            yield (
                f"{name}: files are older than what they were made of, which has not "
                f"changed; the times of {counted(len(mended), 'file')} are corrected "
                f"({mended[0]} …)"
            )
