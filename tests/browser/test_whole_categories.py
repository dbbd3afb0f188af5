"""Whole categories are selected, accepted and merged."""

from __future__ import annotations

import shutil
from pathlib import Path

from gallery_page import category, data, expect, name, saved, selected, tile
from photo_gallery import PLAIN, Run, make_run


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


def test_a_search_limits_what_a_category_selects(tmp_path: Path, open_page):
    lines = [f"{path},robin" for path in PLAIN[:12]] + ["tour/12.jpg,wren"]
    run = make_run(tmp_path, "\n".join(["path,label", *lines]))
    page = open_page(run.write_page())
    page.fill("#find", "tour/05")
    category(page, "robin").locator('[data-do="select"]').click()
    assert selected(page) == ["tour/05.jpg"]
    expect(page.locator("#count")).to_have_text("1 selected")


def test_a_merger_takes_the_name_of_the_largest_category(tmp_path: Path, open_page):
    lines = [f"{path},robin" for path in PLAIN[:2]] + [f"{path},wren" for path in PLAIN[2:9]]
    run = make_run(tmp_path, "\n".join(["path,label", *lines]))
    page = open_page(run.write_page())
    sizes = {c["name"]: len(c["members"]) for c in data(page)["categories"]}
    smaller, larger = sorted(("robin", "wren"), key=sizes.get)
    assert sizes[smaller] < sizes[larger]
    for names in ((smaller, larger), (larger, smaller)):
        for c in names:
            category(page, c).locator('[data-do="select"]').click()
        expect(page.locator("#name")).to_have_value(larger)
        page.click("#clear")
