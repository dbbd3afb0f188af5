"""Photographs that come, go and move: which is which, and which label it has."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import PhotosSettings
from gcdflow.data.datasets import seen_photos
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.photos import catalogue, present_labels, without
from gcdflow.data.datasets.seen_photos import catalogue_again, content_id, see_photographs
from gcdflow.errors import InputError
from gcdflow.files.atomic import sha256_file
from gcdflow.files.formats import Photographs, load_kept
from PIL import Image

LABELS = {"a.jpg": "owl", "b.jpg": "owl", "c.jpg": "jay", "d.jpg": "", "e.jpg": ""}


class Folder:
    """A folder of photographs, its table and its run."""

    def __init__(self, root: Path):
        self.path, self.split_path = root / "photos", root / "split.npz"
        self.path.mkdir()
        for name in LABELS:
            self.draw(name)
        self.write(LABELS)
        self.train()
        self.seen: Photographs | None = None

    def draw(self, name: str, colour: int | None = None) -> None:
        """A picture whose content is its colour."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = ord(path.stem[0]) if colour is None else colour
        Image.new("RGB", (9, 8), (grey, 0, 0)).save(path, format="png")

    def write(self, labels: dict[str, str]) -> None:
        text = "".join(f"{path},{label}\n" for path, label in labels.items())
        (self.path / "labels.csv").write_text(f"path,label\n{text}")

    def train(self) -> None:
        settings = PhotosSettings(root=str(self.path.parent))
        found = catalogue_again(settings, self.split_path.with_name("photographs.npz"), 2)
        self.split, _ = split_catalogue(found, settings)
        self.split.save(self.split_path)

    def look(self, **options) -> dict[str, str]:
        """What is where now: samples by the paths that they had in training, or ``+`` if added."""
        seen = see_photographs(self.split_path, self.seen, 2, **options)
        if not options:
            seen.save(self.split_path.with_name("photographs.npz"))
            self.seen = Photographs.load(self.split_path.with_name("photographs.npz"))
        home = dict(zip(self.split.indices.tolist(), self.split.paths.tolist(), strict=True))
        rows = zip(seen.paths.tolist(), seen.indices.tolist(), seen.present.tolist(), strict=True)
        return {path: home.get(number, "+") for path, number, present in rows if present}

    def labels(self) -> dict[str, str]:
        """Label of each sample by its path in training, and of added ones by their ids."""
        seen = see_photographs(self.split_path, self.seen, 2, for_labels=True)
        labels, _ = present_labels(self.path / "labels.csv", self.split, "mine", seen)
        home = dict(zip(self.split.indices.tolist(), self.split.paths.tolist(), strict=True))
        names = [*labels.class_names.tolist(), ""]
        return {
            home.get(number, str(number)): names[label]
            for number, label in zip(labels.indices.tolist(), labels.labels.tolist(), strict=True)
        }

    def id_of(self, name: str) -> str:
        return str(content_id(sha256_file(self.path / name)))


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the photographs whose content is read, as it happens."""
    names, real = [], seen_photos.hashlib.file_digest

    def digest(file, kind):
        if Path(file.name).parent.name == "photos":
            names.append(Path(file.name).name)
        return real(file, kind)

    monkeypatch.setattr(seen_photos.hashlib, "file_digest", digest)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


HOME = {name: name for name in LABELS}


def test_nothing_changed(folder: Folder, caplog):
    with caplog.at_level(logging.INFO):
        assert folder.look() == folder.look() == HOME
    assert "5 photographs: 0 added, 0 renamed or moved, 0 removed since training" in caplog.text
    assert folder.labels() == LABELS
    expected = [sha256_file(folder.path / name) for name in folder.split.paths]
    assert folder.seen.sample_sha256.tolist() == expected


def test_added_renamed_moved_and_removed(folder: Folder, caplog):
    folder.look()
    folder.draw("new/x.png")
    (folder.path / "a.jpg").rename(folder.path / "z.jpg")
    (folder.path / "d.jpg").rename(folder.path / "new" / "d.jpg")
    (folder.path / "e.jpg").unlink()
    expected = {"b.jpg": "b.jpg", "c.jpg": "c.jpg", "new/d.jpg": "d.jpg", "z.jpg": "a.jpg"}
    with caplog.at_level(logging.INFO):
        assert folder.look() == expected | {"new/x.png": "+"}
    assert "5 photographs: 1 added, 2 renamed or moved, 1 removed since training" in caplog.text
    at = folder.seen.paths.tolist().index("new/x.png")
    assert str(folder.seen.indices[at]) == folder.id_of("new/x.png")
    # Again to another place: what it is does not depend on where it was in between.
    (folder.path / "z.jpg").rename(folder.path / "y.jpg")
    folder.draw("e.jpg")
    assert folder.look()["y.jpg"] == "a.jpg"
    assert folder.look()["e.jpg"] == "e.jpg"


def test_only_new_and_changed_files_are_read(folder: Folder, read: list[str]):
    folder.look()
    assert sorted(read) == list(LABELS)
    read.clear()
    folder.look()
    folder.draw("x.png")
    folder.draw("c.jpg", colour=7)
    (folder.path / "a.jpg").rename(folder.path / "z.jpg")
    os.utime(folder.path / "b.jpg", ns=(1, 1))
    folder.look()
    assert sorted(read) == ["b.jpg", "c.jpg", "x.png", "z.jpg"]
    read.clear()
    assert folder.look()["c.jpg"] == "+"
    assert read == []


def test_names_that_change_hands(folder: Folder):
    folder.look()
    for old, new in (("a", "t"), ("b", "a"), ("t", "b")):
        (folder.path / f"{old}.jpg").rename(folder.path / f"{new}.jpg")
    assert folder.look() == HOME | {"a.jpg": "b.jpg", "b.jpg": "a.jpg"}
    folder.write(LABELS | {"a.jpg": "tit"})
    assert folder.labels() == LABELS | {"b.jpg": "tit"}  # a line means what is at its path now


def test_all_numbers_move_up(folder: Folder):
    folder.look()
    (folder.path / "a.jpg").unlink()
    for name in "bcde":
        (folder.path / f"{name}.jpg").rename(folder.path / f"{chr(ord(name) - 1)}.jpg")
    assert folder.look() == {f"{chr(ord(name) - 1)}.jpg": f"{name}.jpg" for name in "bcde"}


def test_a_picture_that_was_edited_is_another_one_under_its_label(folder: Folder):
    folder.look()
    folder.draw("a.jpg", colour=9)
    assert folder.look() == HOME | {"a.jpg": "+"}
    labels = folder.labels()
    assert labels.pop(folder.id_of("a.jpg")) == "owl"
    assert labels == LABELS | {"a.jpg": ""}
    folder.draw("a.jpg")  # taken back
    assert folder.look() == HOME


def test_copies(folder: Folder):
    folder.look()
    shutil.copy(folder.path / "a.jpg", folder.path / "copy.jpg")
    assert folder.look() == HOME | {"copy.jpg": "+"}
    (folder.path / "a.jpg").unlink()
    without = {name: name for name in LABELS if name != "a.jpg"}
    assert folder.look() == without | {"copy.jpg": "a.jpg"}
    shutil.copy(folder.path / "copy.jpg", folder.path / "0 copy.jpg")
    # The first copy stays the sample, although another one comes before it.
    assert folder.look() == without | {"copy.jpg": "a.jpg", "0 copy.jpg": "+"}


def test_copies_among_the_samples(folder: Folder):
    shutil.copy(folder.path / "a.jpg", folder.path / "f.jpg")
    folder.train()
    folder.look()
    for name in "af":
        (folder.path / f"{name}.jpg").rename(folder.path / f"{name} moved.jpg")
    found = folder.look()
    assert {found["a moved.jpg"], found["f moved.jpg"]} == {"a.jpg", "f.jpg"}


def test_former_names_mean_the_photograph_until_its_present_name_is_listed(folder: Folder):
    folder.look()
    (folder.path / "a.jpg").rename(folder.path / "z.jpg")
    (folder.path / "c.jpg").unlink()
    folder.draw("x.png")
    folder.look()
    (folder.path / "x.png").rename(folder.path / "y.png")
    folder.look()
    folder.write(LABELS | {"x.png": "tit"})
    assert folder.labels() == LABELS | {folder.id_of("y.png"): "tit"}
    folder.write(LABELS | {"z.jpg": "tit", "y.png": "jay"})
    assert folder.labels() == LABELS | {"a.jpg": "tit", folder.id_of("y.png"): "jay"}


def test_lines_that_disagree_on_one_photograph(folder: Folder):
    folder.look()
    folder.draw("x.png")
    shutil.copy(folder.path / "x.png", folder.path / "y.png")
    folder.write(LABELS | {"x.png": "tit", "y.png": "jay"})
    with pytest.raises(
        InputError, match=r"line 8: y\.png has the same content as x\.png of line 7"
    ):
        folder.labels()
    folder.write(LABELS | {"x.png": "tit", "y.png": "tit"})
    assert folder.labels()[folder.id_of("x.png")] == "tit"
    (folder.path / "x.png").rename(folder.path / "z.png")
    (folder.path / "y.png").unlink()
    folder.look()
    (folder.path / "z.png").rename(folder.path / "0.png")
    folder.look()
    folder.write(LABELS | {"z.png": "tit", "a.jpg": "owl", "0.png": ""})
    assert folder.id_of("0.png") not in folder.labels()  # its present line says nothing


def test_a_path_that_no_photograph_ever_had(folder: Folder):
    folder.look()
    folder.write(LABELS | {"nowhere.jpg": "owl"})
    expected = r"labels\.csv, line 7: no file nowhere\.jpg in .*; correct the path, or remove"
    with pytest.raises(InputError, match=expected):
        folder.labels()


def test_labels_before_anything_was_seen_read_only_what_is_new(folder: Folder, read: list[str]):
    folder.draw("x.png")
    number = folder.id_of("x.png")
    read.clear()
    folder.write(LABELS | {"x.png": "tit"})
    assert folder.labels() == LABELS | {number: "tit"}
    assert read == ["x.png"]


def test_what_cannot_be_opened_is_listed(folder: Folder):
    (folder.path / "link.jpg").symlink_to("gone.jpg")
    os.mkfifo(folder.path / "pipe.jpg")
    assert folder.look() == HOME
    assert folder.seen.left_out == {
        "link.jpg": "no such image",
        "pipe.jpg": "not a readable image (no file, but a folder, a pipe or a device)",
    }


def test_samples_in_places_where_only_the_table_finds_them(folder: Folder):
    folder.draw(".hidden/a.jpg", colour=3)
    folder.draw("scan", colour=4)
    folder.write(LABELS | {".hidden/a.jpg": "owl", "scan": ""})
    folder.train()
    assert folder.look() == HOME | {".hidden/a.jpg": ".hidden/a.jpg", "scan": "scan"}


def test_a_new_training_takes_what_is_there(folder: Folder):
    folder.look()
    folder.draw("x.png")
    (folder.path / "a.jpg").rename(folder.path / "z.jpg")
    folder.look()
    folder.write({"z.jpg": "owl", "x.png": ""})
    folder.train()
    there = ["b.jpg", "c.jpg", "d.jpg", "e.jpg", "x.png", "z.jpg"]
    assert folder.look() == {name: name for name in there}
    folder.write({"a.jpg": "jay"})
    assert folder.labels()["z.jpg"] == "jay"  # its name before


def test_a_new_training_knows_photographs_that_moved_or_went(folder: Folder, caplog):
    """Their lines stay as they are in the table, where labels counted all the time."""
    caplog.set_level(logging.INFO)
    folder.draw("x.png")
    folder.look()
    (folder.path / "owls").mkdir()
    (folder.path / "a.jpg").rename(folder.path / "owls" / "a.jpg")
    (folder.path / "x.png").rename(folder.path / "owls" / "x.png")
    (folder.path / "c.jpg").unlink()
    labels = LABELS | {"x.png": "tit", "e.jpg": "wren"}
    folder.write(labels)
    folder.train()
    named = folder.split.old_class_names.tolist()
    trained = dict(zip(folder.split.paths.tolist(), folder.split.labels.tolist(), strict=True))
    expected = {"owls/a.jpg": "owl", "b.jpg": "owl", "e.jpg": "wren", "owls/x.png": "tit"}
    assert {path: named[i] for path, i in trained.items() if i >= 0} == expected
    assert trained.keys() - expected.keys() == {"d.jpg"}
    assert "1 line of photographs that are gone: ignored (first: line 4, c.jpg)" in caplog.text
    folder.look()
    now = {path: label for path, label in folder.labels().items() if path in trained}
    assert now == expected | {"d.jpg": ""}, "the stage of labels agrees"

    folder.write(labels | {"owls/a.jpg": "jay"})  # a line of the present path counts
    folder.train()
    assert folder.split.old_class_names.tolist() == ["jay", "owl", "tit", "wren"]
    folder.write(labels | {"never.jpg": "owl"})
    with pytest.raises(InputError, match=r"line 8: no file never\.jpg in"):
        folder.train()
    folder.look()
    (folder.path / "b.jpg").rename(folder.path / "owls" / "b.jpg")
    folder.look()
    (folder.path / "owls" / "b.jpg").rename(folder.path / "b2.jpg")
    folder.write(labels | {"owls/b.jpg": "jay"})
    with pytest.raises(InputError, match=r"owls/b\.jpg is now the same photograph as b\.jpg of"):
        folder.train()


def test_a_list_of_another_folder_is_no_help(folder: Folder, tmp_path: Path):
    folder.look()
    folder.path.rename(tmp_path / "others")
    (tmp_path / "others" / "a.jpg").rename(tmp_path / "others" / "z.jpg")
    settings = PhotosSettings(root=str(tmp_path), folder="others")
    with pytest.raises(InputError, match=r"line 2: no file a\.jpg in \S+/others"):
        catalogue_again(settings, tmp_path / "photographs.npz", 1)


def test_what_could_not_be_read_at_first_was_not_added(folder: Folder, caplog):
    (folder.path / "torn.jpg").write_bytes(b"torn")
    settings = PhotosSettings(root=str(folder.path.parent))
    found = without(settings, catalogue(settings), {"torn.jpg": "torn"})
    split_catalogue(found, settings)[0].save(folder.split_path)
    with caplog.at_level(logging.INFO):
        see_photographs(folder.split_path, None, 1)
    expected = "6 photographs: 0 added, 0 renamed or moved, 0 removed since training began; 1 could"
    assert expected in caplog.text


def test_a_damaged_list_is_made_again(folder: Folder, tmp_path: Path, caplog):
    folder.look()
    path = tmp_path / "photographs.npz"
    path.write_bytes(path.read_bytes()[:200])
    assert load_kept(Photographs, path) is None
    assert "photographs.npz: not a readable .npz file" in caplog.text
    assert load_kept(Photographs, tmp_path / "absent.npz") is None


def test_folders_without_photographs(folder: Folder, make_split, tmp_path: Path):
    for name in LABELS:
        (folder.path / name).unlink()
    with pytest.raises(InputError, match="photos: holds no photographs; put them there"):
        folder.look()
    shutil.rmtree(folder.path)
    with pytest.raises(InputError, match=r"dataset\.folder: no folder of photographs at"):
        folder.look()
    make_split().save(tmp_path / "digits.npz")
    with pytest.raises(InputError, match="is not of a folder of photographs"):
        see_photographs(tmp_path / "digits.npz", None, 1)


def test_a_name_that_is_no_text(folder: Folder):
    with open(os.fsencode(folder.path) + b"/\xff.jpg", "wb"):
        pass
    with pytest.raises(InputError, match=r"the file name '\\udcff\.jpg' is not UTF-8; rename it"):
        folder.look()


def test_ids_of_contents_are_no_ids_of_samples():
    assert content_id("f" * 64) == 2**60 - 1
    assert np.int64(content_id("f" * 64)) > 0
