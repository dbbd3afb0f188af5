"""Missing datasets are found without reading them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from gcdflow.config.settings import (
    BenchmarkSettings,
    CIFARSettings,
    DigitsSettings,
    ImageFolderSettings,
    PhotosSettings,
)
from gcdflow.data.datasets import dataset_module
from gcdflow.data.places import check_images
from gcdflow.errors import InputError

BENCHMARKS = {
    "cub": "CUB_200_2011/images.txt",
    "scars": "stanford_cars/devkit/cars_meta.mat",
    "aircraft": "fgvc-aircraft-2013b/data/images_variant_trainval.txt",
    "herbarium19": "herbarium_19/x",
    "imagenet100": "imagenet/x",
}


def refused(settings) -> str:
    """The sentence, which the dataset's own stage says too."""
    with pytest.raises(InputError) as early:
        check_images(settings)
    with pytest.raises(InputError) as late:
        dataset_module(settings.name).catalogue(settings)
    assert str(early.value) == str(late.value)
    return str(early.value)


@pytest.mark.parametrize(("name", "first"), BENCHMARKS.items())
def test_benchmarks(tmp_path: Path, name: str, first: str):
    settings = BenchmarkSettings(name=name, root=str(tmp_path))
    folder = first.partition("/")[0]
    assert refused(settings).startswith("dataset.root: no ")
    assert str(tmp_path / folder) in refused(settings)
    (tmp_path / folder).touch()  # a file in place of a folder
    assert str(tmp_path / folder) in refused(settings)
    (tmp_path / folder).unlink()
    (tmp_path / first).parent.mkdir(parents=True)
    (tmp_path / first).touch()
    check_images(settings)
    other = settings.model_copy(update={"folder": "other"})
    assert str(tmp_path / "other") in refused(other)


def test_folders_of_images(tmp_path: Path):
    settings = ImageFolderSettings(root=str(tmp_path), folder="birds", old_classes=["a"])
    expected = f"dataset.root: no images of dataset 'image_folder' at {tmp_path / 'birds'}; put"
    assert refused(settings).startswith(expected)
    (tmp_path / "birds").mkdir()
    check_images(settings)


def test_photographs_and_their_table(tmp_path: Path):
    settings = PhotosSettings(root=str(tmp_path))
    folder = tmp_path / "photos"
    assert refused(settings).startswith(
        f"dataset.folder: no folder of photographs at {folder}; put"
    )
    folder.mkdir()
    expected = f"{folder / 'labels.csv'}: no such file; write one with the columns path and label"
    assert refused(settings) == expected
    (folder / "labels.csv").touch()
    check_images(settings)
    elsewhere = settings.model_copy(update={"labels": str(tmp_path / "mine.csv")})
    assert refused(elsewhere).startswith(f"{tmp_path / 'mine.csv'}: no such file")


def test_what_is_in_a_package_or_fetched_is_never_missing(tmp_path: Path):
    check_images(DigitsSettings(root=str(tmp_path)))
    check_images(CIFARSettings(root=str(tmp_path)))


def test_it_needs_no_arrays():
    code = "import sys, gcdflow.data.places; sys.exit(bool({'numpy', 'PIL'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["labels.csv.txt", "Labels.CSV", "labels.csv.csv"])
def test_a_table_with_another_ending_is_named(tmp_path: Path, name: str):
    settings = PhotosSettings(root=str(tmp_path))
    (tmp_path / "photos").mkdir()
    assert refused(settings).endswith("no such file; write one with the columns path and label")
    (tmp_path / "photos" / name).touch()
    table = tmp_path / "photos" / "labels.csv"
    assert refused(settings) == f"{table}: no such file; found {name}: rename it"
