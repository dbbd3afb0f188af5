"""A folder of photographs with a table of labels, as tests of ``photos`` use it."""

import pytest
from gcdflow.config.settings import PhotosSettings
from PIL import Image
from small_photos import PATHS, TABLE


@pytest.fixture
def settings(tmp_path) -> PhotosSettings:
    """Settings of the folder of photographs that ``small_photos.py`` describes."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    for number, path in enumerate([*PATHS, ".hidden/x.jpg"]):
        Image.new("RGB", (8 + number, 9), (number, 0, 0)).save(folder / path)
    (folder / "notes.txt").write_text("no picture")
    (folder / "labels.csv").write_text(TABLE)
    return PhotosSettings(root=str(tmp_path), folder="photos")
