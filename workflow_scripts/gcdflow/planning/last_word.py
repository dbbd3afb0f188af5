"""Make the sentence of an error the last line that Snakemake prints.

Snakemake prints it between the command, its exit status and the places of a traceback. A filter of
its log, which sees each record before it is written, moves the sentence to the end.
This module does not import Snakemake: records are known by their attributes.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable

from gcdflow.wording import short_checksums

# An error of a function that the rules call, which Snakemake wraps; the sentence is one line.
_OF_PLAN = re.compile(r"^(?: *InputError: |InputError(?: in [^\n]*)?:\n)(.*)$", re.MULTILINE)
_OF_STAGE = re.compile(r"^\S+\.py: error: .*$", re.MULTILINE)
_AT_THE_END = "At least one job did not complete successfully"
_MOST_BYTES = 2**16  # that are read of a log, from its end


class LastWord(logging.Filter):
    """Rewrites records of Snakemake's log; it leaves none out.

    * An :class:`~gcdflow.errors.InputError` of the plan is nothing but its sentence.
    * The last line about failed jobs is followed by the sentences in their logs, each once.
    * Of checksums, which the reasons of jobs quote, only the first digits are shown.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[object, str] = {}  # job to what its log says

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite a record; always true."""
        event = getattr(getattr(record, "event", None), "value", None)
        if event == "job_error":
            self._said[getattr(record, "jobid", None)] = sentence_in(getattr(record, "log", ()))
        elif event == "job_finished":
            self._said.pop(getattr(record, "job_id", None), None)  # a second attempt
        elif event == "job_info":
            record.reason = short_checksums(str(record.reason))
        elif event == "error":
            record.msg = self._last_word(str(record.msg))
        return True

    def _last_word(self, text: str) -> str:
        """The text of an error with its sentences at the end."""
        if found := _OF_PLAN.search(text):
            return f"error: {found[1]}"
        if _AT_THE_END in text:
            return "\n".join(dict.fromkeys([text, *filter(None, self._said.values())]))
        return text


def sentence_in(logs: Iterable[str]) -> str:
    """The last sentence of an error in the logs of a job; empty if there is none."""
    for path in logs:
        try:
            with open(path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_BYTES))
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        if found := _OF_STAGE.findall(text):
            return found[-1]
    return ""


def have_last_word(logger: logging.Logger) -> None:
    """Give a log the filter, once."""
    if not any(isinstance(one, LastWord) for one in logger.filters):
        logger.addFilter(LastWord())
