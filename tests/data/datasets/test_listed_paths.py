"""Paths of a table and the files that they match."""

import unicodedata
from pathlib import Path

import pytest
from gcdflow.data.datasets.labels_table import read_labels
from gcdflow.data.datasets.listed_paths import check_they_exist, each_once, match_paths
from gcdflow.data.folder_scan import files_below
from gcdflow.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for path in (" best of/a.png", "tour/b.png", "tour/c .png", "x, y.png", "Abend\u202f1.png"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def found(folder: Path, lines: str, header: str = "path,label", exist: bool = False) -> list[str]:
    (folder / "labels.csv").write_text(f"{header}\n{lines}\n", encoding="utf-8")
    table = folder / "labels.csv"
    files = files_below(folder).files
    rows = match_paths(read_labels(table), table, folder, files)
    if exist:
        check_they_exist(rows, table, folder, files)
    return [row.path for row in each_once(rows)]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (" best of/a.png", " best of/a.png"),
        ('" best of/a.png"', " best of/a.png"),
        ("best of/a.png", " best of/a.png"),  # trimmed by a spreadsheet
        ("./ best of/a.png", " best of/a.png"),
        (" best of\\a.png", " best of/a.png"),
        (" tour/b.png ", "tour/b.png"),
        ("\u202atour\\b.png", "tour/b.png"),  # copied from Windows
        ("tour/c .png", "tour/c .png"),
        ('"x, y.png"', "x, y.png"),
        ("Abend 1.png", "Abend\u202f1.png"),  # as macOS names screenshots
        ("absent.png", "absent.png"),
        ("absent\\too.png", "absent\\too.png"),
    ],
)
def test_paths_match_with_or_without_spaces(folder, written, path):
    assert found(folder, f"{written},robin") == [path]


def test_an_exact_match_wins(folder):
    (folder / "best of").mkdir()
    (folder / "best of/a.png").touch()
    assert found(folder, "best of/a.png,x\n best of/a.png,y") == [
        *("best of/a.png", " best of/a.png"),
    ]
    (folder / "c.png").touch()
    (folder / " c.png").touch()
    assert found(folder, "c.png,x\n c.png,y") == ["c.png", " c.png"]
    with pytest.raises(InputError, match=r"line 2: \\u200bc\.png may be ' c\.png' or 'c\.png'"):
        found(folder, "\u200bc.png,x")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_two_files_that_differ_in_composition_only(folder, form):
    for name in ("NFC", "NFD"):
        (folder / unicodedata.normalize(name, "größe.png")).touch()
    path = unicodedata.normalize(form, "größe.png")
    assert found(folder, f"{path},x") == [path]


@pytest.mark.parametrize(
    "lines",
    [
        "tour/b.png,x\ntour/b.png,x",
        "tour/b.png,x\ntour\\b.png , x ",
        "tour/b.png,\nabsent.png,y\ntour/b.png,NA\n\n./tour/b.png",
        'tour/b.png,x\n"tour/b.png","x"\ntour/b.png,x',
    ],
)
def test_lines_that_say_the_same_count_once(folder, lines):
    assert [path for path in found(folder, lines) if path != "absent.png"] == ["tour/b.png"]


def test_lines_that_differ_in_split_or_truth_are_refused(folder):
    header = "path,label,split,truth"
    for line, difference in (
        (",test,", "split: 'train' and 'test'"),
        (",train,wren", "truth: 'nothing' and 'wren'"),
        ("x,,", "label: 'nothing' and 'x'"),
    ):
        with pytest.raises(InputError, match=f"second time .*, with another {difference}; remove"):
            found(folder, f"tour/b.png,,,\ntour/b.png,{line}", header)
    assert found(folder, "tour/b.png,x,train,x\ntour/b.png,x,,x", header) == ["tour/b.png"]


def test_a_line_break_in_a_name(folder):
    (folder / "a\nb.png").touch()
    assert found(folder, '"a\nb.png",x') == ["a\nb.png"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "tour/b.png,x\ntour\\b.png,y",
            r"tour/b\.png is listed a second time \(first: line 2\), with another label: 'x' and "
            "'y'; remove one of the lines",
        ),
        ("tour/b.png,x\ntour/b.png,", "tour/b.png is .* another label: 'x' and 'nothing'; rem"),
        (" best of/a.png,x\nbest of/a.png,y", r" best of/a\.png is listed a second time"),
        ("Tour/B.png,x", r"no file Tour/B\.png in .*photos; did you mean tour/b\.png\?"),
        ("photos/tour/b.png,x", r"no file photos/tour.*; did you mean tour/b\.png\?$"),
        ("data/photos/tour/b.png,x", r"no file data/photos/t.*; did you mean tour/b\.png\?$"),
        ("b.png,x", r"no file b\.png in .*photos; did you mean tour/b\.png\?$"),
        ("trip/B.PNG,x", r"no file trip/B\.PNG in .*photos; did you mean tour/b\.png\?$"),
        ("tour/b,x", r"no file tour/b in .*photos; did you mean tour/b\.png\?$"),
        ("data/photos/tour/b.jpg,x", r"no file .*; did you mean tour/b\.png\?$"),
        ("B,x", r"no file B in .*photos; did you mean tour/b\.png\?$"),
        ("tour/bb.png,x", r"no file tour/bb\.png in .*photos; did you mean 'tour/b\.png'\?$"),
        ("zebra.png,x", r"no file zebra\.png in \S+; correct the path, or remove the line$"),
        ("tour/b.png,x\nzebra,x\nb,x\nb,x", r"no file zebra .*\(the first of 3 such lines\)$"),
        ("C:\\Users\\me\\b.png,x", r"the path 'C:\\\\?Users.* is outside the folder"),
        ("\\\\nas\\me\\b.png,x", "is outside the folder; expected one relative to"),
    ],
)
def test_paths_with_errors(folder, line, message):
    with pytest.raises(InputError, match=f"labels.csv, line [23]: .*{message}"):
        found(folder, line, exist=True)


def test_files_of_one_name(folder):
    (folder / "b.png").touch()
    with pytest.raises(InputError, match=r"no file trip/b\.png .* mean b\.png or tour/b\.png\?$"):
        found(folder, "trip/b.png,x", exist=True)
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "b.png").touch()
    with pytest.raises(InputError, match=r"no file holidays/b\.png in \S+; correct the path, or"):
        found(folder, "holidays/b.png,x", exist=True)


def test_pasted_lines_with_another_separator(folder):
    """The gallery's lines have commas, but tables of many spreadsheets have semicolons."""
    with pytest.raises(
        InputError, match=r"line 3: no file tour/b\.png,wren .*; separate the cells"
    ):
        found(folder, '"x, y.png";robin\ntour/b.png,wren', "path;label", exist=True)
    assert found(folder, "x, y.png;robin", header="path;label") == ["x, y.png"]
