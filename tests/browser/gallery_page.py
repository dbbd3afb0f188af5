"""What tests see and do on the page of the gallery; without a browser, they are skipped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = sync_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
if CHROMIUM is None:
    reason = "no Chromium in PATH (Debian: apt-get install chromium)"
    pytest.skip(reason, allow_module_level=True)


def data(page) -> dict:
    return json.loads(page.locator("#data").text_content())


def tile(page, path: str):
    number = next(n for n, p in enumerate(data(page)["pictures"]) if p["path"] == path)
    return page.locator(f'.tile[data-n="{number}"]')


def shown(page, tiles: str = ".tile") -> list[str]:
    """Paths of the pictures of tiles, in the order of the page."""
    labels = page.locator(tiles).evaluate_all("all => all.map((tile) => tile.ariaLabel)")
    return [label.split(",")[0] for label in labels]


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


def is_loaded(image) -> None:
    """Wait for an image. The page forbids ``eval``, by which ``wait_for_function`` asks again."""
    expect(image).not_to_have_js_property("naturalWidth", 0)


def natural_size(page) -> list[int]:
    is_loaded(page.locator("#whole img"))
    return page.evaluate(
        "(({naturalWidth: w, naturalHeight: h}) => [w, h])($('whole').children[0])"
    )
