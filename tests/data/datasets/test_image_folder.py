"""Small folders of images: any dataset, Herbarium 19, ImageNet-100."""

import json
import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from gcdflow.config.settings import BenchmarkSettings, ImageFolderSettings
from gcdflow.data.datasets import image_folder, open_images
from gcdflow.data.datasets.catalogue import published_split, split_catalogue
from gcdflow.errors import InputError
from PIL import Image


def write_images(folder: Path, *names: str) -> None:
    """Write images of one pixel; their colour is the length of their path in the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1, 1), (len(name), 0, 0)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three classes; `bee` has images in subfolders, `ant` has no test images."""
    folder = tmp_path / "images"
    write_images(folder / "train" / "ant", "b.png", "a.png", "c.bmp")
    write_images(folder / "train" / "bee", "z.png", "wild/1.png", "wild/deep/2.png", "tame/3.png")
    write_images(folder / "train" / "Cat", "1.webp", "2.tiff", "10.PNG")
    write_images(folder / "val" / "bee", "v.png")
    write_images(folder / "val" / "Cat", "w/v.png", "a.png")
    (folder / "train" / "ant" / "notes.txt").write_text("no image")
    (folder / "train" / "readme.txt").write_text("no class")
    return tmp_path


def settings(root: Path, **changes) -> ImageFolderSettings:
    values = {"name": "image_folder", "root": str(root), "old_classes": ["bee", "Cat"]}
    return ImageFolderSettings(**(values | changes))


def benchmark(root: Path, name: str, **changes) -> BenchmarkSettings:
    return BenchmarkSettings(**({"name": name, "root": str(root)} | changes))


# -- any dataset -----------------------------------------------------------------------------------


def test_catalogue(root):
    found = image_folder.catalogue(settings(root))
    assert found.class_names == ["Cat", "ant", "bee"]
    assert found.old_classes == [2, 0]
    assert found.train_mask.sum() == 10
    assert found.paths[:6] == [
        "train/Cat/1.webp",
        "train/Cat/10.PNG",
        "train/Cat/2.tiff",
        "train/ant/a.png",
        "train/ant/b.png",
        "train/ant/c.bmp",
    ]
    assert [found.class_names[c] for c in found.classes] == [
        path.split("/")[1] for path in found.paths
    ]
    assert [path.split("/")[0] == "train" for path in found.paths] == found.train_mask.tolist()
    assert json.loads(json.dumps(found.source)) == found.source


def test_order_is_that_of_torchvision(root):
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(image_folder.SUFFIXES) == set(IMG_EXTENSIONS)
    # Names whose order differs with and without the slash, or by length.
    write_images(
        root / "images/train/bee", "wild-2/x.png", "wild.d/y.JPG", "wild/a/b/c.jpeg", "w.png"
    )
    found = image_folder.catalogue(settings(root, test=None))
    official = ImageFolder(root / "images" / "train")
    paths = [Path(path).relative_to(root / "images").as_posix() for path, _ in official.samples]
    assert found.paths == paths
    assert found.classes.tolist() == [c for _, c in official.samples]
    assert found.class_names == official.classes


def test_linked_folders_are_followed(root):
    (root / "images" / "train" / "dog").symlink_to(root / "images" / "train" / "bee")
    found = image_folder.catalogue(settings(root))
    assert found.class_names == ["Cat", "ant", "bee", "dog"]
    assert (found.classes == 3).sum() == 4


def test_hidden_folders_are_no_classes(root):
    before = image_folder.catalogue(settings(root))
    write_images(root / "images" / "train" / ".ipynb_checkpoints", "a.png")
    write_images(root / "images" / "train" / "ant" / ".thumbnails", "a.png")
    (root / "images" / "val" / ".empty").mkdir()
    assert image_folder.catalogue(settings(root)).paths == before.paths


