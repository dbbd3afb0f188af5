"""The CSV file of labels of a folder of photographs, and errors in it."""

import csv
import io
import logging
import shutil
import unicodedata
from pathlib import Path

import pytest
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.labels_table import LabelRow, read_labels
from gcdflow.data.datasets.photos import catalogue, present_labels
from gcdflow.errors import InputError
from small_photos import ANEW, PATHS, TABLE, split_of, table_of, write


def read_labels_of(settings):
    return read_labels(table_of(settings))


def test_spreadsheets(settings):
    expected = read_labels_of(settings)
    write(settings, TABLE.replace("\n", "\r\n"), encoding="utf-8-sig")
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace(",", ";"))
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace(",", " , ") + "\n,,,\n")
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace(",", "\t"))
    assert read_labels_of(settings) == expected
    assert [row.line for row in read_labels_of(settings)] == [2, 3, 4, 5]
    write(settings, TABLE.replace("path,label,split", '"Path","LABEL",Split'))
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace("\n", ",,\n"))  # empty columns
    assert read_labels_of(settings) == expected
    write(settings, TABLE.replace("robin,,", "robin"))  # missing cells
    assert read_labels_of(settings) == expected


def test_names_match_by_their_look(settings):
    write(settings, f"path,label\na.jpg,{unicodedata.normalize('NFD', 'Käfer')}\nf.jpg,Käfer\n")
    assert {row.label for row in read_labels_of(settings)} == {"Käfer"}
    write(settings, "path,label\na.jpg,hooded  crow\nf.jpg,hooded\u00a0 crow\n")
    assert {row.label for row in read_labels_of(settings)} == {"hooded crow"}
    write(settings, "path,label,truth\na.jpg,robin,\nf.jpg,,Robin\n")
    with pytest.raises(InputError, match=r"line 3: the class 'Robin' is 'robin' in another line"):
        read_labels_of(settings)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_paths_match_by_their_look(settings, on_disk, in_table):
    name = unicodedata.normalize(on_disk, "more/größe.jpg")
    shutil.copy(f"{settings.root}/photos/a.jpg", f"{settings.root}/photos/{name}")
    write(settings, f"path,label\n{unicodedata.normalize(in_table, name)},crow\n")
    found = catalogue(settings)
    assert found.paths[0] == name
    assert len(set(found.paths)) == len(found.paths) == 7
    split, _ = split_catalogue(found, settings)
    assert present_labels(table_of(settings), split, ANEW)[0].labels[0] == 0


def test_paths_as_on_windows(settings):
    write(settings, "path,label\nmore\\d.webp,crow\n.\\f.jpg,ant\n")
    assert catalogue(settings).paths[:2] == ["more/d.webp", "f.jpg"]
    shutil.copy(f"{settings.root}/photos/a.jpg", f"{settings.root}/photos/more\\d.webp")
    assert catalogue(settings).paths[0] == "more\\d.webp"  # this file exists
    write(settings, "path,label\nmore/e.jpg,crow\nmore\\e.jpg,\n")
    with pytest.raises(InputError, match=r"line 3: more/e\.jpg is listed a second time \(first: l"):
        catalogue(settings)


def test_a_path_in_other_case(settings):
    write(settings, "path,label\na.jpg,crow\nMORE\\D.webp,crow\n")
    with pytest.raises(InputError, match=r"line 3: no file MORE.* did you mean more/d\.webp\?"):
        catalogue(settings)


