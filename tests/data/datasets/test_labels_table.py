"""CSV files of labels as people, spreadsheets, R and pandas write them."""

import logging
from pathlib import Path

import pytest
from gcdflow.data.datasets.labels_table import LabelRow, read_labels
from gcdflow.errors import InputError


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str, real_classes: tuple[str, ...] = ()) -> list[LabelRow]:
        path = tmp_path / "labels.csv"
        path.write_bytes(text.encode())
        return read_labels(path, real_classes)

    return read


def test_marks_for_nothing_are_no_classes(read, caplog):
    text = (
        '"path","label","split","truth"\n"0.png","robin",NA,NA\n"1.png",NA,"train","wren"\n'
        '"2.png",NA,"test",NA\n"3.png", none ,,?\n"4.png",#REF!,NULL,\n"5.png","",,""\n'
    )
    with caplog.at_level(logging.INFO):
        rows = read(text)
    assert rows == [
        *(
            LabelRow("0.png", "robin"),
            LabelRow("1.png", "", "train", "wren"),
            LabelRow("2.png", "", "test"),
        ),
        *(LabelRow("3.png", ""), LabelRow("4.png", ""), LabelRow("5.png", "")),
    ]
    (message,) = caplog.messages
    assert message.split("labels.csv: ")[1] == (
        "cells that say nothing count as blank: 9 (5 × 'NA', 1 × 'none', 1 × '?', "
        "1 × '#REF!', 1 × 'NULL'); list what is a class here in dataset.real_classes"
    )


def test_blank_cells_are_not_counted(read, caplog):
    with caplog.at_level(logging.INFO):
        assert read("path,label\na.jpg,\u00a0\nb.jpg,\u200b\nc.jpg\n") == [
            *(LabelRow("a.jpg", ""), LabelRow("b.jpg", ""), LabelRow("c.jpg", "")),
        ]
    assert not caplog.messages


def test_all_marks_are_counted_and_some_are_named(read, caplog):
    marks = ["NA", "nan", "None", "null", "-", "?", "n/a", "#N/A", ".", "--", "nil", "NaT"]
    with caplog.at_level(logging.INFO):
        read("path,label\n" + "".join(f"{i}.jpg,{mark}\n" for i, mark in enumerate(marks)))
    assert "count as blank: 12 (1 × " in caplog.text
    assert " and 4 more); list" in caplog.text


def test_real_classes_may_have_such_names(read, caplog):
    text = "path,label,truth\na.jpg,None,\nb.jpg, NA,\nc.jpg,?,None\n"
    with caplog.at_level(logging.INFO):
        rows = read(text, ("None", "na "))
    assert [(row.label, row.truth) for row in rows] == [("None", ""), ("NA", ""), ("", "None")]
    assert "cells that say nothing count as blank: 1 (1 × '?'); list" in caplog.text
    with pytest.raises(InputError, match=r"line 3: the class 'NONE' is 'None' in another line"):
        read("path,label\na.jpg,None\nb.jpg,NONE\n", ("None",))


def test_split_in_capital_letters(read):
    assert read("path,label,split\na.jpg,,Test\nb.jpg,x,TRAIN\n") == [
        *(LabelRow("a.jpg", "", "test"), LabelRow("b.jpg", "x")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff\ufeffpath,label\na.jpg,x\n",  # marks of two programs
        '\ufeff"\u200bpath","label "\r\na.jpg,x\r\n',
        "\r\n\r\npath;label\r\na.jpg;x\r\n",
        ",,\npath,label,\na.jpg,x,\n",
        "Path\u00a0\tLABEL\na.jpg\tx\u00a0\n",
        "path,label\ra.jpg,x\r",
    ],
)
def test_first_lines_of_files(read, text):
    assert read(text) == [LabelRow("a.jpg", "x")]


def test_names_match_by_their_look(read):
    rows = read("path,label\na.jpg,robin\nb.jpg,\u200brobin\u202c\nc.jpg,ro\u00adbin\n")
    assert {row.label for row in rows} == {"robin"}


def test_spaces_around_a_path_are_kept(read):
    (row,) = read("path,label\n a/b .jpg ,x\n")
    assert (row.path, row.written) == ("a/b .jpg", " a/b .jpg ")


def test_blanks_before_quotation_marks(read):
    rows = read('"path", "label"\n"a.jpg", "crow, black"\n"b.jpg",robin\n')
    assert [row.label for row in rows] == ["crow, black", "robin"]
    (row,) = read('label;path\nrobin;  " a.jpg"\n')
    assert row.written == " a.jpg"


def test_quoted_line_breaks(read):
    assert read('path,label\n"a\nb.jpg",x\n')[0].path == "a\nb.jpg"
    with pytest.raises(InputError, match=r"line 3: the label 'x\\ny' holds a line break"):
        read('path,label\na.jpg,"x\ny"\n')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            ",path,label\n0,a.jpg,x\n1,b.jpg,\n",
            "line 2: '0' is in a column without a name, .* remove the column of an index",
        ),
        ('"","path","label"\n"1","a.jpg","x"\n"2","b.jpg",NA\n', "remove the column of an index"),
        (";path;label\n0;a.jpg;x\n", "'0' .* remove the column of an index"),
        # Row names of R's write.table have no cell in the first line.
        (
            "path,label\n1,a.jpg,x\n2,b.jpg,y\n",
            "line 2: 'x' .* remove the column of an index",
        ),
        (",path,label\nfoo,a.jpg,x\n", "'foo' .*row.names=FALSE\\), name the column"),
        ("Unnamed: 0,path,label\n0,a.jpg,x\n", "the column 'unnamed: 0' .*; remove column 1"),
        ("path,label,index\na.jpg,x,0\n", "column 'index' is not known .*; remove column 3"),
        ("path,,label\na.jpg,7,x\n", "'7' is in a column without a name, .* put a text with a sep"),
        ("path,label\na.jpg,x, y\n", "line 2: 'y' is in a column without a name.* quotation marks"),
        (
            "path|label\na.jpg|x\n",
            r"separates its columns neither by ',' nor by ';' or tabs \(foun",
        ),
        (
            "sep=;\npath;label\na.jpg;x\n",
            r"names no column 'path' \(found: sep=\); expected the col",
        ),
        ('"path" "label"\n"a.jpg" "x"\n', "separates its columns neither by"),
        ("path,label,Label\na.jpg,x,y\n", "the column 'label' occurs twice"),
        ("path,label,label.1\na.jpg,x,y\n", "the column 'label.1' is not known"),
    ],
)
def test_tables_that_need_a_change(read, text, message):
    with pytest.raises(InputError, match=f"labels.csv.*{message}") as info:
        read(text)
    assert "\n" not in str(info.value)
