"""A browser, pages that it opens, and a run whose page is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from photo_gallery import TABLE, Run, make_run


@pytest.fixture(scope="module")
def browser() -> Iterator:
    from gallery_page import CHROMIUM, sync_api  # not above: it skips what imports it

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
