"""What pandas and, where it is installed, LibreOffice read from ``assignments.csv``."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.assignments import COLUMNS, Assignments

PATHS = [
    "Größe/Ähre é.jpg",
    'say "hi", twice.jpg',
    "a;b\tc.jpg",
    "two\nlines.jpg",
    "שלום 👩‍🌾.jpg",
    "=1+1.jpg",
    "@home, sweet.jpg",
    "+49.jpg",
    "007.jpg",
]
NAMES = ["Meise, blau", "Zilpzalp", '"quoted"', "=1+1", "-2+3", "007", "1e5", "true", "3/4"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    n = len(PATHS)
    Assignments(
        paths=PATHS,
        categories=NAMES,
        confidences=np.linspace(0.125, 1, n),
        core_mask=np.arange(n) % 2 == 0,
        labels=["", "Zilpzalp", *[""] * (n - 2)],
        suggested=["", "Meise, blau", *[""] * (n - 2)],
        train_mask=np.ones(n, dtype=bool),
        clusters=np.arange(n),
        left_out={"broken.jpg": "cannot be read, not now"},
    ).save(tmp_path / "assignments.csv")
    return tmp_path / "assignments.csv"


def test_pandas(table: Path):
    pandas = pytest.importorskip("pandas")
    shares = pytest.approx(np.linspace(0.125, 1, len(PATHS)), abs=1e-3)
    as_text = pandas.read_csv(table, dtype=str, keep_default_na=False)
    assert tuple(as_text.columns) == COLUMNS
    with open(table, encoding="utf-8-sig", newline="") as file:
        assert as_text.to_numpy().tolist() == list(csv.reader(file))[1:]
    found = pandas.read_csv(table)
    assert found["path"].tolist() == [*PATHS, "broken.jpg"]
    assert found["category"].tolist()[:-1] == NAMES, "one name is no number, so all are text"
    assert found["confidence"].tolist()[:-1] == shares
    assert found["doubtful"].dtype == bool


OFFICE = shutil.which("soffice") or shutil.which("libreoffice")


def through_office(table: Path, folder: Path, *options: str) -> list[list[str]]:
    """The cells that LibreOffice shows of the table, with some options of its import."""

    def convert(source: Path, *arguments: str) -> None:
        profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
        command = [OFFICE, profile, "--headless", *arguments, "--outdir", folder / "out", source]
        subprocess.run(command, check=True, capture_output=True, timeout=300)

    convert(table, *options, "--convert-to", "ods")
    shown = "csv:Text - txt - csv (StarCalc):44,34,76"  # commas, quotation marks, UTF-8
    convert(folder / "out" / "assignments.ods", "--convert-to", shown)
    with open(folder / "out" / "assignments.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


needs_office = pytest.mark.skipif(OFFICE is None, reason="needs libreoffice-calc-nogui")
COMMAS_AND_UTF8 = "--infilter=CSV:44,34,76,1"
TEXT_COLUMNS = ("path", "category", "label", "suggested", "problem")
NO_TABS = [path.replace("\t", "") for path in PATHS]  # which no cell can hold


def columns_of(rows: list[list[str]]) -> dict[str, list[str]]:
    header, *cells = rows
    assert tuple(header) == COLUMNS
    return dict(zip(header, map(list, zip(*cells, strict=True)), strict=True))


@needs_office
def test_libreoffice_as_it_opens_the_table(table: Path, tmp_path: Path):
    found = columns_of(through_office(table, tmp_path, COMMAS_AND_UTF8))
    assert found["path"][:5] == NO_TABS[:5], "commas, quotation marks and line ends are in cells"
    assert found["category"][:3] == NAMES[:3]
    shares = list(map(float, found["confidence"][:-1]))
    assert shares == pytest.approx(np.linspace(0.125, 1, len(PATHS)), abs=1e-3)
    assert found["problem"][-1] == "cannot be read, not now"
    # A CSV file cannot say what is text: docs/datasets.md tells what to do.
    assert found["category"] != [*NAMES, ""]


@needs_office
def test_libreoffice_with_columns_of_text_has_every_cell_as_it_is(table: Path, tmp_path: Path):
    kinds = "/".join(f"{COLUMNS.index(name) + 1}/2" for name in TEXT_COLUMNS)
    found = columns_of(through_office(table, tmp_path, f"{COMMAS_AND_UTF8},{kinds}"))
    assert found["path"] == [*NO_TABS, "broken.jpg"]
    assert found["category"] == [*NAMES, ""]
    with open(table, encoding="utf-8-sig", newline="") as file:
        expected = columns_of(list(csv.reader(file)))
    for name in ("label", "suggested", "problem", "cluster", "split"):
        assert found[name] == expected[name], name
