"""HTML pages of the tables: every kind of Markdown block, and escaped names."""

from __future__ import annotations

import re

from gcdflow.evaluation.page import as_page
from gcdflow.evaluation.report import COLUMNS, markdown_table
from test_report import metrics


def cells(page: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}[^>]*>([^<]*)</{tag}>", page)


def test_a_table_has_its_columns_and_rows():
    table = markdown_table([metrics(50), metrics(75)])
    page = as_page(f"# a run\n\nAccuracy in\npercent.\n\n{table}\n")
    assert cells(page, "title") == cells(page, "h1") == ["a run"]
    assert cells(page, "p") == ["Accuracy in\npercent."]
    assert tuple(cells(page, "th")) == COLUMNS
    rows = cells(page, "td")
    assert len(rows) == 2 * len(COLUMNS)
    assert [rows[0], rows[len(COLUMNS)]] == ["050", "075"]
    assert page.count('<td style="text-align: right;">') == len(rows)


def test_text_columns_lists_and_code():
    table = "| setting | runs |\n| ------- | ---: |\n| a       |    2 |\n"
    page = as_page(f"{table}\nMissing:\n\n- `b`: no `m.json`\n- c\n")
    assert '<tr>\n<td>a</td>\n<td style="text-align: right;">2</td>\n</tr>' in page
    lines = "<ul>\n<li><code>b</code>: no <code>m.json</code></li>\n<li>c</li>\n</ul>"
    assert lines in page


def test_text_is_no_markup():
    page = as_page("# <b>&\n\n<div>\n\n| x |\n| - |\n| <script> |\n")
    assert "<script>" not in page
    assert "<h1>&lt;b&gt;&amp;</h1>" in page
    assert "<p>&lt;div&gt;</p>" in page
    assert "<title>&lt;b&gt;&amp;</title>" in page
    assert "<td>&lt;script&gt;</td>" in page
