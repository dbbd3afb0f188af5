"""Convert the tables of runs to HTML; this covers only the Markdown that this package writes."""

from __future__ import annotations

import itertools
import re
from html import escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ margin: 2rem; color: #1f2023; background: #fcfcfb; font: 15px/1.5 system-ui, sans-serif; }}
p {{ max-width: 50rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #e4e4df; text-align: left; }}
th {{ color: #6a6b70; font-weight: 600; white-space: nowrap; }}
.number {{ text-align: right; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def as_page(text: str) -> str:
    """Convert Markdown with one title, paragraphs, lists, tables and `code` to an HTML page.

    Parameters
    ----------
    text : str
        Blocks that are separated by empty lines.
    """
    blocks = [block.splitlines() for block in re.split(r"\n{2,}", text.strip())]
    title = next((lines[0][2:] for lines in blocks if lines[0].startswith("# ")), "")
    return _PAGE.format(title=escape(title), body="\n".join(map(_block, blocks)))


def _block(lines: list[str]) -> str:
    if lines[0].startswith("# "):
        return f"<h1>{_inline(lines[0][2:])}</h1>"
    if lines[0].startswith("- "):
        return "<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>"
    if lines[0].startswith("|"):
        return _table(lines)
    return f"<p>{_inline(' '.join(lines))}</p>"


def _table(lines: list[str]) -> str:
    """A table; a colon at the end of a cell of the second line marks a column of numbers."""
    header, rule, *rows = ([cell.strip() for cell in line.strip(" |").split("|")] for line in lines)
    kinds = [' class="number"' if cell.endswith(":") else "" for cell in rule]

    def row(cells: list[str], name: str) -> str:
        pairs = itertools.zip_longest(cells, kinds, fillvalue="")
        return "<tr>" + "".join(f"<{name}{k}>{_inline(c)}</{name}>" for c, k in pairs) + "</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    return f"<table>\n<thead>{row(header, 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _inline(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))
