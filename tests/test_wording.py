"""Numbers, times, checksums and names in messages."""

from __future__ import annotations

import pytest
from gcdflow.errors import InputError, MachineError
from gcdflow.wording import counted, did_you_mean, duration, per_second, short_checksums, some_of

SHA = "0123456789abcdef" * 4


def test_nouns_agree_with_their_number():
    assert [counted(n, "epoch") for n in (0, 1, 2, 1234)] == [
        "0 epochs",
        "1 epoch",
        "2 epochs",
        "1234 epochs",
    ]
    assert [counted(n, "category", "categories") for n in (1, 2)] == ["1 category", "2 categories"]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.04, "0.04"), (0.5, "0.50"), (1.26, "1.3"), (9.5, "9.5"), (10.4, "10"), (1234.5, "1234")],
)
def test_slow_speeds_have_decimals(rate, expected):
    assert per_second(rate, "images") == f"{expected} images/s"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (40.4, "40 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (3599, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (23 * 3600, "23 h 00 min"),
        (24 * 3600, "1 d 0 h"),
        (100 * 3600, "4 d 4 h"),
    ],
)
def test_times_have_their_two_largest_units(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"expected {SHA}, found {SHA}.", "expected 0123456789ab…, found 0123456789ab…."),
        (f"with sha256:{SHA} is needed", "with sha256:0123456789ab… is needed"),
        (f"({SHA})", "(0123456789ab…)"),
        (f"'{SHA} {SHA}'", "'0123456789ab… 0123456789ab…'"),
        (f"{SHA}.npz: no such file", f"{SHA}.npz: no such file"),
        (f"views/{SHA}: no such file", f"views/{SHA}: no such file"),
        (f"{SHA}/a.png", f"{SHA}/a.png"),
        (f"{SHA}0", f"{SHA}0"),
        (SHA[1:], SHA[1:]),
    ],
)
def test_checksums_are_shortened_but_not_names_of_files(text, expected):
    assert short_checksums(text) == expected


@pytest.mark.parametrize("kind", [InputError, MachineError])
def test_errors_shorten_checksums(kind):
    assert str(kind(f"a.pt: expected SHA-256 {SHA}")) == "a.pt: expected SHA-256 0123456789ab…"


def test_names_that_look_like_one_that_does_not_exist():
    runs = ["digits", "photos", "photos-dinov2", "cub"]
    assert did_you_mean("fotos", runs) == "; did you mean 'photos'?"
    assert did_you_mean("PHOTOS", runs) == "; did you mean 'photos'?"
    assert did_you_mean("photos-d", runs, most=3) == "; did you mean 'photos' or 'photos-dinov2'?"
    assert did_you_mean("nobody", runs) == ""
    assert did_you_mean(["b"], runs) == ""
    assert did_you_mean("photos", []) == ""


def test_long_lists_are_cut():
    assert some_of([]) == "none"
    assert some_of("abcdefgh") == "a, b, c, d, e, f, g, h"
    assert some_of("abcdefghijk") == "a, b, c, d, e, f, g, h and 3 more"
