"""XMP sidecars: what a parser finds in them, where they lie, and which images have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from gcdflow.categories.assignments import Assignments
from gcdflow.categories.sidecars import write_sidecars, xmp_packet
from gcdflow.errors import InputError
from gcdflow.files.formats import Split
from small_tables import run_of, table_of

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"
PATHS = ["a/1.jpg", "b/1.jpg", "b/1.png", "two\nlines.jpg", "ünder/</rdf:li>&.jpg", "sure.jpg"]
NAMES = ["tit", "Meise & Ähre", "new-1", '<b>"it\'s"</b>', "tit", "tit"]


def keywords(packet: bytes | str) -> list[str]:
    """The keywords of a packet, found by the names that the standard gives them."""
    root = ElementTree.fromstring(packet)
    assert root.tag == "{adobe:ns:meta/}xmpmeta"
    (rdf,) = root
    (description,) = rdf
    assert (rdf.tag, description.tag) == (f"{RDF}RDF", f"{RDF}Description")
    assert description.attrib == {f"{RDF}about": ""}
    (subject,) = description
    (bag,) = subject
    assert (subject.tag, bag.tag) == (f"{DC}subject", f"{RDF}Bag")
    assert {item.tag for item in bag} == {f"{RDF}li"}
    return [item.text for item in bag]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run on images, one of which is doubtful and one labelled."""
    confidences = [0.1] + [0.9] * (len(PATHS) - 1)  # much less than the rest of `tit`
    others = {"labels": ["", NAMES[1], "", "", "", ""], "suggested": ["", "tit", "", "", "", ""]}
    others["left_out"] = {"broken.jpg": "cannot be read"}
    return run_of(tmp_path, table_of(PATHS, NAMES, confidences, **others), "photos", NAMES[1])


def write(run: Path) -> str:
    return write_sidecars(run / "split.npz", run / "a.csv", run / "sidecars")


def test_each_image_that_is_not_doubtful_has_its_category_as_a_keyword(run: Path, tmp_path: Path):
    def images() -> dict[Path, tuple[int, int]]:
        found = ((path, path.stat()) for path in (tmp_path / "images").rglob("*"))
        return {path: (status.st_ino, status.st_mtime_ns) for path, status in found}

    before = images()
    assert write(run) == "5 sidecars of 4 categories; 1 doubtful left out"
    folder = run / "sidecars"
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {p.relative_to(folder).as_posix(): keywords(p.read_bytes()) for p in files}
    expected = zip(PATHS[1:], NAMES[1:], strict=True)
    assert found == {f"{path}.xmp": [name] for path, name in expected}
    assert images() == before
    assert sorted(path.name for path in run.iterdir()) == ["a.csv", "sidecars", "split.npz"]


def test_a_packet_begins_and_ends_as_the_standard_says():
    packet = xmp_packet("tit")
    assert packet.startswith('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n')
    assert packet.endswith('<?xpacket end="w"?>\n')


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a\tb\nc\rd", "a\tb\nc\rd"),
        ("]]>&amp;", "]]>&amp;"),
        ("\x00bell\x07\x1b\ufffe", "\ufffdbell\ufffd\ufffd\ufffd"),
        ("👩‍🌾 {keyword} שלום", "👩‍🌾 {keyword} שלום"),
    ],
)
def test_any_name_is_a_keyword(name: str, read: str):
    assert keywords(xmp_packet(name)) == [read]


@pytest.mark.parametrize("path", ["../out.jpg", "/out.jpg", "a/../../out.jpg"])
def test_nothing_is_written_outside_the_folder(run: Path, path: str):
    table = Assignments.load(run / "a.csv")
    changed = replace(table, paths=[*PATHS[:-1], path])
    changed.save(run / "a.csv")
    with pytest.raises(InputError, match=r"a\.csv: '.*out\.jpg' is not the path of an image"):
        write(run)
    assert sorted(p.name for p in run.iterdir()) == ["a.csv", "split.npz"]


def test_images_in_memory_have_no_sidecars(run: Path):
    split = Split.load(run / "split.npz")
    in_memory = replace(split, source={"dataset": "digits"}, paths=np.array([], dtype=np.str_))
    in_memory.save(run / "split.npz")
    with pytest.raises(InputError, match="'digits' has no image files"):
        write(run)


def test_a_folder_that_cannot_be_written_is_one_sentence(run: Path):
    (run / "sidecars").write_text("a file")
    with pytest.raises(InputError, match="sidecars"):
        write(run)
    assert (run / "sidecars").read_text() == "a file"
