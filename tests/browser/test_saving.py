"""Labels that were given in the gallery arrive in the table, and other lines stay."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from gallery_page import data, expect, name, saved, selected, tile
from photo_gallery import TABLE, Run, make_run
from PIL import Image


def test_corrections_arrive_and_other_lines_stay(run: Run, open_page, tmp_path: Path):
    page = open_page(run.write_page())
    before = run.labels()
    assert before == {"tour/00.jpg": "robin", "tour/01.jpg": "robin", "tour/02.jpg": "wren"}

    tile(page, "tour/05.jpg").click()
    tile(page, "tour/06.jpg").focus()
    page.keyboard.press("Space")
    assert set(selected(page)) == {"tour/05.jpg", "tour/06.jpg"}
    name(page, 'pied; "wagtail"')
    expect(page.locator("#said")).to_contain_text('Named “pied; "wagtail"”: 2 pictures.')
    assert selected(page) == []

    for path in ("tour/03.jpg", "tour/04.jpg", "tour/00.jpg"):
        tile(page, path).click()
    name(page, "  WREN ")  # spelled as in the table, or reading it would fail
    tile(page, "tour/01.jpg").click()
    page.click("#not")
    tile(page, "tour/07.jpg").click()
    name(page, "mistake")
    page.click("#undo")
    expect(page.locator("#changes")).to_have_text("Changes (6)")
    page.click("#changes")
    page.locator("#list summary").last.click()
    expect(page.locator("#list li li")).to_have_count(2)  # they come after the click
    assert page.locator("#list li li").all_inner_texts() == [
        'tour/05.jpg: no label → pied; "wagtail"',
        'tour/06.jpg: no label → pied; "wagtail"',
    ]

    text = saved(page, tmp_path).read_bytes().decode()
    assert text == (
        "\ufeffpath;label;split;truth\r\n"
        '"tour/00.jpg";"wren";;\r\n'
        "tour/01.jpg;;train;robin\r\n"
        "\r\n"
        ";;;\r\n"
        ' tour/02.jpg ;"wren"\r\n'
        "tour\\03.jpg;wren\r\n"
        "tour/04.jpg;wren;;\r\n"
        "tour/15.jpg;;test;wren\r\n"
        'tour/05.jpg;"pied; ""wagtail""";;\r\n'
        'tour/06.jpg;"pied; ""wagtail""";;\r\n'
    )
    shutil.copy(tmp_path / "downloaded.csv", run.table)
    assert run.labels() == {
        **dict.fromkeys(("tour/00.jpg", "tour/02.jpg", "tour/03.jpg", "tour/04.jpg"), "wren"),
        **dict.fromkeys(("tour/05.jpg", "tour/06.jpg"), 'pied; "wagtail"'),
    }

    run.assign()
    again = open_page(run.write_page(), page.context)
    expect(again.locator("#changes")).to_have_text("Changes (0)")
    expect(tile(again, "tour/05.jpg")).to_have_attribute("aria-label", LABELLED)
    expect(tile(again, "tour/05.jpg").locator(".now")).to_have_count(0)
    assert set(data(again)["names"]["known"]) == {"wren", "robin", 'pied; "wagtail"'}


LABELLED = 'tour/05.jpg, labelled pied; "wagtail"'


def test_a_page_without_changes_saves_nothing(run: Run, open_page):
    page = open_page(run.write_page())
    expect(page.locator("#save")).to_be_disabled()
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    expect(page.locator("#save")).to_be_enabled()
    page.click("#undo")
    expect(page.locator("#save")).to_be_disabled()
    page.keyboard.press("Control+Shift+Z")
    expect(page.locator("#save")).to_be_enabled()
    tile(page, "tour/05.jpg").click()
    page.click("#not")  # takes back the only change: there is nothing to write
    expect(page.locator("#save")).to_be_disabled()
    expect(page.locator("#changes")).to_have_text("Changes (1)")


def test_a_table_without_any_label_is_not_saved(tmp_path: Path, open_page):
    run = make_run(tmp_path, "path,label\ntour/00.jpg,robin\n")
    page = open_page(run.write_page())
    tile(page, "tour/00.jpg").click()
    page.click("#not")
    page.click("#save")
    expect(page.locator("#said")).to_contain_text("Not saved: no picture would have a label")


def test_a_label_of_a_moved_photograph_is_taken_off(run: Run, open_page, tmp_path: Path):
    run.look_again()
    (run.table.parent / "tour/00.jpg").rename(run.table.parent / "moved.jpg")
    run.look_again()
    assert run.labels()["moved.jpg"] == "robin", "by the line of its former path"
    page = open_page(run.write_page(photographs_path=run.beside("photographs.npz")))
    tile(page, "moved.jpg").click()
    page.click("#not")
    text = saved(page, tmp_path).read_bytes().decode()
    assert text == TABLE + "\r\nmoved.jpg;;;\r\n"
    shutil.copy(tmp_path / "downloaded.csv", run.table)
    assert run.labels() == {"tour/01.jpg": "robin", "tour/02.jpg": "wren"}


