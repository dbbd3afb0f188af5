"""A text at the end of a file, and what stands for the whole file in records."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from gcdflow.files.records import MADE, recorded
from gcdflow.files.trailer import read_trailer, trailer


@pytest.mark.parametrize("text", ["", "{}", "é" * 1000])
@pytest.mark.parametrize("data", [b"", b"data" * 50])
def test_what_is_written_is_read(tmp_path: Path, text: str, data: bytes):
    path = tmp_path / "x"
    path.write_bytes(data + trailer(text))
    with open(path, "rb") as file:
        assert read_trailer(file) == text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        b"no trailer at the end of this file",
        trailer("text")[:-1],
        trailer("text")[4:],  # declares more than there is
        (2**63).to_bytes(8, "little") + trailer("")[8:],
    ],
)
def test_other_files_have_none(tmp_path: Path, content: bytes):
    path = tmp_path / "x"
    path.write_bytes(content)
    with open(path, "rb") as file:
        assert read_trailer(file) is None


def test_a_record_has_the_digest_of_the_text_and_reads_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    large, small = tmp_path / "large.npy", tmp_path / "small.npz"
    large.write_bytes(b"data" + trailer('{"chunks":[]}'))
    small.write_bytes(b"plain")
    monkeypatch.setenv(MADE, f"{large}\n--\n{small}\n--\nlog")
    with recorded():
        pass
    record = json.loads((tmp_path / ".made/large.npy.json").read_text())
    assert record["outputs"] == {"large.npy": hashlib.sha256(b'{"chunks":[]}').hexdigest()}
    assert record["inputs"] == {"small.npz": hashlib.sha256(b"plain").hexdigest()}
