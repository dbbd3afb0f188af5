"""The text of a table of labels, cut where labels are; joined again it is what the user wrote."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from gcdflow.data.datasets.labels_table import read_labels
from gcdflow.data.datasets.labels_text import LabelsText, read_text
from gcdflow.errors import InputError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def cut(folder: Path, text: str) -> tuple[LabelsText, list]:
    table = folder / "labels.csv"
    table.write_bytes(text.encode())
    rows = read_labels(table)
    return read_text(table, rows), rows


def labels_in(found: LabelsText) -> dict[str, str]:
    return {path: found.pieces[cell.piece] for path, (cell,) in found.cells.items()}


@pytest.mark.parametrize(
    ("text", "labels", "newline", "delimiter"),
    [
        ("path,label\na,x\nb,\n", {"a": "x", "b": ""}, "\n", ","),
        ("\ufeffpath;label\r\na;x\r\n\r\nb;y z", {"a": "x", "b": "y z"}, "\r\n", ";"),
        ("path;label\na;x", {"a": "x"}, "\n", ";"),
        ("path\tlabel\r\na\tx", {"a": "x"}, "\r\n", "\t"),
        ("path,label\ra,x\rb,y\r", {"a": "x", "b": "y"}, "\r", ","),
        ('label,path\n"x ""y""","a,b"\n', {"a,b": '"x ""y"""'}, "\n", ","),
        ('path, label\na, "x"\nb, y\n', {"a": ' "x"', "b": " y"}, "\n", ","),
        ('path,label\n"two\r\nlines",x\nb,y\n', {"two\nlines": "x", "b": "y"}, "\n", ","),
        ('path,label\na,x"y\n', {"a": 'x"y'}, "\n", ","),
        ("path,label", {}, "\n", ","),
        ("\n\n ,\npath,label,,\n,,,\na,x,,\n", {"a": "x"}, "\n", ","),
    ],
)
def test_labels_are_found(tmp_path: Path, text: str, labels: dict, newline: str, delimiter: str):
    found, _ = cut(tmp_path, text)
    assert "".join(found.pieces) == text
    assert labels_in(found) == labels
    assert (found.newline, found.delimiter) == (newline, delimiter)


def test_a_line_that_ends_early_has_a_place_for_its_label(tmp_path: Path):
    found, _ = cut(tmp_path, "path,split,truth,label\na\nb,test\nc,,x,x")
    assert {path: cell.before for path, (cell,) in found.cells.items()} == {
        "a": ",,,",
        "b": ",,",
        "c": "",
    }
    assert labels_in(found) == {"a": "", "b": "", "c": "x"}
    assert found.cells["c"][0].truth == "x"
    assert found.columns == ["path", "split", "truth", "label"]
    assert found.names == ["x"]


def test_a_line_that_is_there_twice_is_changed_twice(tmp_path: Path):
    found, _ = cut(tmp_path, "path,label\na,x\nb,y\na,x\n")
    assert [found.pieces[cell.piece] for cell in found.cells["a"]] == ["x", "x"]
    assert len({cell.piece for cell in found.cells["a"]}) == 2


cells = st.text(st.sampled_from("ab ;,\"\n\r'é\t👩#="), max_size=5)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    names=st.lists(cells, max_size=4),
    dialect=st.tuples(
        st.sampled_from(",;\t"),
        st.sampled_from(["\n", "\r\n", "\r"]),
        st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        st.sampled_from(["", "\ufeff"]),
        st.booleans(),
    ),
    blank=st.booleans(),
)
def test_any_label_of_any_dialect_is_replaced_alone(tmp_path: Path, names, dialect, blank):
    delimiter, newline, quoting, mark, is_first = dialect
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    order = (lambda a, b: [b, a]) if is_first else (lambda a, b: [a, b])
    writer.writerow(order("path", "label"))
    for i, name in enumerate(names):
        if blank:
            file.write(newline)
        writer.writerow(order(f"p{i}", name))
    text = mark + file.getvalue()
    try:
        found, rows = cut(tmp_path, text)
    except InputError:  # a line break in a name, names that differ in case …
        return
    assert "".join(found.pieces) == text
    pieces = list(found.pieces)
    labels = {row.path: f"new{row.line}" for row in rows}
    for path, places in found.cells.items():  # several, where a line break makes two lines alike
        for cell in places:
            pieces[cell.piece] = cell.before + labels[path]
    changed, again = cut(tmp_path, "".join(pieces))
    assert [(row.path, row.label) for row in again] == [(r.path, labels[r.path]) for r in rows]
    assert len(changed.pieces) == len(found.pieces)
