import numpy as np
from gcdflow.config.settings import DigitsSettings
from gcdflow.data.datasets import open_images
from gcdflow.data.datasets.catalogue import split_catalogue
from gcdflow.data.datasets.digits import catalogue
from sklearn.datasets import load_digits

SETTINGS = DigitsSettings(name="digits")


def test_catalogue():
    found = catalogue(SETTINGS)
    np.testing.assert_array_equal(found.classes, load_digits().target)
    assert len(found.classes) == len(found.train_mask) == 1797
    assert (~found.train_mask).sum() == round(0.2 * 1797)
    assert set(found.classes[~found.train_mask]) == set(range(10))
    assert found.old_classes == [0, 1, 2, 3, 4]
    assert found.class_names == list("0123456789")


def test_split_is_the_same_every_time():
    a, b = catalogue(SETTINGS), catalogue(SETTINGS)
    np.testing.assert_array_equal(a.train_mask, b.train_mask)
    assert catalogue(DigitsSettings(name="digits", old_classes=[7])).old_classes == [7]


def test_images():
    split, truth = split_catalogue(catalogue(SETTINGS), SETTINGS)
    images = open_images(split.source, split.paths)
    assert not images.needs_workers
    assert len(images) == len(split.indices)
    read = images.read(np.array([5, 0, 5]))
    assert read.shape == (3, 8, 8, 1)
    assert read.dtype == np.uint8
    original = load_digits().images
    np.testing.assert_array_equal(read[0, :, :, 0], np.rint(original[5] * 255 / 16))
    np.testing.assert_array_equal(read[0], read[2])
    everything = images.read(range(1797))
    assert everything.min() == 0
    assert everything.max() == 255
    assert len(np.unique(everything)) == 17
    assert truth.class_names[truth.labels[5]] == str(load_digits().target[5])
