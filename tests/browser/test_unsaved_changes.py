"""Changes that are not saved are kept, also if the page is made again."""

from __future__ import annotations

from pathlib import Path

from gallery_page import expect, name, saved, tile
from photo_gallery import SIZE, Run
from PIL import Image


def test_unsaved_changes_warn_and_are_kept(run: Run, open_page, tmp_path: Path):
    page = open_page(run.write_page())
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    page.reload()
    assert asked == ["beforeunload"]
    expect(page.locator("#changes")).to_have_text("Changes (1)")
    expect(tile(page, "tour/05.jpg").locator(".now")).to_have_text("owl")
    expect(page.locator("#said")).to_contain_text("1 picture changed when this page was last open")
    saved(page, tmp_path)
    page.reload()
    assert asked == ["beforeunload"], "all is saved"
    expect(page.locator("#said")).to_contain_text("1 picture changed and saved when this page was")
    page.click("#undo")
    expect(page.locator("#changes")).to_have_text("Changes (0)")
    expect(page.locator("#save")).to_be_enabled()
    page.reload()
    assert asked == ["beforeunload"] * 2
    expect(page.locator("#changes")).to_have_text("Changes (0)")
    expect(page.locator("#save")).to_be_enabled()


def test_a_browser_that_keeps_nothing_warns(run: Run, open_page):
    page = open_page(run.write_page())
    page.add_init_script("Object.defineProperty(window, 'indexedDB', {value: undefined})")
    page.reload()
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    expect(page.locator("#changes")).to_have_text("Changes (1)")
    page.reload()
    assert asked == ["beforeunload"]
    expect(page.locator("#changes")).to_have_text("Changes (0)")


def test_unsaved_changes_outlive_a_page_that_is_made_again(run: Run, open_page):
    run.look_again()
    options = {"photographs_path": run.beside("photographs.npz")}
    page = open_page(run.write_page(**options))
    for path in ("tour/05.jpg", "tour/06.jpg", "tour/07.jpg"):
        tile(page, path).click()
        name(page, "owl")
    tile(page, "tour/13.jpg").click()
    page.click("#not")
    # Meanwhile one photograph comes, another goes, and a third gets a label by hand.
    Image.new("RGB", SIZE, "red").save(run.table.parent / "a.jpg")
    (run.table.parent / "tour/07.jpg").unlink()
    run.table.write_bytes(run.table.read_bytes() + b"\r\ntour/06.jpg;wren;;\r\n")
    run.look_again()
    again = open_page(run.write_page(**options), page.context)
    expect(again.locator("#said")).to_have_text(
        "2 pictures changed when this page was last open: kept. Undo takes them back. "
        "2 pictures cannot be labelled as before, gone or labelled otherwise in labels.csv since: "
        "tour/06.jpg (owl), tour/07.jpg (owl)."
    )
    expect(again.locator("#changes")).to_have_text("Changes (2)")
    expect(tile(again, "tour/05.jpg").locator(".now")).to_have_text("owl")
    expect(tile(again, "tour/13.jpg").locator(".now")).to_have_text("not this")
    expect(again.locator("#save")).to_be_enabled()
    # The photograph comes back, and its label with it.
    Image.new("RGB", SIZE, "blue").save(run.table.parent / "tour/07.jpg")
    run.look_again()
    again = open_page(run.write_page(**options), page.context)
    expect(again.locator("#said")).to_contain_text(
        "3 pictures changed when this page was last open"
    )
    expect(tile(again, "tour/07.jpg").locator(".now")).to_have_text("owl")


def test_a_truth_of_an_equal_file_or_of_a_later_line_is_respected(run: Run, open_page):
    run.look_again()
    for copy in ("a.jpg", "a (copy).jpg"):
        Image.new("RGB", (50, 40), "red").save(run.table.parent / copy)
    run.table.write_bytes(run.table.read_bytes() + b"\r\na.jpg;;;gull\r\n")
    run.look_again()
    options = {"photographs_path": run.beside("photographs.npz")}
    page = open_page(run.write_page(**options))
    tile(page, "a (copy).jpg").click()
    name(page, "owl")
    expect(page.locator("#said")).to_contain_text(
        "1 picture left as before: labels.csv has another"
    )
    expect(page.locator("#changes")).to_have_text("Changes (0)")
    page.click("#clear")
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    run.table.write_bytes(run.table.read_bytes() + b"tour/05.jpg;;;wren\r\n")
    again = open_page(run.write_page(**options), page.context)
    expect(again.locator("#said")).to_contain_text("1 picture cannot be labelled as before")
    expect(again.locator("#changes")).to_have_text("Changes (0)")


def test_labels_that_waited_are_forgotten_when_the_table_is_saved(
    run: Run, open_page, tmp_path: Path
):
    run.look_again()
    options = {"photographs_path": run.beside("photographs.npz")}
    page = open_page(run.write_page(**options))
    for path in ("tour/05.jpg", "tour/07.jpg"):
        tile(page, path).click()
        name(page, "owl")
    (run.table.parent / "tour/07.jpg").unlink()
    run.look_again()
    again = open_page(run.write_page(**options), page.context)
    expect(again.locator("#said")).to_contain_text("cannot be labelled as before")
    saved(again, tmp_path)
    again.reload()
    expect(again.locator("#said")).to_contain_text("1 picture changed and saved when this page")
    expect(again.locator("#said")).not_to_contain_text("cannot be labelled")


def test_two_tabs_are_one_set_of_changes(run: Run, open_page, tmp_path: Path):
    one = open_page(run.write_page())
    two = open_page(one.url, one.context)
    tile(one, "tour/05.jpg").click()
    name(one, "owl")
    tile(one, "tour/13.jpg").click()
    one.click("#not")
    expect(tile(two, "tour/05.jpg").locator(".now")).to_have_text("owl")
    tile(two, "tour/06.jpg").click()
    name(two, "gull")
    two.reload()
    for page in (one, two):
        expect(page.locator("#changes")).to_have_text("Changes (3)")
        expect(tile(page, "tour/06.jpg").locator(".now")).to_have_text("gull")
        expect(tile(page, "tour/13.jpg").locator(".now")).to_have_text("not this")
    one.click("#undo")
    expect(two.locator("#changes")).to_have_text("Changes (2)")
    expect(tile(two, "tour/06.jpg").locator(".now")).to_be_hidden()
    text = saved(two, tmp_path).read_text(encoding="utf-8-sig")
    assert "owl" in text
    assert "gull" not in text
    expect(one.locator("#save")).to_be_enabled()
