"""Similar names, numbers that may be ids or names, and marks for "nothing"."""

import json
import logging
import unicodedata

import pytest
from gcdflow.data.class_names import chosen_classes, position_of, says_nothing, tidied
from gcdflow.data.datasets.catalogue import old_class_ids, published_split
from gcdflow.errors import InputError

NOTHING = [
    *("", " ", "\u00a0", "\u200b", "NA", "na", " Na ", "N/A", "n/a", "n.a.", "N / A", "n. a."),
    *("<NA>", "NA_character_", "NaN", "nan", "-nan", "NaT", "None", "none", "null", "NULL", "nil"),
    *("(null)", "[NULL]", "\\N", "#N/A", "#N/A N/A", "#NA", "#NV", "#N/D", "#REF!", "#¡REF!"),
    *("#BEZUG!", "#NAME?", "#DIV/0!", "#VALUE!", "Err:502", "####", "-", "--", "–", "—", "\u2212"),
    *("?", "???", "？", ".", "..", "…", "_", "~", '""', "''", "()", "-/-", "-1", "-1.0"),
    *("1.#QNAN", "-1.#IND", "<undefined>", "missing", "unknown", "Unlabelled", "not available"),
    *("k.A.", "s/d", "tbd", "'NA'", '"NA"', "pd.NA"),
]
CLASSES = [
    *(
        "robin",
        "N",
        "n",
        "0",
        "1",
        "-2",
        "#1",
        "#cats",
        "+",
        "x",
        "A",
        "no",
        "yes",
        "false",
        "nana",
    ),
    *("empty", "blank", "nothing", "background", "none of these", "unknown bird", "Nan Goldin"),
    *("Na+", "n-a", "❤", "*", "!", "(1)", "NA12878", "1e3", "1:30", "error", "S/A", "KA"),
]


@pytest.mark.parametrize("name", NOTHING)
def test_marks_for_nothing(name):
    assert says_nothing(tidied(name))


@pytest.mark.parametrize("name", CLASSES)
def test_real_classes_are_not_marks_for_nothing(name):
    assert not says_nothing(tidied(name))


def test_marks_of_pandas_count_as_nothing():
    """The default marks for missing values in pandas (``read_csv``, ``na_values``)."""
    pandas = "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|<NA>|N/A|NA|NULL|NaN"
    assert all(says_nothing(name) for name in [*pandas.split("|"), "None", "n/a", "nan", "null"])


def test_tidied():
    assert tidied("  hooded\u00a0 \tcrow\u202f") == "hooded crow"
    assert tidied(unicodedata.normalize("NFD", "Käfer")) == "Käfer"
    assert tidied("\ufeffro\u200bbin\u202c") == "robin"
    assert tidied("न\u200dमस्ते") == "न\u200dमस्ते"  # a joiner is part of the word
    assert tidied("a\nb") == "a\nb"


def test_names_match_exactly_or_by_their_look():
    names = [unicodedata.normalize("NFD", "Käfer"), " crow", "a b", "a  b"]
    assert position_of("Käfer", names) == 0
    assert position_of("crow ", names) == 1
    assert position_of("a  b", names) == 3
    assert position_of("a\u00a0b", names) is None  # looks like two names
    assert position_of("Crow", names) is None


# -- names or ids ----------------------------------------------------------------------------------

WORDS = ["ant", "bee", "cat", "dog"]
NUMBERED = ["1", "10", "2", "3"]


@pytest.mark.parametrize(
    ("chosen", "names", "found"),
    [
        ([0, 3], WORDS, [0, 3]),
        (["dog", 0], WORDS, [3, 0]),
        (["3", "1"], NUMBERED, [3, 0]),  # a text is a name
        ([10], NUMBERED, [1]),  # no id: a name
        ([2, 10], NUMBERED, [2, 1]),  # both can only be names
        ([0], NUMBERED, [0]),  # no name: an id
        ([0, 2], NUMBERED, [0, 2]),  # both can only be ids
        ([7, 4], [str(i) for i in range(10)], [7, 4]),  # name and id are the same
        (["1e3", "010", "no"], ["010", "1e3", "no", "x"], [1, 0, 2]),
    ],
)
def test_chosen_classes(chosen, names, found):
    assert chosen_classes("dataset.old_classes", chosen, names) == found


