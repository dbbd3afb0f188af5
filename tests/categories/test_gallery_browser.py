"""The gallery in a real browser: select, name, merge, undo and save, and the labels arrive."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gcdflow.categories.assignments import Assignments
from gcdflow.data.class_names import says_nothing, tidied
from photo_gallery import HOSTILE, LOCKED, PLAIN, SIZE, Run, make_run
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium in PATH (Debian: apt-get install chromium)"
)

TABLE = (
    "\ufeffpath;label;split;truth\r\n"
    '"tour/00.jpg";"robin";;\r\n'
    "tour/01.jpg;robin;train;robin\r\n"
    "\r\n"
    ";;;\r\n"
    ' tour/02.jpg ;"wren"\r\n'
    "tour\\03.jpg\r\n"
    "tour/04.jpg;NA;;\r\n"
    "tour/15.jpg;;test;wren"
)


@pytest.fixture(scope="module")
def browser() -> Iterator:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser) -> Iterator[Callable]:
    """A function that opens an address; in the end, no script failed and nothing was blocked."""
    problems, contexts = [], []

    def open_it(address: str, context=None, **options):
        if context is None:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
            contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: said.type == "error" and problems.append(said.text))
        page.on(
            "request", lambda asked: asked.url.startswith("http") and problems.append(asked.url)
        )
        # Saving by a download works in every browser.
        page.add_init_script("delete window.showSaveFilePicker")
        page.goto(address)
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert [p for p in problems if "ERR_FILE_NOT_FOUND" not in p] == []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path, TABLE)


def tile(page, path: str):
    number = next(n for n, p in enumerate(data(page)["pictures"]) if p["path"] == path)
    return page.locator(f'.tile[data-n="{number}"]')


def data(page) -> dict:
    return json.loads(page.locator("#data").text_content())


def selected(page) -> list[str]:
    numbers = page.locator('.tile[aria-selected="true"]').evaluate_all(
        "tiles => tiles.map((tile) => Number(tile.dataset.n))"
    )
    return [data(page)["pictures"][n]["path"] for n in numbers]


def name(page, text: str) -> None:
    page.fill("#name", text)
    page.click("#give")


def category(page, name: str):
    return page.locator(f'section[aria-label="{name}"]')


def saved(page, folder: Path) -> Path:
    """The file that a click on Save downloads."""
    with page.expect_download() as found:
        page.click("#save")
    assert found.value.suggested_filename == "labels.csv"
    path = folder / "downloaded.csv"
    found.value.save_as(path)
    return path


# -- the whole way ---------------------------------------------------------------------------------


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


# -- selecting -------------------------------------------------------------------------------------


def test_ranges_frames_and_keys(run: Run, open_page):
    page = open_page(run.write_page())
    order = page.locator(".tile").evaluate_all("all => all.map((tile) => tile.ariaLabel)")
    paths = [text.split(",")[0] for text in order]
    tile(page, paths[1]).click()
    tile(page, paths[4]).click(modifiers=["Shift"])
    assert selected(page) == [p for p in paths[1:5] if p != "tour/15.jpg"]
    page.keyboard.press("Escape")
    assert selected(page) == []

    first, third = tile(page, paths[0]).bounding_box(), tile(page, paths[2]).bounding_box()
    page.mouse.move(first["x"] + 20, first["y"] + 20)
    page.mouse.down()
    page.mouse.move(third["x"] + 20, third["y"] + 40, steps=4)
    page.mouse.up()
    assert selected(page) == paths[:3]  # and the click at its end changes nothing
    page.click("#clear")

    tile(page, paths[0]).focus()
    page.keyboard.press("ArrowRight")
    expect(tile(page, paths[1])).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    assert selected(page) == paths[1:3]
    page.keyboard.press("Home")
    expect(tile(page, paths[0])).to_be_focused()
    page.keyboard.press("ArrowDown")
    below = page.locator(":focus").bounding_box()
    assert below["y"] > first["y"] + 50
    page.keyboard.press("ArrowUp")
    expect(tile(page, paths[0])).to_be_focused()
    for grid in page.locator(".grid").all():
        assert grid.locator('.tile[tabindex="0"]').count() == 1
    page.keyboard.press("Control+a")
    assert set(selected(page)) >= set(paths[:3])


def test_keys_in_an_empty_field_are_those_of_the_page(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/05.jpg").click()
    page.fill("#name", "owl")
    page.press("#name", "Enter")
    expect(page.locator("#changes")).to_have_text("Changes (1)")
    expect(tile(page, "tour/05.jpg")).to_be_focused()
    page.press("#name", "Control+z")
    expect(page.locator("#changes")).to_have_text("Changes (0)")
    page.press("#name", "Control+y")
    expect(page.locator("#changes")).to_have_text("Changes (1)")
    page.fill("#name", "typed")
    page.press("#name", "Control+z")  # of the typing
    expect(page.locator("#changes")).to_have_text("Changes (1)")


def test_escape_clears_what_was_typed_before_the_selection(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/05.jpg").click()
    page.fill("#find", "tour/05")
    page.fill("#name", "typed")
    page.press("#find", "Escape")
    expect(page.locator("#find")).to_have_value("")
    expect(page.locator("#found")).to_have_text("")
    assert page.locator(".tile:visible").count() == len(PLAIN)
    page.press("#name", "Escape")
    expect(page.locator("#name")).to_have_value("")
    assert selected(page) == ["tour/05.jpg"]
    page.press("#name", "Escape")
    assert selected(page) == []


def test_test_images_cannot_be_labelled(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/15.jpg").click()
    assert selected(page) == []
    expect(page.locator("#said")).to_contain_text("is of the test split")


def test_whole_categories_are_accepted_and_merged(run: Run, open_page, tmp_path: Path):
    page = open_page(run.write_page())
    pictures = data(page)["pictures"]
    doubtful = {p["path"] for p in pictures if p.get("doubtful")}
    sorts = {
        c["name"]: {pictures[n]["path"] for n in c["members"]} for c in data(page)["categories"]
    }
    assert doubtful & sorts["new-1"]
    odd = min(sorts["new-1"] - doubtful)
    tile(page, odd).click()
    page.click("#not")
    category(page, "new-1").get_by_role("button", name="Accept").click()
    accepted = sorts["new-1"] - doubtful - {odd}

    page.get_by_role("button", name="Same? Merge robin and new-2").click()
    expect(page.locator("#name")).to_have_value("robin")
    expect(page.locator("#name")).to_be_focused()
    expect(page.locator("#give")).to_have_text("Merge")
    page.keyboard.press("Enter")
    merged = (sorts["robin"] | sorts["new-2"]) - doubtful - {"tour/15.jpg"}

    shutil.copy(saved(page, tmp_path), run.table)
    labels = run.labels()
    assert {path for path, label in labels.items() if label == "new-1"} == accepted
    assert {path for path, label in labels.items() if label == "robin"} == merged
    assert labels["tour/02.jpg"] == "wren"


def test_hidden_labelled_pictures_go_with_their_category(tmp_path: Path, open_page):
    lines = [f"{path},robin" for path in PLAIN[:12]] + ["tour/12.jpg,wren"]
    run = make_run(tmp_path, "\n".join(["path,label", *lines]))
    page = open_page(run.write_page(most=4))
    category(page, "robin").get_by_role("button", name="Select").click()
    expect(page.locator("#count")).to_have_text("12 selected, 8 not shown")
    category(page, "wren").get_by_role("button", name="Select").click()
    name(page, "wren")
    shutil.copy(saved(page, tmp_path), run.table)
    assert set(run.labels().values()) == {"wren"}


def test_fingers_select_on_a_phone(run: Run, open_page):
    size = {"width": 390, "height": 844}
    page = open_page(run.write_page(), viewport=size, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    tile(page, "tour/05.jpg").tap()
    tile(page, "tour/06.jpg").tap()
    assert set(selected(page)) == {"tour/05.jpg", "tour/06.jpg"}
    tile(page, "tour/05.jpg").tap()
    assert selected(page) == ["tour/06.jpg"]
    box = page.locator("#bar").bounding_box()
    assert (box["x"], box["width"], box["y"] + box["height"]) == (0, 390, 844)
    for button in page.locator("#bar button").all():
        place = button.bounding_box()
        assert 0 <= place["x"] < place["x"] + place["width"] <= 390
    tile(page, "tour/06.jpg").locator(".open").tap()
    expect(page.locator("#whole")).to_be_visible()
    assert selected(page) == ["tour/06.jpg"]


def test_a_category_whose_pictures_are_clicked_off_is_not_merged(run: Run, open_page):
    page = open_page(run.write_page())
    button = category(page, "robin").locator('[data-do="select"]')
    button.click()
    for path in selected(page):
        tile(page, path).click(position={"x": 20, "y": 60})
    expect(page.locator("#count")).to_have_text("Nothing selected")
    expect(button).to_have_attribute("aria-pressed", "false")
    category(page, "new-2").locator('[data-do="select"]').click()
    expect(page.locator("#give")).to_have_text("Name")
    expect(page.locator("#name")).to_have_value("")


def test_a_category_is_deselected_whatever_is_shown_then(run: Run, open_page):
    page = open_page(run.write_page(most=2))
    row = category(page, "new-2")
    row.get_by_role("button", name="Show all").click()
    row.locator('[data-do="select"]').click()
    expect(page.locator("#count")).to_have_text("3 selected")
    row.get_by_role("button", name="Show fewer").click()
    expect(page.locator("#count")).to_contain_text("not shown")
    row.locator('[data-do="select"]').click()
    expect(page.locator("#count")).to_have_text("Nothing selected")


def test_a_typed_name_stays_and_a_proposed_one_goes(run: Run, open_page):
    page = open_page(run.write_page())
    buttons = [category(page, c).locator('[data-do="select"]') for c in ("robin", "new-2", "wren")]
    field = page.locator("#name")
    field.fill("mine")
    for button in buttons:
        button.click()
    expect(field).to_have_value("mine")
    page.click("#clear")
    expect(field).to_have_value("mine")
    field.fill("")
    buttons[1].click()
    expect(field).to_have_value("")
    buttons[0].click()
    expect(field).to_have_value("robin")
    page.click("#clear")
    expect(field).to_have_value("")
    buttons[0].click()
    buttons[1].click()
    expect(field).to_have_value("robin")
    field.fill("")  # to be typed by hand
    tile(page, "tour/09.jpg").click()
    expect(field).to_have_value("")


def test_a_class_of_the_table_stays_yours_without_its_photographs(tmp_path: Path, open_page):
    run = make_run(tmp_path, "path,label\ntour/00.jpg,robin\ntour/01.jpg,robin\ntour/14.jpg,owl\n")
    run.look_again()
    for path in ("tour/00.jpg", "tour/01.jpg"):
        (run.table.parent / path).unlink()
    run.look_again()
    assert "robin" not in run.labels().values()
    page = open_page(run.write_page())
    expect(category(page, "robin").locator(".badge")).to_have_count(0)
    expect(category(page, "new-2").locator(".badge")).to_have_count(1)
    for c in ("robin", "new-2"):
        category(page, c).locator('[data-do="select"]').click()
    expect(page.locator("#name")).to_have_value("robin")


def test_nothing_is_accepted_where_all_is_set_aside(run: Run, open_page):
    page = open_page(run.write_page())
    row = category(page, "new-2")
    row.locator('[data-do="select"]').click()
    page.click("#not")
    row.locator('[data-do="accept"]').click()
    expect(page.locator("#said")).to_have_text(
        "Nothing accepted: all pictures here are doubtful, set aside or of the test split. "
        "Select those that belong here, and name them."
    )
    row.locator('[data-do="select"]').click()
    expect(page.locator("#said")).to_contain_text("Nothing selected: all pictures here")
    expect(row.locator('[data-do="select"]')).to_have_attribute("aria-pressed", "false")


def test_the_tab_key_reaches_every_grid_above_the_bar(run: Run, open_page):
    small = {"viewport": {"width": 1000, "height": 500}, "reduced_motion": "reduce"}
    page = open_page(run.write_page(), **small)
    grids = page.get_by_role("listbox")
    names = grids.evaluate_all("all => all.map((grid) => grid.ariaLabel)")
    assert len(set(names)) == len(names) > 4
    assert "Pictures of new-1: doubtful" in names
    bar, reached = page.locator("#bar").bounding_box()["y"], []
    for _ in range(60):
        page.keyboard.press("Tab")
        place = page.evaluate(
            """() => {
              const at = document.activeElement;
              if (!at.closest("main")) return null;
              const { bottom } = at.getBoundingClientRect();
              return [at.closest(".grid")?.ariaLabel, bottom];
            }"""
        )
        if place is not None:
            assert place[1] <= bar
            reached.append(place[0])
    found = [name for name in reached if name]
    assert found[: len(names)] == names  # and then from the top again


def test_focus_stays_where_the_selection_was_made(run: Run, open_page):
    page = open_page(run.write_page())
    here = tile(page, "tour/05.jpg")
    for button in ("#not", "#clear"):
        here.click()
        page.click(button)
        expect(here).to_be_focused()
    page.click("#undo")  # the only step: the button disables itself
    expect(page.locator("#undo")).to_be_disabled()
    expect(here).to_be_focused()
    here.click()
    name(page, "owl")
    expect(here).to_be_focused()
    page.fill("#find", "tour/06")
    page.click("#undo")
    expect(page.locator("#name")).to_be_focused()  # the tile is hidden


# -- looking ---------------------------------------------------------------------------------------


def show_all(page) -> None:
    buttons = page.get_by_role("button", name="Show all")
    while buttons.count():
        buttons.first.click()


def is_loaded(image) -> None:
    """Wait for an image. The page forbids ``eval``, by which ``wait_for_function`` asks again."""
    expect(image).not_to_have_js_property("naturalWidth", 0)


def natural_size(page) -> list[int]:
    is_loaded(page.locator("#whole img"))
    return page.evaluate(
        "(({naturalWidth: w, naturalHeight: h}) => [w, h])($('whole').children[0])"
    )


def test_the_whole_picture_is_the_original_or_its_thumbnail(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/05.jpg").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#whole .path")).to_have_text("tour/05.jpg")
    assert natural_size(page) == list(SIZE)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#whole .path")).not_to_have_text("tour/05.jpg")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    assert selected(page) == ["tour/05.jpg"]
    page.keyboard.press("Escape")
    expect(page.locator("#whole")).to_be_hidden()
    assert selected(page) == ["tour/05.jpg"]
    expect(tile(page, "tour/05.jpg")).to_be_focused()

    run.table.parent.rename(run.folder / "moved")
    tile(page, "tour/06.jpg").dblclick()
    expect(page.locator("#whole .about")).to_contain_text("This is its thumbnail")
    assert natural_size(page) == [149, 112]  # whole, not a square
    assert selected(page) == ["tour/05.jpg"]


def test_all_pictures_are_reached_and_found(run: Run, open_page, monkeypatch):
    monkeypatch.setattr("gcdflow.categories.gallery_rows._MOST_ON_A_PAGE", 4)
    page = open_page(run.write_page(most=2, thumbs=run.write_thumbnails()))
    at_first = page.locator(".tile").count()
    assert at_first < len(PLAIN)
    show_all(page)
    expect(page.locator(".tile:visible")).to_have_count(len(PLAIN))
    for image in page.locator("main img").all():
        is_loaded(image)
    expect(page.locator("#notice")).to_be_hidden()
    page.get_by_role("button", name="Show fewer").first.click()
    assert page.locator(".tile:visible").count() < len(PLAIN)

    fresh = open_page(page.url)
    fresh.fill("#find", "R/1")
    expect(fresh.locator("#found")).to_have_text("6 pictures found")
    labels = fresh.locator(".tile:visible").evaluate_all("all => all.map((tile) => tile.ariaLabel)")
    assert sorted(label.split(",")[0] for label in labels) == PLAIN[10:]
    fresh.fill("#find", "")
    expect(fresh.locator(".tile:visible")).to_have_count(at_first)


def test_all_pictures_are_in_order_also_after_a_search(run: Run, open_page):
    page = open_page(run.write_page(most=2))
    for text in ("tour/1", "tour/06", ""):
        page.fill("#find", text)
    show_all(page)
    expect(page.locator(".tile:visible")).to_have_count(len(PLAIN))
    members = [c["members"] for c in data(page)["categories"]]
    order = "tiles => tiles.map((tile) => Number(tile.dataset.n))"
    for k, section in enumerate(page.locator("section[data-category]").all()):
        others = section.locator(".extra .tile").evaluate_all(order)
        assert others == [n for n in members[k] if n in others]


def test_left_out_pictures_are_shown_and_named(run: Run, open_page, tmp_path: Path):
    for path, colour in (("odd.jpg", "red"), ("other.jpg", "green"), ("third.jpg", "blue")):
        Image.new("RGB", SIZE, colour).save(run.table.parent / path)
    (run.table.parent / "torn.jpg").write_bytes(b"no image")
    run.look_again()
    table, added = run.beside("assignments.csv"), {"odd.jpg", "other.jpg", "third.jpg", "torn.jpg"}
    found = Assignments.load(table)
    at = [i for i, path in enumerate(found.paths) if path not in added]
    reasons = dict.fromkeys(sorted(added), "resembles no category") | {"torn.jpg": "is torn"}
    found.at(np.array(at), [found.paths[i] for i in at], reasons).save(table)
    seen = run.beside("photographs.npz")
    page = open_page(run.write_page(photographs_path=seen, thumbs=run.write_thumbnails(), most=2))
    section = page.locator("#left-out")
    expect(section).to_contain_text("4 images in no category")
    expect(section.locator("pre")).to_have_text("torn.jpg: is torn\n")
    section.locator("pre").select_text()
    assert "torn.jpg" in page.evaluate("String(getSelection())"), "it can be copied"

    expect(section.locator(".tile:visible")).to_have_count(2)
    section.get_by_role("button", name="Show all 3").click()
    expect(section.locator(".tile:visible")).to_have_count(3)
    expect(tile(page, "odd.jpg")).to_have_attribute("aria-label", "odd.jpg, resembles no category")
    tile(page, "odd.jpg").click()
    name(page, "owl")
    tile(page, "third.jpg").click()
    page.keyboard.press("Enter")
    assert natural_size(page) == list(SIZE)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.fill("#find", "torn")
    expect(page.locator(".tile:visible")).to_have_count(0)
    text = saved(page, tmp_path).read_bytes().decode()
    assert text == TABLE + "\r\nodd.jpg;owl;;\r\n"
    shutil.copy(tmp_path / "downloaded.csv", run.table)
    assert run.labels()["odd.jpg"] == "owl"


def test_a_missing_folder_of_thumbnails_is_told_in_a_line(run: Run, open_page, monkeypatch):
    monkeypatch.setattr("gcdflow.categories.gallery_rows._MOST_ON_A_PAGE", 4)
    address = run.write_page(most=2, thumbs=run.write_thumbnails())
    shutil.rmtree(run.beside("thumbs"))
    page = open_page(address)
    expect(page.locator("#notice")).to_be_hidden()
    show_all(page)
    expect(page.locator("#notice")).to_contain_text("The folder “thumbs” is not beside this page")
    assert "07.jpg" in tile(page, "tour/07.jpg").inner_text()


def test_a_page_without_table_is_for_looking(run: Run, open_page):
    page = open_page(run.write_page(table=None))
    assert page.locator("#bar").count() == 0
    tile(page, "tour/05.jpg").click()
    expect(page.locator("#whole .path")).to_have_text("tour/05.jpg")
    assert natural_size(page) == list(SIZE)
    page.keyboard.press("Escape")
    page.fill("#find", "tour/07")
    expect(page.locator(".tile:visible")).to_have_count(1)


CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = (top, below) => {
    const [r, g, b, alpha = 1] = parts(top);
    return [r, g, b].map((c, i) => alpha * c + (1 - alpha) * below[i]);
  };
  const light = (rgb) => {
    const linear = (c) => (c <= 10.3 ? c / 3294.6 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const contrast = (a, b) => Math.max(light(a) / light(b), light(b) / light(a));
  const style = (selector) => getComputedStyle(document.querySelector(selector));
  const texts = [".tile:not(.aside) .now", ".aside .now"].map((selector) => {
    const { backgroundColor, color } = style(selector);
    return contrast(parts(color).slice(0, 3), over(backgroundColor, [255, 255, 255]));
  });
  const edges = [["#find", "body"], ["#name", "#bar"]].flatMap(([input, around]) => {
    const edge = parts(style(input).borderTopColor);
    const beside = [style(input), style(around)].map((s) => parts(s.backgroundColor));
    return beside.map((colour) => contrast(edge, colour));
  });
  return [Math.min(...texts), Math.min(...edges)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_on_white_pictures_and_edges_of_fields_are_seen(run: Run, open_page, scheme: str):
    page = open_page(run.write_page(), color_scheme=scheme)
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    tile(page, "tour/06.jpg").click()
    page.click("#not")
    texts, edges = page.evaluate(CONTRASTS)
    assert texts >= 4.5  # WCAG 1.4.3
    assert edges >= 3  # WCAG 1.4.11


def test_a_pasted_paragraph_does_not_cover_the_page(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/05.jpg").click()
    page.click("#name")
    page.keyboard.insert_text("a long name " * 100)
    assert len(page.input_value("#name")) == 200
    page.evaluate("say('word '.repeat(2000))")
    assert page.locator("#said").bounding_box()["height"] < 100


def test_only_pictures_are_printed(run: Run, open_page):
    page = open_page(run.write_page())
    page.emulate_media(media="print")
    expect(page.locator("#bar")).to_be_hidden()
    assert page.locator(".scripted:visible").count() == 0


# -- what is not lost ------------------------------------------------------------------------------


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


def test_the_page_works_without_an_address(run: Run, open_page):
    """So it is shown by ``snakemake --report``."""
    run.write_page()
    content = base64.b64encode(run.page.read_bytes()).decode()
    page = open_page("about:blank")
    page.set_content(
        f"<iframe width=1000 height=800 src='data:text/html;base64,{content}'></iframe>"
    )
    frame = page.frame_locator("iframe")
    frame.locator(".tile").nth(5).click()
    expect(frame.locator("#count")).to_have_text("1 selected")


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


def test_what_was_saved_can_be_saved_again(run: Run, open_page, tmp_path: Path):
    page = open_page(run.write_page())
    expect(page.locator("#save")).to_be_disabled()
    tile(page, "tour/05.jpg").click()
    name(page, "owl")
    first = saved(page, tmp_path).read_bytes()
    assert saved(page, tmp_path).read_bytes() == first
    page.reload()
    assert saved(page, tmp_path).read_bytes() == first


def test_an_added_photograph_of_the_test_split_is_locked(run: Run, open_page):
    run.look_again()
    Image.new("RGB", (50, 40), "red").save(run.table.parent / "a.jpg")
    run.table.write_bytes(run.table.read_bytes() + b"\r\na.jpg;;test;\r\n")
    run.look_again()
    page = open_page(run.write_page(photographs_path=run.beside("photographs.npz")))
    tile(page, "a.jpg").click()
    expect(page.locator("#said")).to_contain_text("is of the test split, which has no labels")


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


# -- hostile names ---------------------------------------------------------------------------------

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
