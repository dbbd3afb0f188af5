"""Records of inputs and outputs, so that lost modification times do not repeat finished work.

Snakemake makes a file again if one of its inputs is newer. A copy that does not preserve times
(``cp -r``, git, a cloud) gives the files new times in arbitrary order. Each stage that a rule calls
therefore writes a record beside its outputs: the SHA-256 of outputs and inputs. Before Snakemake
compares times, an output that is older than an input gets the input's time, provided that both
still match the record. (``snakemake --touch`` does the same without checking the content.)

A stage cannot repair the times of its own outputs, because Snakemake deletes them before the job.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gcdflow.errors import InputError
from gcdflow.files.json_text import parse_json_object
from gcdflow.files.trailer import read_trailer

FOLDER = ".made"  # beside the outputs
MADE = "GCDFLOW_MADE"  # set by stage.sh: outputs, inputs and log of the rule's job
_LARGEST_RECORD = 2**20


@dataclass(frozen=True)
class Record:
    """Inputs and outputs of one job.

    Attributes
    ----------
    outputs : dict of path to SHA-256
    inputs : dict of path to SHA-256
    beside : paths of other files whose times Snakemake compares (benchmarks)
    """

    outputs: dict[str, str]
    inputs: dict[str, str]
    beside: list[str]


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Record the outputs of the block if a rule requests it and the block raises no error.

    If the record cannot be written, the stage succeeds without it.
    """
    lines = os.environ.get(MADE, "").splitlines()
    if lines.count("--") != 2:
        yield
        return
    first, second = (i for i, line in enumerate(lines) if line == "--")
    outputs, inputs, logs = lines[:first], lines[first + 1 : second], lines[second + 1 :]
    digests = {path: content_digest(path) for path in inputs}  # before the block reads them
    yield
    from gcdflow.files.atomic import write_json  # imports NumPy, which Snakemake does not need

    folder = Path(outputs[0]).parent
    made = {path: content_digest(path) for path in outputs}
    beside = [str(Path(log).with_suffix(".benchmark.tsv")) for log in logs]
    with contextlib.suppress(InputError, OSError):
        record = {
            "outputs": _relative(made, folder),
            "inputs": _relative(digests, folder),
            "beside": [os.path.relpath(path, folder) for path in beside],
        }
        write_json(folder / FOLDER / f"{Path(outputs[0]).name}.json", record)


def made_from(path: Path) -> list[str] | None:
    """Paths of what a file was made from; None if there is no record of it.

    A record outlives its file, which Snakemake deletes before it is made again.
    """
    record = _read(path.parent / FOLDER / f"{path.name}.json")
    return None if record is None else list(record.inputs)


def mend_times(folder: Path) -> list[str]:
    """Update the times of files in a folder that are older than their inputs but match a record.

    Returns
    -------
    list of str
        Sorted paths of the updated files; usually empty.
    """
    records = [record for path in _records_of(folder) if (record := _read(path)) is not None]
    mended: set[str] = set()
    # An updated file may now be newer than files that were made from it, so repeat.
    for _ in records:
        found = {path for record in records for path in _mend(record)}
        if not found:
            break
        mended |= found
    return sorted(mended)


def _records_of(folder: Path) -> list[Path]:
    try:
        return sorted((folder / FOLDER).glob("*.json"))
    except OSError:
        return []


def _read(path: Path) -> Record | None:
    """Read a record, with paths relative to the working directory; None if it is not valid."""
    folder = path.parents[1]
    try:
        if path.stat().st_size > _LARGEST_RECORD:
            return None
        values = parse_json_object(path.read_text(encoding="utf-8"))
        outputs, inputs, beside = values["outputs"], values["inputs"], values["beside"]
        if any(Path(name).name != name for name in outputs):
            return None  # all outputs must be in the folder; other files must not change

        def placed(name: str) -> str:
            return os.path.normpath(folder / name)

        return Record(
            {placed(name): digest for name, digest in outputs.items()},
            {placed(name): digest for name, digest in inputs.items()},
            [placed(name) for name in beside if name.endswith(".benchmark.tsv")],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _mend(record: Record) -> list[str]:
    """Update the times of one record's files that are older than an input; return their paths."""
    newest = max((time for path in record.inputs if (time := _time(path)) is not None), default=0)
    times = {path: _time(path) for path in [*record.outputs, *record.beside]}
    old = [path for path, time in times.items() if time is not None and time < newest]
    if not old or not all(
        digest is not None and content_digest(path) == digest
        for path, digest in [*record.outputs.items(), *record.inputs.items()]
        if _time(path) is not None
    ):
        return []
    mended = []
    for path in old:
        with contextlib.suppress(OSError):  # another user's files
            os.utime(path, ns=(newest, newest))
            mended.append(path)
    return mended


def _time(path: str) -> int | None:
    """Modification time of a plain file, ns; None if it does not exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None


def content_digest(path: str) -> str | None:
    """SHA-256 of a file; None if it cannot be read."""
    try:
        status = os.stat(path)
        return _digest_of(path, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=10_000)
def _digest_of(path: str, *state: int) -> str:
    with open(path, "rb") as file:
        if (text := read_trailer(file)) is not None:  # it stands for a file of many gigabytes
            return hashlib.sha256(text).hexdigest()
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def _relative(digests: dict[str, str | None], folder: Path) -> dict[str, str | None]:
    return {os.path.relpath(path, folder): digest for path, digest in digests.items()}
