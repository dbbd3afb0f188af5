"""Every picture is reached, found and shown whole, and the page can be read."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from gallery_page import data, expect, is_loaded, name, natural_size, saved, selected, shown, tile
from gcdflow.categories.assignments import Assignments
from photo_gallery import PLAIN, SIZE, TABLE, Run
from PIL import Image


def show_all(page) -> None:
    buttons = page.get_by_role("button", name="Show all")
    while buttons.count():
        buttons.first.click()


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
    assert sorted(shown(fresh, ".tile:visible")) == PLAIN[10:]
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