def test_folders_of_programs_are_no_classes(root, caplog):
    before = image_folder.catalogue(settings(root))
    machines = ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX"]
    machines += ["lost+found", "@Recycle", ".Trashes", "Catalog Previews.lrdata"]
    train, val = root / "images" / "train", root / "images" / "val"
    for name in machines:
        write_images(train / name, "bee/1.png")
        (train / "bee" / "wild" / name).mkdir()
        write_images(train / "bee" / "wild" / name, "1.png")
    (val / "@eaDir").mkdir()  # empty, and not in the training split
    write_images(train / "ant", "._a.png")
    with caplog.at_level("INFO"):
        assert image_folder.catalogue(settings(root)).paths == before.paths
    (message,) = caplog.messages
    assert message.startswith(f"{root / 'images'}: left out 3 × @eaDir/, 2 × #recycle/, 2 × ")
    assert message.endswith(" and 2 more")
    classes = ["recycle", "@eaDir birds", "trash", "RecycleBin", "lrdata", "MACOSX", "recycler"]
    for name in classes:
        write_images(train / name, "1.png")
    assert set(image_folder.catalogue(settings(root)).class_names) == {
        "ant",
        "bee",
        "Cat",
        *classes,
    }


def test_a_split_with_folders_of_programs_only(root):
    write_images(root / "images" / "flat", "@eaDir/1.png", "1.png")
    with pytest.raises(InputError, match=r"images/flat: has no folders, expected one with images"):
        image_folder.catalogue(settings(root, test="flat"))
    write_images(root / "images" / "flat", "ant/@eaDir/1.png")
    with pytest.raises(InputError, match=r"images/flat/ant: a class without images"):
        image_folder.catalogue(settings(root, test="flat"))


def test_links_that_lead_nowhere_or_back_are_no_classes(root, caplog):
    train = root / "images" / "train"
    (train / "all").symlink_to(train)
    (train / "higher").symlink_to(root)
    (train / "itself").symlink_to("itself")
    (train / "gone").symlink_to("nothing")
    with caplog.at_level("INFO"):
        assert image_folder.catalogue(settings(root)).class_names == ["Cat", "ant", "bee"]
    (message,) = caplog.messages
    assert message.endswith("left out 1 × all/ (a link back), 1 × higher/ (a link back)")


def test_links_in_a_circle_end(root):
    folder = root / "images" / "train"
    (folder / "ant" / "itself").symlink_to(folder / "ant")
    (folder / "ant" / "other").symlink_to(folder / "bee")
    (folder / "bee" / "other").symlink_to(folder / "ant")
    found = image_folder.catalogue(settings(root, test=None)).paths
    assert "train/ant/other/wild/deep/2.png" in found
    assert not any(path.count("other") > 1 or "itself" in path for path in found)


def test_images(root):
    split, truth = split_catalogue(image_folder.catalogue(settings(root)), settings(root))
    images = open_images(split.source, split.paths)
    images.check(2)
    assert truth.class_names.tolist() == ["bee", "Cat", "ant"]
    position = split.paths.tolist().index("train/bee/wild/deep/2.png")
    assert images.read([position])[0].tolist() == [[[len("wild/deep/2.png"), 0, 0]]]
    (root / "images" / "val" / "bee" / "v.png").write_text("no image")
    with pytest.raises(InputError, match=r"val/bee/v\.png: not a readable image"):
        images.check(2)
    (root / "images" / "train" / "ant" / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of 13 listed images are missing \(first: train/ant/b"):
        images.check(2)


def test_chosen_classes(root):
    write_images(root / "images" / "val" / "elk", "1.png")  # not chosen, so it does not matter
    found = image_folder.catalogue(settings(root, classes=["bee", "ant"], old_classes=[1]))
    assert found.class_names == ["ant", "bee"]
    assert found.old_classes == [1]
    assert len(found.paths) == 8
    assert found.paths[-1] == "val/bee/v.png"


@pytest.mark.parametrize("name", ["NA", "none", "null", "nan", "-", "unknown"])
def test_a_folder_is_a_class_with_any_name(root, name):
    """A mark for "nothing" counts in a table, but not as the name of a folder of images."""
    write_images(root / "images" / "train" / name, "1.png")
    found = image_folder.catalogue(settings(root, old_classes=[name, "bee"]))
    assert found.class_names == sorted(["Cat", "ant", "bee", name])
    assert [found.class_names[c] for c in found.old_classes] == [name, "bee"]


def test_numbers_that_are_ids_and_folders(root):
    for name in ("1", "2", "10"):
        write_images(root / "images" / "train" / name, "1.png")
    found = image_folder.catalogue(settings(root, old_classes=["1", "2"]))
    assert [found.class_names[c] for c in found.old_classes] == ["1", "2"]
    expected = r"dataset\.old_classes: 1 may be the name of '1' or the id of '10'; write the name"
    with pytest.raises(InputError, match=expected):
        image_folder.catalogue(settings(root, old_classes=[1, 2]))
    assert image_folder.catalogue(settings(root, old_classes=[10])).old_classes == [1]
    assert image_folder.catalogue(settings(root, old_classes=[0, 3])).old_classes == [0, 3]


def test_folder_names_match_by_their_look(root):
    write_images(root / "images" / "train" / unicodedata.normalize("NFD", "Käfer"), "1.png")
    write_images(root / "images" / "train" / " wasp", "1.png")
    wanted = settings(root, classes=["Käfer", "wasp", "bee"], old_classes=["Käfer", "wasp"])
    assert image_folder.catalogue(wanted).old_classes == [1, 0]


def test_other_folders_and_no_test_split(root):
    (root / "images").rename(root / "animals")
    (root / "animals" / "train").rename(root / "animals" / "all")
    found = image_folder.catalogue(settings(root, folder="animals", train="all", test=None))
    assert found.train_mask.all()
    assert len(found.paths) == 10
    open_images(found.source, np.array(found.paths)).check(1)


def test_old_classes_are_required(root):
    with pytest.raises(InputError, match=r"dataset\.old_classes is missing: list the names"):
        image_folder.catalogue(settings(root, old_classes=None))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            ["bee", "elk"],
            r"dataset\.classes: 'elk' is not a folder in .*/train \(found 3: Cat, ant, be",
        ),
        (["Bee"], r"dataset\.classes: 'Bee' is not a folder in .*; did you mean 'bee'\?"),
        (["bee", "bee"], r"dataset\.classes lists a class twice"),
        (["bee", " bee"], r"dataset\.classes lists a class twice"),
        ([], r"dataset\.classes is empty"),
    ],
)
def test_bad_choices(root, classes, message):
    with pytest.raises(InputError, match=message):
        image_folder.catalogue(settings(root, classes=classes))