def test_equal_files_are_named_and_cleared_together(run: Run, open_page, tmp_path: Path):
    run.look_again()
    for copy in ("a.jpg", "a (copy).jpg"):
        Image.new("RGB", (50, 40), "red").save(run.table.parent / copy)
    run.look_again()
    page = open_page(run.write_page(photographs_path=run.beside("photographs.npz")))
    tile(page, "a.jpg").click()
    name(page, "owl")
    expect(page.locator("#said")).to_contain_text("Named “owl”: 2 pictures.")
    before = run.table.read_bytes()
    shutil.copy(saved(page, tmp_path), run.table)
    assert run.labels() == run.labels() | {"a.jpg": "owl", "a (copy).jpg": "owl"}

    run.table.write_bytes(before + b"\r\na.jpg;owl;;\r\n")
    run.look_again()
    page = open_page(run.write_page(photographs_path=run.beside("photographs.npz")))
    tile(page, "a (copy).jpg").click()
    page.click("#not")
    shutil.copy(saved(page, tmp_path), run.table)
    assert not {"a.jpg", "a (copy).jpg"} & run.labels().keys()


def test_what_was_saved_can_be_saved_again(run: Run, open_page, tmp_path: Path):
    page = open_page(run.write_page())
    expect(page.locator("#save")).to_be_disabled()
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    first = saved(page, tmp_path).read_bytes()
    assert saved(page, tmp_path).read_bytes() == first
    page.reload()
    assert saved(page, tmp_path).read_bytes() == first


FAKE_FILE = """
window.disk = CONTENT;
window.showSaveFilePicker = async () => ({
  name: "labels.csv",
  getFile: async () => ({ text: async () => window.disk.replace(/^\\ufeff/, "") }),
  createWritable: async () => {
    let text = "";
    return { write: async (t) => { text += t; }, close: async () => { window.disk = text; } };
  },
});
"""


@pytest.mark.parametrize("accepts", [True, False])
def test_the_file_is_written_in_place(run: Run, open_page, accepts: bool):
    again = "snakemake --cores all runs/photos/first_look.html --config 'a=<b>&'"
    page = open_page(run.write_page(again=again))
    expect(page.locator(".note code").first).to_have_text(again)
    page.evaluate(FAKE_FILE.replace("CONTENT", json.dumps(TABLE)))
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    page.click("#save")
    expect(page.locator("#said")).to_contain_text("Saved the file that you chose")
    expect(page.locator("#said")).to_contain_text(f"sort again with these labels: {again}")
    first = page.evaluate("disk")
    assert first == TABLE + "\r\ntour/05.jpg;owl;;\r\n"
    # Another program changes the file: the page asks before it replaces it.
    asked = []
    answer = "accept" if accepts else "dismiss"
    page.on("dialog", lambda dialog: (asked.append(dialog.message), getattr(dialog, answer)()))
    page.evaluate("disk = disk + 'tour/09.jpg;gull;;'")
    page.click("#undo")
    page.click("#save")
    expect(page.locator("#said")).to_contain_text("Saved the file" if accepts else "Not saved.")
    assert ["has changed since" in text for text in asked] == [True]
    assert page.evaluate("disk") == (TABLE if accepts else first + "tour/09.jpg;gull;;")


def test_after_an_error_the_file_can_be_chosen_again(run: Run, open_page):
    page = open_page(run.write_page())
    page.evaluate(FAKE_FILE.replace("CONTENT", json.dumps(TABLE)))
    page.evaluate(
        """() => {
          const choose = window.showSaveFilePicker;
          let asked = 0;
          const missing = async () => { throw new DOMException("It is gone.", "NotFoundError"); };
          window.showSaveFilePicker = async () => {
            const handle = await choose();
            return asked++ ? handle : { ...handle, getFile: missing };
          };
        }"""
    )
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    page.click("#save")
    expect(page.locator("#said")).to_have_text(
        "Not saved: It is gone. Press Save again to choose the file."
    )
    page.click("#save")
    expect(page.locator("#said")).to_contain_text("Saved the file that you chose")
    assert page.evaluate("disk").endswith("tour/05.jpg;owl;;\r\n")


def test_a_new_change_ends_what_can_be_done_again(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    page.click("#undo")
    expect(page.locator("#redo")).to_be_enabled()
    tile(page, "tour/06.jpg").click()
    name(page, "gull")
    expect(page.locator("#redo")).to_be_disabled()
    page.keyboard.press("Control+y")
    expect(page.locator("#changes")).to_have_text("Changes (1)")
    expect(tile(page, "tour/05.jpg").locator(".now")).to_have_count(0)
