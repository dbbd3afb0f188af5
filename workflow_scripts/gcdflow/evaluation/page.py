"""Convert the tables of runs to HTML."""

from __future__ import annotations

from html import escape

from markdown import Markdown

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
</style>
</head>
<body>
{body}
</body>
</html>
"""


def as_page(text: str) -> str:
    """Convert Markdown, of which the first line is the title, to an HTML page."""
    converter = Markdown(extensions=["tables"])
    converter.preprocessors.deregister("html_block")  # text is no markup
    converter.inlinePatterns.deregister("html")
    title = text.partition("\n")[0].removeprefix("# ")
    return _PAGE.format(title=escape(title), body=converter.convert(text))
