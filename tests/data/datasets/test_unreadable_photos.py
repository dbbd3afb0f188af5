"""Photographs that are missing or cannot be read."""

import re
from pathlib import Path

import pytest
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.photos import catalogue, present_labels, without
from gcdflow.errors import InputError
from gcdflow.files.formats import Split, Truth
from small_photos import ANEW, PATHS, TABLE, split_of, table_of, write
from stage_processes import in_process


def test_listed_images_that_are_missing_or_broken(settings):
    write(settings, TABLE + "d.webp,,,\n")
    expected = r"labels\.csv, line 6: no file d\.webp in \S+/photos; did you mean more/d\.webp\?$"
    with pytest.raises(InputError, match=expected):
        catalogue(settings)
    write(settings, TABLE)
    with open(f"{settings.root}/photos/phone.heic", "wb") as file:
        file.write(b"\0\0\0\x18ftypheic")
    split, _ = split_catalogue(catalogue(settings), settings)
    unreadable = open_images(split.source, split.paths).unreadable(1)
    assert list(unreadable) == ["phone.heic"]
    assert unreadable["phone.heic"].startswith("not a readable image (")


def make_splits(settings, tmp_path) -> tuple[int, str]:
    arguments = ["--settings", settings.model_dump_json()]
    arguments += ["--split", tmp_path / "split.npz", "--truth", tmp_path / "truth.npz"]
    done = in_process("dataset", *arguments)
    return done.returncode, done.stderr


def damage(settings, *paths: str) -> None:
    for path in paths:
        (Path(settings.root) / "photos" / path).write_bytes(b"no picture")


def test_unreadable_photographs_are_left_out(settings, tmp_path):
    damage(settings, "more/d.webp", "f.jpg")
    (Path(settings.root) / "photos" / "link.jpg").symlink_to("gone.jpg")
    code, said = make_splits(settings, tmp_path)
    assert code == 0, said
    reason = "not a readable image (whatever its name says, its content is no known image format)"
    photos = f"{settings.root}/photos"
    assert f"warning: {photos}/more/d.webp: {reason}\n" in said
    assert f"warning: {photos}/f.jpg: {reason}\n" in said
    expected = "3 of 7 photographs cannot be read and are left out; no label is left of crow\n"
    assert f"warning: {photos}: {expected}" in said
    assert said.endswith(
        "photos: 4 samples, 3 for training (1 labelled), 2 classes (1 old); 3 left out\n"
    )
    split, truth = Split.load(tmp_path / "split.npz"), Truth.load(tmp_path / "truth.npz")
    assert split.paths.tolist() == ["c.JPG", "a.jpg", "b.png", "more/e.jpg"]
    assert split.labels.tolist() == [0, -1, -1, -1]
    assert truth.class_names.tolist() == ["robin", "wren"]
    assert truth.labels.tolist() == [0, 1, 0, -1]
    left_out = {"more/d.webp": reason, "f.jpg": reason, "link.jpg": "no such image"}
    assert split.left_out == left_out
    assert list(split.left_out) == sorted(left_out)


def test_excluded_photographs_do_not_count_as_new(settings, caplog):
    damage(settings, "more/d.webp", "f.jpg")
    found = catalogue(settings)
    unreadable = dict.fromkeys(["more/d.webp", "f.jpg"], "torn")
    split, _ = split_catalogue(without(settings, found, unreadable), settings)
    caplog.clear()
    _, words = present_labels(table_of(settings), split, ANEW)
    assert caplog.messages == []
    assert words == "0 added, 0 changed, 0 removed since training began"
    (Path(settings.root) / "photos" / "more" / "d.webp").unlink()  # although the table lists it
    present_labels(table_of(settings), split, ANEW)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (PATHS, r"photos: 6 of 6 images cannot be read: c\.JPG: not .* too many to leave out"),
        (PATHS[:4], r"photos: 4 of 6 images cannot be read: .* too many to leave out, put good"),
        (
            ["c.JPG", "more/d.webp"],
            r"no photograph in the folder has a label; .* \(2 of 6 images cannot be read: c\.",
        ),
    ],
)
def test_too_few_photographs_are_left(settings, tmp_path, paths, message):
    damage(settings, *paths)
    code, said = make_splits(settings, tmp_path)
    assert code == 2
    assert re.search(message, said.splitlines()[-1])
    assert not (tmp_path / "split.npz").exists()


def test_nothing_to_sort_is_left(settings, tmp_path):
    write(settings, "path,label\n" + "".join(f"{path},x\n" for path in PATHS[1:]))
    damage(settings, "a.jpg")
    code, said = make_splits(settings, tmp_path)
    assert code == 2
    assert "every image has a label already; there is nothing to sort (1 of 6 images" in said


def test_a_photograph_that_breaks_later_is_an_error(settings):
    split = split_of(settings)
    damage(settings, "f.jpg")
    images = open_images(split.source, split.paths)
    with pytest.raises(InputError, match=r"photos/f\.jpg: not a readable image"):
        images.read(range(len(images)))
