"""Names that are hard to write or say nothing, and names that are completed."""

from __future__ import annotations

from pathlib import Path

import pytest
from gallery_page import expect, name, natural_size, saved, selected, tile
from gcdflow.data.class_names import says_nothing, tidied
from photo_gallery import HOSTILE, LOCKED, SIZE, Run, make_run

NAMES = [
    "</script><script>alert(1)</script>",
    "a,b",
    'a "b" c',
    "it's; a\ttab",
    "שלום",
    "👩‍🌾 gärtner",
    "=SUM(A1)",
    "'; DROP TABLE",
    "#1",
    "0",
]


@pytest.mark.parametrize(
    "table",
    [
        "path,label\ntour/00.jpg,robin\n",
        '\ufefflabel;path;truth;\r\n"robin";tour/00.jpg;;',
        "Path\tLabel\rtour/00.jpg\trobin\r",
        '"path", "label"\ntour/00.jpg, "robin"\n',
    ],
    ids=["plain", "spreadsheet", "old-mac", "blanks"],
)
def test_hostile_files_and_names_arrive(tmp_path: Path, open_page, table: str):
    """All names in one kind of table; in the others one, because their lines are kept."""
    run = make_run(tmp_path, table, extra=[*HOSTILE, LOCKED])
    page = open_page(run.write_page(run="\u202e</title><b>"))
    assert page.locator("b").count() == page.locator("details b, .note b, .count b").count()
    expected = {"tour/00.jpg": "robin"}
    named = list(zip(HOSTILE, NAMES, strict=True))
    for path, given in named if table.startswith("path") else named[1:2]:
        tile(page, path).click()
        name(page, given)
        expected[path] = tidied(given)
        expect(tile(page, path).locator(".now")).to_have_text(expected[path])
    tile(page, LOCKED).click()
    expect(page.locator("#said")).to_contain_text("has a line break in its file name")
    tile(page, HOSTILE[0]).focus()
    page.keyboard.press("Enter")
    assert natural_size(page) == list(SIZE)
    page.keyboard.press("Escape")
    file = saved(page, tmp_path)
    assert file.read_bytes().startswith(table.encode())
    assert run.labels(file) == expected


def test_names_that_say_nothing_are_refused(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/05.jpg").click()
    for typed, said in [
        ("n/a", "means “no label”"),
        (" \u200b", "Type a name"),
        ("a\x07b", "control"),
    ]:
        name(page, typed)
        expect(page.locator("#said")).to_contain_text(said)
        expect(page.locator("#changes")).to_have_text("Changes (0)")
    assert selected(page) == ["tour/05.jpg"]
    page.locator("#clear").click()
    tile(page, "tour/01.jpg").click()
    name(page, "owl")  # the table has the truth "robin" in this line
    expect(page.locator("#said")).to_have_text(
        "Nothing changed. 1 picture left as before: "
        "labels.csv has another name in the column “truth”."
    )


def test_names_are_completed_and_spelled_as_the_others(run: Run, open_page):
    page = open_page(run.write_page())
    completed = "all => all.map((option) => option.value)"
    assert page.locator("#names option").evaluate_all(completed) == ["robin", "wren"]
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    tile(page, "tour/06.jpg").click()
    name(page, "OWL")
    expect(tile(page, "tour/06.jpg").locator(".now")).to_have_text("owl")
    assert page.locator("#names option").evaluate_all(completed) == ["owl", "robin", "wren"]
    page.click("#undo")
    page.click("#undo")
    assert page.locator("#names option").evaluate_all(completed) == ["robin", "wren"]
    tile(page, "tour/05.jpg").click()
    name(page, "Owl")  # what was taken back binds nobody
    expect(tile(page, "tour/05.jpg").locator(".now")).to_have_text("Owl")


def test_names_are_read_as_the_labels_stage_reads_them(run: Run, open_page):
    page = open_page(run.write_page())
    # Letters that Unicode has had for long: browser and Python may know different versions.
    letters = [c for c in map(chr, range(0x2FFF)) if c.isprintable() and c.isalpha()]
    found = page.evaluate("letters => letters.map(Names.folded)", letters)
    differ = {c for c, f in zip(letters, found, strict=True) if f != c.casefold()}
    assert differ <= set("ǰẖẗẘẙẚẞ") | CHEROKEE, differ
    words = [
        *("NA", "<na>", "n.a.", "N/A x", "None", "null", "?", "-", "...", "-1", "\\N", "#N/A"),
        *("#REF!", "Err:502", "erreur : 5", "#н/д", "#NV", "UNKNOWN", "k.A.", "s d", "'none'"),
        *("robin", "new-1", "nano", "-11", "a-b", "#1", "0", "«»", "¿?", "error", "（x）", "日本"),
        *("e\u0301te", "a\u00a0\u2003b", "\u200bx\ufeff", " x ", "\u202ex", "İı", "ΣΑΣ", "ﬁn"),
    ]
    read = page.evaluate(
        "words => words.map((w) => [NAMES.tidied(w), NAMES.saysNothing(NAMES.tidied(w))])", words
    )
    assert read == [[tidied(word), says_nothing(tidied(word))] for word in words]


CHEROKEE = {chr(c) for c in range(0x13A0, 0x1400)}
