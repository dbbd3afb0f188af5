"""The sentence of an error is the last that Snakemake says."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

from gcdflow.planning.last_word import LastWord, have_last_word, sentence_in

SENTENCE = "dataset.py: error: data/photos: no such folder; put one there"
END = "WorkflowError:\nAt least one job did not complete successfully."
OF_INPUT_FUNCTION = """InputFunctionException in rule assign in file "/x/rules/assign.smk", line 7:
Error:
  InputError: there is no run 'fotos'
Wildcards:
  run=fotos
Traceback:
  File "/x/rules/common.smk", line 72, in <lambda> (rule assign, line 7, /x/rules/assign.smk)"""
OF_SNAKEFILE = """InputError in file "/x/rules/common.smk", line 35:
configuration: runs.photos: unknown key 'sed'
  File "/x/rules/common.smk", line 35, in <module>"""


def passed(filter: LastWord, event: str | None, msg: object = "", **values: object) -> str:
    """The text of a record of Snakemake's log after the filter."""
    record = logging.makeLogRecord({"msg": msg, **values})
    if event is not None:
        record.event = SimpleNamespace(value=event)
    assert filter.filter(record)
    return getattr(record, "reason", record.msg)


def test_errors_of_the_plan_are_their_sentence_alone():
    said = passed(LastWord(), "error", OF_INPUT_FUNCTION)
    assert said == "error: there is no run 'fotos'"
    assert passed(LastWord(), "error", OF_SNAKEFILE).endswith(
        "error: configuration: runs.photos: unknown key 'sed'"
    )
    assert passed(LastWord(), "error", "InputError:\nno file") == "error: no file"


def test_other_errors_stay_as_they_are():
    for text in (
        "MissingRuleException:\nNo rule to produce x",
        "ValueError: an InputError: no",
        END,
    ):
        assert passed(LastWord(), "error", text) == text
    assert passed(LastWord(), None, OF_INPUT_FUNCTION) == OF_INPUT_FUNCTION


def test_the_sentences_of_failed_jobs_come_last_each_once(tmp_path: Path):
    log, other, silent = (tmp_path / name for name in ("a.log", "b.log", "c.log"))
    log.write_text(f"12:00:00 checked\nx.py: error: an older one\n{SENTENCE}\n")
    other.write_text("train.py: error: memory ran out\nan end without a line break")
    silent.write_text("Killed")
    words = LastWord()
    for job, path in enumerate((log, other, log, silent, tmp_path / "absent.log")):
        text = passed(words, "job_error", f"Error in rule {job}", jobid=job, log=[str(path)])
        assert text == f"Error in rule {job}"
    assert passed(words, "error", END).splitlines() == [
        *END.splitlines(),
        SENTENCE,
        "train.py: error: memory ran out",
    ]


def test_a_job_that_succeeds_in_its_second_attempt_has_no_word(tmp_path: Path):
    (tmp_path / "a.log").write_text(SENTENCE)
    words = LastWord()
    passed(words, "job_error", jobid=3, log=[str(tmp_path / "a.log")])
    passed(words, "job_finished", job_id=3)
    assert passed(words, "error", END) == END


def test_of_a_long_log_the_end_is_read(tmp_path: Path):
    log = tmp_path / "a.log"
    log.write_text("x.py: error: far from the end\n" + "é" * 2**16 + f"\n{SENTENCE}\n")
    assert sentence_in([str(log)]) == SENTENCE
    log.write_text("x.py: error: far from the end\n" + "y" * 2**16)
    assert sentence_in([str(log)]) == ""


def test_reasons_quote_the_beginning_of_checksums():
    reason = f"Params have changed since last execution: before: '{'a' * 64} {'b' * 64}'"
    said = passed(LastWord(), "job_info", reason=reason)
    assert said.endswith("before: 'aaaaaaaaaaaa… bbbbbbbbbbbb…'")


def test_a_log_has_one_filter_however_often_it_is_asked_for():
    logger = logging.Logger("snakemake's")
    have_last_word(logger)
    have_last_word(logger)
    assert len(logger.filters) == 1
