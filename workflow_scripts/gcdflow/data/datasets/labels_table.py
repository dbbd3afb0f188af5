"""The CSV file that names the classes of some photographs, as people and programs write it.

The columns are ``path`` (relative to the folder of photographs) and ``label`` (blank: unlabelled).
Two columns are optional: ``split`` (``train`` or ``test``; blank: ``train``) and ``truth`` (the
class of a sample whose label is hidden, to measure accuracy).

Spreadsheets write CSV files in many ways. The reader accepts all their separators, upper case in
the first line, and rows without their last cells. Cells with the marks that spreadsheets, R and
pandas write for missing values count as blank.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from gcdflow.data.class_names import says_nothing, tidied
from gcdflow.data.places import check_table
from gcdflow.errors import InputError
from gcdflow.files.formats import leaves_folder
from gcdflow.wording import some_of

COLUMNS = ("path", "label", "split", "truth")
REQUIRED = ("path", "label")
_EXPECTED = "expected the columns path and label, and optionally split and truth"
_DELIMITERS = ",;\t"

log = logging.getLogger(__name__)

_Line = tuple[int, list[str]]  # line number and unchanged cells


@dataclass(frozen=True)
class LabelRow:
    """A line of the CSV file; blank cells are empty texts, but ``split`` is never blank.

    ``written`` is the path as in the file, because spaces around it may belong to the name.
    """

    path: str
    label: str
    split: str = "train"
    truth: str = ""
    line: int = field(default=0, compare=False)
    written: str = field(default="", compare=False)


def read_labels(table: Path, real_classes: Iterable[str] = ()) -> list[LabelRow]:
    """Read and check the CSV file of labels.

    The log counts the cells with a mark for a missing value.

    Parameters
    ----------
    real_classes : iterable of str
        Names such as ``NA`` that are real classes (``dataset.real_classes``).

    Raises
    ------
    InputError
        The message names the line and the error in it.
    """
    check_table(table)
    try:
        text = table.read_text(encoding="utf-8-sig")  # spreadsheets often write a byte-order mark
    except OSError as error:
        raise InputError(f"{table}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{table}: not UTF-8 text; save it as CSV in UTF-8") from None
    rows = [_checked(row, table) for row in _rows(table, text, set(map(folded, real_classes)))]
    _check_spelling(table, rows)
    return rows


def folded(name: str) -> str:
    """A class or the name of a column as it is compared."""
    return tidied(name).casefold()


def _rows(table: Path, text: str, real_classes: Collection[str]) -> list[LabelRow]:
    """The lines of a table that are not blank; only the columns are checked."""
    lines = _lines(table, text)
    header = [folded(cell) for cell in lines[0][1]] if lines else []
    _check_columns(table, header)
    _check_places(table, header, lines[1:])
    rows, marks = [], Counter()
    for number, cells in lines[1:]:
        cell = dict(zip(header, cells, strict=False))  # the last cells may be missing
        name = {column: tidied(cell.get(column, "")) for column in ("label", "split", "truth")}
        for column, said in name.items():
            if said and says_nothing(said) and said.casefold() not in real_classes:
                marks[said] += 1
                name[column] = ""
        written = cell.get("path", "")
        split = name["split"].casefold() or "train"
        rows.append(LabelRow(written.strip(), name["label"], split, name["truth"], number, written))
    if marks:
        named = some_of(f"{n} × '{mark}'" for mark, n in marks.most_common())
        log.info(
            f"{table}: cells that say nothing count as blank: {marks.total()} ({named}); "
            "list what is a class here in dataset.real_classes"
        )
    return rows


@dataclass(frozen=True)
class Dialect:
    """How a table separates its cells.

    Attributes
    ----------
    delimiter : str
    skips_blanks : bool, whether spaces before a cell are no part of it
    """

    delimiter: str
    skips_blanks: bool


def dialect_of(table: Path, text: str) -> Dialect:
    """The dialect of a table's text, without byte-order mark and with ``\\n`` after each line.

    Raises
    ------
    InputError
        If no known separator stands between the names of the columns.
    """
    header = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = _delimiter(header)
    if delimiter not in header and set(REQUIRED) <= set(re.findall(r"\w+", header.lower())):
        raise InputError(
            f"{table}: the first line separates its columns neither by ',' nor by ';' or tabs "
            f"(found: {header}); {_EXPECTED}"
        )
    # Spaces before a cell may belong to its text, unless a quotation mark follows them.
    has_blanks_before_quotes = re.search(rf'{delimiter} +"', text) is not None
    return Dialect(delimiter, has_blanks_before_quotes)


def _lines(table: Path, text: str) -> list[_Line]:
    """The lines that are not blank, with their numbers in the file."""
    dialect = dialect_of(table, text)
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect.delimiter,
        skipinitialspace=dialect.skips_blanks,
        strict=True,
    )
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{table}: not a CSV file ({error})") from None
    return [(number, cells) for number, cells in lines if is_line(cells)]


def is_line(cells: Iterable[str]) -> bool:
    """Whether a line of these cells says something; blank lines are left out."""
    return any(map(tidied, cells))


def _delimiter(header: str) -> str:
    """The separator of the cells; in many countries, spreadsheets write semicolons."""
    for delimiter in _DELIMITERS:
        names = {folded(cell.strip(' "')) for cell in header.split(delimiter)}
        if names.issuperset(REQUIRED):
            return delimiter
    return max(_DELIMITERS, key=header.count)


def _check_columns(table: Path, header: list[str]) -> None:
    """Check that every column is known and unique; empty ones at the end are ignored."""
    found = f"(found: {', '.join(filter(None, header)) or 'none'}); {_EXPECTED}"
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(f"{table}: the first line names no column '{missing[0]}' {found}")
    unknown = [name for name in header if name and name not in COLUMNS]
    if unknown:
        place = header.index(unknown[0]) + 1
        raise InputError(
            f"{table}: the column '{unknown[0]}' is not known {found}; remove column {place}"
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise InputError(f"{table}: the column '{twice[0]}' occurs twice {found}, each once")


def _check_places(table: Path, header: list[str], lines: list[_Line]) -> None:
    """Check that every cell with content belongs to a named column."""
    for number, cells in lines:
        for i, cell in enumerate(cells):
            if tidied(cell) and not "".join(header[i : i + 1]):
                raise InputError(
                    f"{table}, line {number}: '{tidied(cell)}' is in a column without a name, "
                    f"expected cells for {', '.join(filter(None, header))}; remove the column of "
                    "an index (pandas: index=False, R: row.names=FALSE), name the column, or put a "
                    "text with a separator in it into quotation marks"
                )


def _check_spelling(table: Path, rows: list[LabelRow]) -> None:
    """Refuse class names that differ only in upper and lower case."""
    spelling: dict[str, str] = {}
    for row in rows:
        for name in (row.label, row.truth):
            other = spelling.setdefault(name.casefold(), name)
            if other != name:
                raise InputError(
                    f"{table}, line {row.line}: the class '{name}' is '{other}' in another line; "
                    "write both alike, or give them names that differ in more"
                )


def _checked(row: LabelRow, table: Path) -> LabelRow:
    where = f"{table}, line {row.line}"
    if leaves_folder(row.path):
        raise InputError(
            f"{where}: the path '{row.path}' is outside the folder; expected one relative to "
            f"{table.parent}"
        )
    for column, name in (("label", row.label), ("truth", row.truth)):
        if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in name):
            raise InputError(
                f"{where}: the {column} '{name}' holds a line break or another control character; "
                "expected a name in one line"
            )
    if row.split not in ("train", "test"):
        raise InputError(f"{where}: split is '{row.split}', expected train, test or nothing")
    if row.split == "test" and row.label:
        raise InputError(
            f"{where}: a test image carries the label '{row.label}'; move it to the column truth"
        )
    if row.label and row.truth and row.label != row.truth:
        raise InputError(f"{where}: label '{row.label}' and truth '{row.truth}' differ")
    return replace(row, path=str(PurePosixPath(row.path)))
