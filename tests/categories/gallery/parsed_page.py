"""The page of the gallery as text: its tags, data and images."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

from PIL import Image

VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Start tags with their attributes, and whether the tags nest."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def thumbnails(self) -> list[dict]:
        """The images of the tiles; the view of a whole picture has none yet."""
        return [image for image in self.all("img") if "src" in image]

    @property
    def data(self) -> dict:
        """What the scripts know."""
        return json.loads(self.scripts[0])


def decoded(uri: str) -> Image.Image:
    kind, text = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", uri).groups()
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert image.format.lower() == kind
    return image