def test_missing_folders(root, tmp_path):
    with pytest.raises(
        InputError, match=r"dataset\.root: no images of dataset 'image_folder' at .*/nothing"
    ):
        image_folder.catalogue(settings(root, folder="nothing"))
    with pytest.raises(
        InputError, match=r"images/training: cannot be read \(No such file or direc"
    ):
        image_folder.catalogue(settings(root, train="training"))
    with pytest.raises(
        InputError, match=r"images/test: cannot be read \(No such file or directory"
    ):
        image_folder.catalogue(settings(root, test="test"))
    with pytest.raises(InputError, match=r"dataset\.test: 'train' is dataset\.train too"):
        image_folder.catalogue(settings(root, test="train"))


def test_split_folder_without_classes(root):
    write_images(root / "images" / "flat", "1.png", "2.png")
    expected = r"images/flat: has no folders, expected one with images for each class"
    with pytest.raises(InputError, match=expected):
        image_folder.catalogue(settings(root, test="flat"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_class_without_images(root, split):
    folder = root / "images" / split / "ant"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.txt").write_text("no image")
    expected = rf"images/{split}/ant: a class without images \(expected files that end in \.jpg,"
    with pytest.raises(InputError, match=expected):
        image_folder.catalogue(settings(root))


def test_class_that_is_only_in_the_test_split(root):
    write_images(root / "images" / "val" / "elk", "1.png")
    with pytest.raises(InputError, match=r"images/val: class 'elk' is not in .*/images/train"):
        image_folder.catalogue(settings(root))


# -- herbarium and ImageNet ------------------------------------------------------------------------


def write_classes(folder: Path, names: list[str], image: str) -> None:
    for name in names:
        write_images(folder / name, image)


def test_herbarium(tmp_path):
    names = [str(i) for i in range(683)]  # as texts, they sort differently than as numbers
    for split in ("small-train", "small-validation"):
        write_classes(tmp_path / "herbarium_19" / split, names, "1.png")
    found = image_folder.catalogue(benchmark(tmp_path, "herbarium19"))
    assert found.class_names == sorted(names)
    known = published_split("herbarium_19")["known_classes"]
    assert [found.class_names[c] for c in found.old_classes] == [sorted(names)[i] for i in known]
    assert len(known) == 341
    assert found.source["dataset"] == "herbarium19"
    images = open_images(found.source, np.array(found.paths))
    images.check(2)
    assert len(images) == 2 * 683
    write_classes(tmp_path / "herbarium_19" / "small-train", ["stray"], "1.png")
    expected = r"dataset\.root: found 684 classes, expected the 683 of .*; to use oth"
    with pytest.raises(InputError, match=expected):
        image_folder.catalogue(benchmark(tmp_path, "herbarium19"))


def test_a_part_of_herbarium(tmp_path):
    write_classes(tmp_path / "h" / "small-train", ["0", "1", "2"], "1.png")
    write_classes(tmp_path / "h" / "small-validation", ["0", "1"], "1.png")
    wanted = benchmark(tmp_path, "herbarium19", folder="h", old_classes=["2"])
    assert image_folder.catalogue(wanted).old_classes == [2]


def test_herbarium_by_number(tmp_path):
    """The names of its folders are numbers, which sort differently as texts."""
    names = [str(i) for i in range(12)]
    for split in ("small-train", "small-validation"):
        write_classes(tmp_path / "herbarium_19" / split, names, "1.png")
    expected = r"dataset\.old_classes: 2 may be the name of '2' or the id of '10'; write the name"
    with pytest.raises(InputError, match=expected):
        image_folder.catalogue(benchmark(tmp_path, "herbarium19", old_classes=[0, 1, 2]))
    found = image_folder.catalogue(benchmark(tmp_path, "herbarium19", old_classes=[0, 1]))
    assert [found.class_names[c] for c in found.old_classes] == ["0", "1"]


def wordnet(n: int) -> list[str]:
    return [f"n{1440764 + 37 * i:08d}" for i in range(n)]


def test_imagenet_with_all_classes(tmp_path):
    names = wordnet(1000)
    write_classes(tmp_path / "imagenet" / "train", names, "1.png")
    write_classes(tmp_path / "imagenet" / "val", names, "2.png")
    (tmp_path / "imagenet" / "train" / names[0] / "1.png").unlink()  # not chosen, so not read
    found = image_folder.catalogue(benchmark(tmp_path, "imagenet100"))
    ranks = published_split("imagenet_100")["imagenet1k_indices"]
    assert found.class_names == [names[i] for i in ranks]
    assert found.old_classes == list(range(50))
    assert len(found.paths) == 200
    assert found.paths[100] == f"val/{names[ranks[0]]}/2.png"
    by_hand = benchmark(tmp_path, "imagenet100", old_classes=[names[ranks[7]]])
    assert image_folder.catalogue(by_hand).old_classes == [7]


def test_imagenet_with_other_100_classes(tmp_path, caplog):
    names = wordnet(100)
    write_classes(tmp_path / "imagenet" / "train", names, "1.png")
    write_classes(tmp_path / "imagenet" / "val", names, "2.png")
    found = image_folder.catalogue(benchmark(tmp_path, "imagenet100"))
    assert found.class_names == names
    assert [found.class_names[c] for c in found.old_classes] == names[:50]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "100 of 100 classes are not those of the published list" in record.getMessage()


def test_imagenet_with_the_published_100_classes(tmp_path, caplog):
    names = published_split("imagenet_100")["class_names"]
    write_classes(tmp_path / "imagenet" / "train", names, "1.png")
    write_classes(tmp_path / "imagenet" / "val", names, "2.png")
    assert image_folder.catalogue(benchmark(tmp_path, "imagenet100")).class_names == names
    assert not caplog.records


def test_imagenet_with_another_number_of_classes(tmp_path):
    names = wordnet(5)
    write_classes(tmp_path / "imagenet" / "train", names, "1.png")
    write_classes(tmp_path / "imagenet" / "val", names, "2.png")
    expected = r"dataset\.root: found 5 classes, expected the 100 of .*; to use oth"
    with pytest.raises(InputError, match=expected):
        image_folder.catalogue(benchmark(tmp_path, "imagenet100"))
    found = image_folder.catalogue(benchmark(tmp_path, "imagenet100", old_classes=[4, 1]))
    assert found.class_names == names
    assert found.old_classes == [4, 1]


@pytest.mark.parametrize("name", ["herbarium19", "imagenet100"])
def test_missing_benchmarks(tmp_path, name):
    with pytest.raises(
        InputError, match=rf"dataset\.root: no images of dataset '{name}' at .*; put"
    ):
        image_folder.catalogue(benchmark(tmp_path, name))
