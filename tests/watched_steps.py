"""Where the steps of a training make the host wait for its GPU."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from gcdflow.training.segment import Segment

_MESSAGE = "called a synchronizing"


@contextlib.contextmanager
def watched_steps() -> Iterator[list[list[str]]]:
    """A list that gets an entry for each step that is trained: ``file:line`` of each wait in it.

    PyTorch tells of them. A copy from memory that is not pinned is none that it tells of.
    """
    waits: list[list[str]] = []
    train_step = Segment._train_step

    def watched(segment: Segment, *arguments: object) -> None:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                train_step(segment, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waits.append(
            [f"{Path(w.filename).name}:{w.lineno}" for w in found if _MESSAGE in str(w.message)]
        )

    Segment._train_step = watched
    try:
        yield waits
    finally:
        Segment._train_step = train_step