@pytest.mark.parametrize(
    ("chosen", "names", "message"),
    [
        ([1], NUMBERED, "1 may be the name of '1' or the id of '10'; write the name that is meant"),
        ([1, 2], NUMBERED, "1 may be the name of '1' or the id of '10'"),
        (["10", 3, 1], NUMBERED, "1 may be the name of '1' or the id of '10'"),
        ([0, 10], NUMBERED, "0 is the id of a class, 10 the name; write the names in quotation ma"),
        ([4], NUMBERED, r"4 is not a class here \(found 4, ids 0…3: 1, 10, 2 …\)"),
        ([-1], WORDS, "-1 is not a class here"),
        (["3"], WORDS, "'3' is not a class here .*; an id is a number without quotation marks"),
        (["Dog"], WORDS, "'Dog' is not a class here .*; did you mean 'dog'"),
        (["dog", 3], WORDS, "lists a class twice"),
        (["dog", " dog"], WORDS, "lists a class twice"),
    ],
)
def test_ambiguous_and_unknown_classes_are_refused(chosen, names, message):
    with pytest.raises(InputError, match=f"^dataset.old_classes:? {message}"):
        chosen_classes("dataset.old_classes", chosen, names)


# -- the published classes -------------------------------------------------------------------------

LISTS = [
    *("cub", "stanford_cars", "fgvc_aircraft", "herbarium_19", "cifar10", "cifar100"),
    "imagenet_100",
]


@pytest.mark.parametrize("dataset", LISTS)
def test_other_classes_than_the_published_ones_give_a_warning(dataset, caplog):
    published = published_split(dataset)
    names = published["class_names"]
    assert len(set(names)) == len(names) == published["num_classes"]
    assert not any(map(says_nothing, names))
    assert old_class_ids(None, names, published) == published["known_classes"]
    spelt = [name.replace("_", " ").upper() for name in names]
    assert old_class_ids(None, spelt, published) == published["known_classes"]
    assert not caplog.messages
    other = [*names[:3], "zebra", *names[4:]]
    assert old_class_ids(None, other, published) == published["known_classes"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        f"1 of {len(names)} classes are not those of the published list (first: class 3 is "
        f"'zebra', published: '{names[3]}'): results are not comparable" in record.getMessage()
    )


def test_published_classes_in_another_order_give_a_warning(caplog):
    published = published_split("imagenet_100")
    old_class_ids(None, published["class_names"][::-1], published)
    assert "100 of 100 classes are not those of the published list" in caplog.text
    caplog.clear()
    old_class_ids(["n01443537"], published["class_names"][::-1], published)  # the user's own choice
    assert not caplog.messages


def test_published_names_are_in_the_order_of_their_ids():
    for dataset in ("fgvc_aircraft", "herbarium_19", "cifar10", "cifar100", "imagenet_100"):
        names = published_split(dataset)["class_names"]
        assert names == sorted(names)
    assert published_split("imagenet_100")["class_names"][0] == "n01443537"
    cub = published_split("cub")["class_names"]
    assert [name.split(".")[0] for name in cub] == [f"{i:03d}" for i in range(1, 201)]


def test_superclasses_of_cifar_100_have_the_published_names_of_their_classes():
    from gcdflow.data.datasets.cifar import _SUPERCLASSES

    groups = json.loads(_SUPERCLASSES.read_text(encoding="utf-8"))["superclasses15"].values()
    names = published_split("cifar100")["class_names"]
    assert [g["class_names"] for g in groups] == [[names[i] for i in g["classes"]] for g in groups]
    assert sorted(i for group in groups for i in group["classes"]) == list(range(100))


def test_imagenet_names_are_those_of_the_ranks():
    """Timm has the folder names of all 1,000 classes, in their order."""
    from importlib.resources import files

    synsets = files("timm").joinpath("data/_info/imagenet_synsets.txt").read_text().split()
    published = published_split("imagenet_100")
    assert synsets == sorted(synsets)
    assert published["class_names"] == [synsets[i] for i in published["imagenet1k_indices"]]
