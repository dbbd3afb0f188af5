"""A small folder of photographs with a table of labels."""

from pathlib import Path

from gcdflow.config.settings import PhotosSettings
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.photos import catalogue

ANEW = "snakemake --cores all runs/mine/gallery.html --forcerun dataset"
PATHS = ["a.jpg", "b.png", "c.JPG", "more/d.webp", "more/e.jpg", "f.jpg"]
TABLE = """path,label,split,truth
c.JPG,robin,,
a.jpg,,train,wren
more/d.webp,crow,train,crow
b.png,,test,robin
"""


def table_of(settings) -> Path:
    return Path(settings.root) / "photos" / "labels.csv"


def write(settings: PhotosSettings, text: str, **options):
    table_of(settings).write_text(text, newline="", **({"encoding": "utf-8"} | options))


def split_of(settings):
    return split_catalogue(catalogue(settings), settings)[0]
