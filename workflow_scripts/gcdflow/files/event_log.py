"""TensorBoard scalars in which every step occurs exactly once, even after kills and resumes.

All event files of a run are in one directory, ``runs/{run}/log/``, so TensorBoard draws one
continuous curve per tag. Three rules keep the steps unique:

* A file's name is a function of its stage and epochs (:func:`event_file`), so a re-run replaces it.
* Training appends to one file per segment (:class:`EventLog`). Its checkpoints hold the values of
  all epochs, and a resumed segment first rewrites its file from them.
* Stages that run once write their file atomically (:func:`write_scalars`).

File names sort in the order of epochs, because TensorBoard reads the files of a directory in the
order of their names. When its data server reads a record, it drops all later steps of the same tag.

A running TensorBoard shows new values as they arrive, with two exceptions. Without its data server
(``--load_fast=false``), it never opens a file whose name sorts before one that it has read, such as
the evaluation of epoch 50 that ends while epoch 51 trains, unless it runs with
``--reload_multifile=true``. Both loaders also keep the old values when a re-run replaces a file of
a stage that runs once. A restart of TensorBoard solves both.

A scalar is a plain ``simple_value`` without plugin metadata, as in PyTorch's writer: both loaders
of TensorBoard convert it, and ``EventAccumulator.Scalars`` finds it. This module needs neither
PyTorch nor TensorFlow. It imports parts of TensorBoard on first use (about half a second).
"""

from __future__ import annotations

import io
import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Self

from gcdflow.errors import InputError
from gcdflow.files.atomic import atomic_write, fsync_directory, unwritable

# TensorBoard reads every file whose name contains this, including temporary and hidden ones.
_MARK = "tfevents"
_NAME = re.compile(r"events\.out\.tfevents\.epoch(\d{3})-(\d{3})\.([a-z0-9_-]+)")
_LAST_EPOCH = 999

# Without this version, EventAccumulator treats a lower step (for example from another stage's file)
# as a restart and deletes earlier values.
_FILE_VERSION = "brain.Event:2"

# A record: length (uint64), its masked CRC (uint32), the data, its masked CRC (uint32).
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def event_file(log_dir: str | os.PathLike, stage: str, first_epoch: int, last_epoch: int) -> Path:
    """Path of the event file for a stage and its epochs.

    Parameters
    ----------
    log_dir : path
        The run's log directory.
    stage : str
        Name of the stage: lower-case letters, digits, ``_`` and ``-``.
    first_epoch, last_epoch : int
        Epochs in the file, ends included; equal for a stage that runs once.

    Returns
    -------
    Path
        For example ``log/events.out.tfevents.epoch051-075.train``.

    Raises
    ------
    InputError
        If the epochs are not in order within 0 … 999 (more digits would break the order of names).
    """
    if not 0 <= first_epoch <= last_epoch <= _LAST_EPOCH:
        raise InputError(
            f"epochs {first_epoch} to {last_epoch} cannot be logged, expected "
            f"0 <= first <= last <= {_LAST_EPOCH}: file names hold three digits"
        )
    return Path(log_dir) / f"events.out.{_MARK}.epoch{first_epoch:03d}-{last_epoch:03d}.{stage}"


class EventLog:
    """An event file to append to, as a context manager.

    The length of a record depends on its tags and step, not on its values. A rewritten file
    therefore has the same steps at the same positions, and a running TensorBoard continues to read
    it.

    Parameters
    ----------
    path : path
        See :func:`event_file`. The file and its directory are created; an earlier file is replaced.
    history : mapping of int to mapping of str to float
        Values by step and tag that the file begins with.

    Examples
    --------
    >>> with EventLog(event_file("runs/cub/log", "train", 1, 50)) as log:  # doctest: +SKIP
    ...     log.scalars(1, {"L_total": 3.2, "gamma": 0.0})
    ...     log.flush()
    """

    def __init__(
        self,
        path: str | os.PathLike,
        history: Mapping[int, Mapping[str, float | None]] | None = None,
    ) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Overwrite, do not rename: a running TensorBoard would keep reading the old file.
            self._file = open(path, "wb")  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise unwritable(path, error) from None
        self._file.write(_version_record())
        for step, values in (history or {}).items():
            self.scalars(step, values)
        self.flush()
        fsync_directory(path.parent)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Log the values of one step, by tag.

        Parameters
        ----------
        step : int
            Position on the horizontal axis.
        values : mapping of str to float
            Stored as float32. None is skipped; NaN and infinities are written unchanged.
        """
        self._file.write(_scalars_record(step, values))

    def flush(self) -> None:
        """Write all logged values to the disk.

        Raises
        ------
        InputError
            If writing fails, for example because the disk is full; the file is then closed.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            needed = self._file.tell()
            missing = needed - os.fstat(self._file.fileno()).st_size
            self._file.raw.close()  # the buffer would try to write again
            raise unwritable(self._file.name, error, needed, missing) from None

    def close(self) -> None:
        """Flush and close; repeated calls have no effect."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_scalars(
    log_dir: str | os.PathLike | None, stage: str, epoch: int, values: Mapping[str, float | None]
) -> None:
    """Write the event file of a stage that runs once, atomically.

    Parameters
    ----------
    log_dir, stage, epoch
        As in :func:`event_file`, whose file is replaced; without a directory nothing is written.
    values
        As in :meth:`EventLog.scalars`; the epoch is their step.
    """
    if log_dir is None:
        return
    path = event_file(log_dir, stage, epoch, epoch)
    # TensorBoard would read a temporary file whose name contains the mark.
    staged = path.with_name(path.name.replace(_MARK, "staged"))
    with atomic_write(staged) as file:
        file.write(_version_record() + _scalars_record(epoch, values))
    os.replace(staged, path)
    fsync_directory(path.parent)


def read_scalars(log_dir: str | os.PathLike) -> dict[str, list[tuple[int, float]]]:
    """All scalars in the event files of a directory, without subdirectories.

    Parameters
    ----------
    log_dir : path
        The run's log directory; a missing one counts as empty.

    Returns
    -------
    dict
        Tag -> (step, value) in order of step. A step that was logged twice occurs twice, in the
        order of the file names.

    Raises
    ------
    InputError
        If a record is damaged. An incomplete last record is no damage: a stage is still writing it,
        or was killed.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    scalars: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(Path(log_dir).glob(f"*{_MARK}*")):
        with open(path, "rb") as file:
            for data in _records(file, path):
                event = Event.FromString(data)
                for value in event.summary.value:
                    if value.HasField("simple_value"):
                        scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return {tag: sorted(curve, key=lambda point: point[0]) for tag, curve in scalars.items()}


