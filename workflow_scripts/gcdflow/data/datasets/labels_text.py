"""The text of a CSV file of labels, cut into pieces, so that a label can be changed and all else
stays as it was written: other lines and cells, their order, quotes, separators and line ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gcdflow.data.datasets.labels_table import Dialect, LabelRow, dialect_of, folded, is_line

_LINE_END = re.compile(r"\r\n|\n|\r")
_MARK = "\ufeff"  # the byte-order mark

Span = tuple[int, int]


@dataclass(frozen=True)
class LabelCell:
    """The place of a label.

    Attributes
    ----------
    piece : int, the piece of the text that is the cell; empty if the line ends before it
    before : str, separators that such a line lacks
    is_quoted : bool
    truth : str, the class that the line has in the column ``truth``
    split : str, ``train`` or ``test``
    """

    piece: int
    before: str
    is_quoted: bool
    truth: str
    split: str


@dataclass(frozen=True)
class LabelsText:
    """A CSV file of labels.

    Attributes
    ----------
    pieces : list of str, the text with its byte-order mark, if joined
    cells : dict of str to list of LabelCell, by path as on the disk; a line may be there twice
    columns : list of str, names in the first line
    delimiter, newline : str
    names : list of str, all classes in the file, sorted
    """

    pieces: list[str]
    cells: dict[str, list[LabelCell]]
    columns: list[str]
    delimiter: str
    newline: str
    names: list[str]


def read_text(table: Path, rows: Sequence[LabelRow]) -> LabelsText:
    """Cut the text of a file that :func:`~gcdflow.data.datasets.labels_table.read_labels` accepts.

    Parameters
    ----------
    rows : sequence of LabelRow
        Its rows, with paths as on the disk.
    """
    text = table.read_bytes().decode("utf-8")
    plain = _LINE_END.sub("\n", text.removeprefix(_MARK))
    dialect = dialect_of(table, plain)
    lines = {
        number: spans
        for number, spans in _lines(text, dialect)
        if is_line(cell_text(text[a:b], dialect) for a, b in spans)
    }
    header = [folded(cell_text(text[a:b], dialect)) for a, b in lines[min(lines)]]
    place = header.index("label")
    pieces: list[str] = []
    cells: dict[str, list[LabelCell]] = {}
    done = 0
    for row in sorted(rows, key=lambda row: row.line):
        spans = lines[row.line]
        start, end = spans[place] if place < len(spans) else (spans[-1][1],) * 2
        pieces += [text[done:start], text[start:end]]
        cell = LabelCell(
            piece=len(pieces) - 1,
            before=dialect.delimiter * (place + 1 - len(spans)),
            is_quoted=text[start:end].lstrip(" ").startswith('"'),
            truth=row.truth,
            split=row.split,
        )
        cells.setdefault(row.path, []).append(cell)
        done = end
    newline = _LINE_END.search(text)
    return LabelsText(
        pieces=[*pieces, text[done:]],
        cells=cells,
        columns=header,
        delimiter=dialect.delimiter,
        newline=newline[0] if newline else "\n",
        names=sorted({name for row in rows for name in (row.label, row.truth) if name}),
    )


def cell_text(written: str, dialect: Dialect) -> str:
    """What a cell says, from what is written between two separators."""
    cell = written.lstrip(" ") if dialect.skips_blanks else written
    if cell.startswith('"'):
        cell = cell[1:-1].replace('""', '"')
    return _LINE_END.sub("\n", cell)


def _lines(text: str, dialect: Dialect) -> Iterator[tuple[int, list[Span]]]:
    """Number of each line in the file (its last, if it has several), and where its cells are."""
    blanks = " *" if dialect.skips_blanks else ""
    cell = re.compile(rf'{blanks}"(?:[^"]|"")*"|[^{dialect.delimiter}\r\n]*')
    position, number = len(_MARK) if text.startswith(_MARK) else 0, 0
    while position < len(text):
        start, spans = position, []
        while not spans or text[position : position + 1] == dialect.delimiter:
            span = cell.match(text, position + bool(spans)).span()
            spans.append(span)
            position = span[1]
        end = _LINE_END.match(text, position)
        position = end.end() if end else len(text)
        number += max(1, len(_LINE_END.findall(text, start, position)))
        yield number, spans