def test_two_columns_are_enough(settings):
    write(settings, 'label,path\n"crow, black",./a.jpg\n')
    assert read_labels_of(settings) == [LabelRow("a.jpg", "crow, black")]
    assert catalogue(settings).class_names == ["crow, black"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the first line names no column 'path' \(found: none\); expected the columns path"),
        ("path;label;colour\n", r"the column 'colour' is not known \(found: path, label, colour\)"),
        (
            "path,name\na.jpg,x\n",
            r"names no column 'label' \(found: path, name\); expected the col",
        ),
        ("path,label,path\n", "the column 'path' occurs twice .*, each once"),
        (
            "path,label\na.jpg\n",
            "no photograph in the folder has a label; write the class",
        ),
        (
            "path,label\na.jpg,x,y\n",
            "line 2: 'y' is in a column without a name, expected cells for",
        ),
        ("path,label,,\na.jpg,x,,y\n", "line 2: 'y' is in a column without a name"),
        ('path,label\na.jpg,"x\n', "not a CSV file"),
        (
            "path,label\n/etc/passwd,x\n",
            "line 2: the path '/etc/passwd' is outside",
        ),
        ("path,label\n../a.jpg,x\n", "'../a.jpg' is outside the folder; .* relative to"),
        ("path,label\nmore/../../a.jpg,x\n", "is outside the folder"),
        ("path,label\n,x\n", "the path '' is outside"),
        ("path,label\na.jpg,x\n./a.jpg,\n", "line 3: a.jpg is listed a second time"),
        ("path,label,split\na.jpg,x,val\n", "split is 'val', expected train, test or nothing"),
        ("path,label,split\na.jpg,x,test\n", "a test image carries the label 'x'"),
        ("path,label,truth\na.jpg,x,y\n", "label 'x' and truth 'y' differ"),
        ("path,label\na.jpg,\n", "no photograph in the folder has a label"),
        ("path,label\n" + "".join(f"{p},x\n" for p in PATHS), "every image has a label already"),
    ],
)
def test_bad_tables(settings, text, message):
    write(settings, text)
    with pytest.raises(InputError, match=rf"labels\.csv.*{message}"):
        catalogue(settings)


def test_missing_files_and_foreign_text(settings):
    write(settings, TABLE.replace("wren", "größe"), encoding="latin1")
    with pytest.raises(InputError, match=r"labels\.csv: not UTF-8 text; save it as CSV in UTF-8"):
        catalogue(settings)
    absent = settings.model_copy(update={"labels": "absent.csv"})
    with pytest.raises(InputError, match=r"absent\.csv: no such file; write one with the columns"):
        catalogue(absent)
    absent = settings.model_copy(update={"folder": "absent"})
    with pytest.raises(InputError, match=r"dataset\.folder: no folder of photographs at .*absent"):
        catalogue(absent)


def test_marks_for_nothing_in_labels(settings, caplog):
    write(settings, '"path","label"\n"a.jpg","robin"\n"c.JPG","None"\n"f.jpg",NA\n')
    with caplog.at_level(logging.INFO):
        found = catalogue(settings)
    assert found.class_names == ["robin"]
    assert found.labelled_mask.sum() == 1
    assert "cells that say nothing count as blank: 2 (1 × 'None', 1 × 'NA'); list" in caplog.text
    assert "real_classes" not in found.source
    with_none = settings.model_copy(update={"real_classes": ["none"]})
    found = catalogue(with_none)
    assert found.class_names == ["None", "robin"]
    assert found.labelled_mask.sum() == 2
    # The real classes of the split apply to corrections too.
    split = split_of(with_none)
    write(settings, "path,label\na.jpg,robin\nc.JPG,None\nf.jpg,None\nb.png,NA\n")
    labels, words = present_labels(table_of(settings), split, ANEW)
    assert labels.class_names.tolist() == ["None", "robin"]
    assert words == "1 added, 0 changed, 0 removed since training began"


@pytest.mark.parametrize("path", [" best of/a.png", "a, b.jpg ", '"c".jpg', "d\n.jpg", "e\\f.jpg"])
def test_a_line_can_name_any_path(settings, path):
    folder = Path(settings.root) / "photos"
    (folder / path).parent.mkdir(exist_ok=True)
    shutil.copy(folder / "a.jpg", folder / path)
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\n").writerow([path, "crow, NA"])
    write(settings, f"path,label\nc.JPG,robin\n{line.getvalue()}")
    found = catalogue(settings)
    assert found.class_names == ["crow, NA", "robin"]
    assert found.paths[1] == path
    assert found.labelled_mask[1]
