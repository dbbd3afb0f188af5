"""Pictures are selected with the mouse, with fingers and with the keyboard."""

from __future__ import annotations

from gallery_page import expect, name, selected, shown, tile
from photo_gallery import PLAIN, Run
from PIL import Image


def test_ranges_frames_and_keys(run: Run, open_page):
    page = open_page(run.write_page())
    paths = shown(page)
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


def test_test_images_cannot_be_labelled(run: Run, open_page):
    page = open_page(run.write_page())
    tile(page, "tour/15.jpg").click()
    assert selected(page) == []
    expect(page.locator("#said")).to_contain_text("is of the test split")


def test_an_added_photograph_of_the_test_split_is_locked(run: Run, open_page):
    run.look_again()
    Image.new("RGB", (50, 40), "red").save(run.table.parent / "a.jpg")
    run.table.write_bytes(run.table.read_bytes() + b"\r\na.jpg;;test;\r\n")
    run.look_again()
    page = open_page(run.write_page(photographs_path=run.beside("photographs.npz")))
    tile(page, "a.jpg").click()
    expect(page.locator("#said")).to_contain_text("is of the test split, which has no labels")


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


def test_a_range_from_a_picture_that_was_clicked_off_is_taken_off(run: Run, open_page):
    page = open_page(run.write_page())
    paths = [path for path in shown(page) if path != "tour/15.jpg"]
    tile(page, paths[0]).click()
    tile(page, paths[4]).click(modifiers=["Shift"])
    assert selected(page) == paths[:5]
    tile(page, paths[1]).click()
    tile(page, paths[3]).click(modifiers=["Shift"])
    assert selected(page) == [paths[0], paths[4]]
