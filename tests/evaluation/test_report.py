import json

import pytest
from example_files import make_metrics as metrics
from gcdflow.errors import InputError
from gcdflow.evaluation.report import COLUMNS, markdown_table, percent, read_metrics, row


@pytest.mark.parametrize(
    ("share", "text"), [(None, "-"), (0, "0.0"), (1, "100.0"), (0.12345, "12.3")]
)
def test_percent(share, text):
    assert percent(share) == text


def test_row():
    cells = row(metrics())
    assert len(cells) == len(COLUMNS)
    assert cells == ["050", "50.0", "75.0", "0.0", "100.0", "12.3", "-", "12", "0.46", "-"]
    assert row(metrics(label_change_rate=0.031))[-1] == "3.1"


def test_table_is_sorted_aligned_markdown():
    lines = markdown_table([metrics(100), metrics(50)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert tuple(cells[0]) == COLUMNS
    assert all(set(cell) == {"-", ":"} and cell.endswith(":") for cell in cells[1])
    assert [line[0] for line in cells[2:]] == ["050", "100"]


def test_read_metrics(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(metrics()))
    assert read_metrics(path) == metrics()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"{}",
        json.dumps(metrics(epoch=None)).encode(),
        json.dumps(metrics(inductive={})).encode(),
        json.dumps({k: v for k, v in metrics().items() if k != "n_classes"}).encode(),
        json.dumps(metrics(n_classes="ten")).encode(),
    ],
)
def test_not_a_metrics_file(tmp_path, content):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(InputError, match=r"m\.json: not a metrics file \("):
        read_metrics(tmp_path / "m.json")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"absent\.json: not a metrics file \(.*No such file"):
        read_metrics(tmp_path / "absent.json")