def remove_overlapping(
    log_dir: str | os.PathLike, stage: str, first_epoch: int, last_epoch: int
) -> list[Path]:
    """Delete a stage's event files with other names that cover some of these epochs.

    Such files come from a configuration with other segment lengths. They would repeat epochs.

    Parameters
    ----------
    log_dir, stage, first_epoch, last_epoch
        As in :func:`event_file`; the file with exactly these epochs is kept.

    Returns
    -------
    list of Path
        The deleted files, in order of epoch.
    """
    keep = event_file(log_dir, stage, first_epoch, last_epoch)
    removed = []
    for path in sorted(keep.parent.glob(f"*{_MARK}*")):
        match = _NAME.fullmatch(path.name)
        if match is None or match[3] != stage or path == keep:
            continue
        if int(match[1]) <= last_epoch and first_epoch <= int(match[2]):
            path.unlink()
            removed.append(path)
    return removed


def restore_missing(
    log_dir: str | os.PathLike, stage: str, history: Mapping[int, Mapping[str, float | None]]
) -> None:
    """Write the epochs of a history whose files were deleted.

    Parameters
    ----------
    log_dir, stage
        As in :func:`event_file`.
    history : mapping of int to mapping of str to float
        Values of consecutive epochs, by tag.
    """
    covered: set[int] = set()
    for path in Path(log_dir).glob(f"*{_MARK}*"):
        match = _NAME.fullmatch(path.name)
        if match is not None and match[3] == stage:
            covered.update(range(int(match[1]), int(match[2]) + 1))
    missing = {epoch: values for epoch, values in history.items() if epoch not in covered}
    if missing:
        EventLog(event_file(log_dir, stage, min(missing), max(missing)), missing).close()


def _version_record() -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event

    return _record(Event(wall_time=time.time(), file_version=_FILE_VERSION).SerializeToString())


def _scalars_record(step: int, values: Mapping[str, float | None]) -> bytes:
    """One record for all tags of a step; empty if the step has no values."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    present = [
        Summary.Value(tag=tag, simple_value=float(value))
        for tag, value in values.items()
        if value is not None
    ]
    if not present:
        return b""
    event = Event(wall_time=time.time(), step=int(step), summary=Summary(value=present))
    return _record(event.SerializeToString())


def _record(data: bytes) -> bytes:
    """The data in TensorFlow's record framing."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(data)
    return buffer.getvalue()


def _records(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Data of each complete record of an open file."""
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    content = file.read()
    start = 0
    while start + _LENGTH.size + _CRC.size <= len(content):
        header = content[start : start + _LENGTH.size]
        data_start = start + _LENGTH.size + _CRC.size
        header_is_good = _CRC.unpack_from(content, start + _LENGTH.size)[0] == masked_crc32c(header)
        data_end = data_start + _LENGTH.unpack(header)[0]
        if header_is_good and data_end + _CRC.size > len(content):
            return
        data = content[data_start:data_end]
        if not header_is_good or _CRC.unpack_from(content, data_end)[0] != masked_crc32c(data):
            raise InputError(
                f"{path} is damaged: the record at byte {start} does not match its checksum, "
                "expected a TensorBoard event file; delete it and re-run the stage that wrote it"
            )
        start = data_end + _CRC.size
        yield data
