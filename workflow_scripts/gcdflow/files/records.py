"""Records of inputs and outputs, so that lost modification times do not repeat finished work.

Snakemake makes a file again if one of its inputs is newer. A copy that does not preserve times
(``cp -r``, git, a cloud) gives the files new times in arbitrary order. Each stage that a rule calls
therefore writes a record beside its outputs: the SHA-256 of outputs and inputs. Before Snakemake
compares times, an output that is older than an input gets the input's time, provided that both
still match the record. (``snakemake --touch`` does the same without checking the content.)

A stage cannot repair the times of its own outputs, because Snakemake deletes them before the job.

Some outputs stay when their job runs again (``update``). If the job fails, Snakemake puts the old
file back, but takes it for one that the job made: new, and of the job's params. So that the job
still runs again, unless the old file was made from the same anyway, a count of failed updates lies
beside the record, and is part of the job's version (:func:`version_after`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gcdflow.errors import InputError
from gcdflow.files.json_text import parse_json_object
from gcdflow.files.trailer import read_trailer

FOLDER = ".made"  # beside the outputs
MADE = "GCDFLOW_MADE"  # set by stage.sh: outputs, inputs, log, perhaps params of the rule's job
_LARGEST_RECORD = 2**20


@dataclass(frozen=True)
class Record:
    """Inputs and outputs of one job.

    Attributes
    ----------
    outputs : dict of path to SHA-256
    inputs : dict of path to SHA-256
    beside : paths of other files whose times Snakemake compares (benchmarks)
    params : version and params of a job that updates its outputs; else empty
    """

    outputs: dict[str, str]
    inputs: dict[str, str]
    beside: list[str]
    params: list[str]


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Record the outputs of the block if a rule requests it and the block raises no error.

    If the record cannot be written, the stage succeeds without it.
    """
    text = os.environ.get(MADE, "")
    parts = [part.splitlines() for part in re.split("^--$\n?", text, flags=re.MULTILINE)]
    if not 3 <= len(parts) <= 4:
        yield
        return
    outputs, inputs, logs, params = [*parts, []][:4]
    digests = {path: content_digest(path) for path in inputs}  # before the block reads them
    first = Path(outputs[0])
    if params:
        _begin_update(first, digests, params)
    yield
    from gcdflow.files.atomic import write_json  # imports NumPy, which Snakemake does not need

    folder = first.parent
    made = {path: content_digest(path) for path in outputs}
    beside = [str(Path(log).with_suffix(".benchmark.tsv")) for log in logs]
    with contextlib.suppress(InputError, OSError):
        record = {
            "outputs": _relative(made, folder),
            "inputs": _relative(digests, folder),
            "beside": [os.path.relpath(path, folder) for path in beside],
        }
        write_json(_record_of(first), record | ({"params": params} if params else {}))
        if params:
            _count(first, _failed_before(params))


def version_after(version: int, output: str | Path) -> int | str:
    """The version of a job that updates a file, another one after each update that failed.

    Parameters
    ----------
    version : int
        The stage's own.
    output : path of the job's first output
    """
    try:
        failed = int(_counter(Path(output)).read_text(encoding="ascii"))
    except (OSError, ValueError):
        failed = 0
    return f"{version}.{failed}" if failed else version


def _failed_before(params: list[str]) -> int:
    """The failed updates that a job knew of."""
    return int(params[0].partition(".")[2] or 0)


def _begin_update(output: Path, digests: dict[str, str | None], params: list[str]) -> None:
    """Count an update as failed until it is done, unless the file was made from the same before."""
    old = _read(_record_of(output))
    folder = output.parent
    relative = _relative(digests, folder).items()
    inputs = {os.path.normpath(folder / path): digest for path, digest in relative}
    is_same = old is not None and (old.inputs, old.params) == (inputs, params)
    if output.exists() and not is_same:
        with contextlib.suppress(OSError):
            _count(output, _failed_before(params) + 1)


def _count(output: Path, failed: int) -> None:
    path = _counter(output)
    if failed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{failed}\n", encoding="ascii")
    else:
        path.unlink(missing_ok=True)


def _counter(output: Path) -> Path:
    return output.parent / FOLDER / f"{output.name}.failed"


def _record_of(output: Path) -> Path:
    return output.parent / FOLDER / f"{output.name}.json"


def made_from(path: Path) -> list[str] | None:
    """Paths of what a file was made from; None if there is no record of it.

    A record outlives its file, which Snakemake deletes before it is made again.
    """
    record = _read(_record_of(path))
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
            list(values.get("params", [])),
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
