"""Artist names: spellings that are one, and names that may be."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artist_features.datasets import names as names_module
from artist_features.datasets.names import (
    artist_groups,
    close_names,
    contained_names,
    name_key,
    spelling_variants,
)
from artist_features.datasets.tracks import Track


@pytest.mark.parametrize(
    "names",
    [
        ("Beyoncé", "BEYONCE", "Beyonce\u0301", "Ｂｅｙｏｎｃｅ"),  # noqa: RUF001
        ("The Beatles", "Beatles, The", "beatles", "the  Beatles "),
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("AC/DC", "ACDC", "AC-DC"),
        ("R.E.M.", "REM"),
        ("Ann", "Ann feat. Bob", "Ann (ft Bob)", "ANN Featuring Bob & Co", "Ann [Feat. X]"),
        ("Mötley Crüe", "Motley Crue"),
        ("Röyksopp", "Royksopp"),
        ("Bjørn", "Bjorn"),
        ("Straße", "Strasse"),
    ],
)
def test_spellings_of_one_artist(names):
    assert len({name_key(name) for name in names}) == 1
    assert spelling_variants(["Other", "", *names]) == [sorted(names)]


@pytest.mark.parametrize(
    "names",
    [
        ("!!!", "+/-", "???"),
        ("ガ", "カ"),
        ("कि", "कु"),
        ("Ft. Worth Band", "Worth Band"),
        ("Defeat", "De"),
        ("The The", "Them"),
        ("Feat.", "Ft."),
        ("Tyler, The Creator", "Tyler"),
        ("Amp", "&"),
    ],
)
def test_names_that_are_two_artists(names):
    assert len({name_key(name) for name in names}) == len(names)
    assert spelling_variants(names) == []


@given(st.text())
def test_every_name_has_a_key(name):
    assert name_key(name) or not name


def test_close_names_are_pairs_to_judge():
    names = ["Eric Skiff", "Eric Skif", "The Eric Skiff", "Muse", "Muses", "", "Eric Skiles"]
    assert close_names(names) == [("Eric Skif", "Eric Skiff")]
    assert close_names(["Kevin MacLeod", "Kevin McLeod"]) == [("Kevin MacLeod", "Kevin McLeod")]
    assert close_names(["Zkevin MacLeod", "Kevin MacLeod"]) != []
    assert close_names(["Artist 0001", "Artist 0002"]) == []
    assert close_names(["1001", "1002"]) == []


def test_close_names_compare_few_of_many_pairs(monkeypatch):
    parts = ("ka", "lo", "mi", "ran", "son", "ber", "gel", "tor", "vin", "sky")
    names = [f"{a}{b} {c}{d}" for a in parts for b in parts for c in parts for d in parts]
    sizes = []
    monkeypatch.setattr(names_module, "_close_pairs", lambda keys: sizes.append(len(keys)) or [])
    close_names(names)
    assert sum(sizes) == 2 * len(names)
    assert sum(size**2 for size in sizes) < len(names) ** 2 / 20


def test_contained_names():
    names = ["bart", "Bart Kelsey", "Kelsey", "The Bart", "Bartok Trio", "Bart and Bob", ""]
    assert contained_names(names) == [
        ("Kelsey", "Bart Kelsey"),
        ("The Bart", "Bart Kelsey"),
        ("The Bart", "Bart and Bob"),
    ]


def test_groups_join_spellings_close_names_and_ids():
    ids = {"Prince": "X", "Camille": "x", "Eric Skiff": "y"}
    names = [
        "Prince",
        "Camille",
        "Eric Skiff",
        "eric skif",
        "ERIC SKIFF",
        "Bart",
        "Bart Kelsey",
        "",
    ]
    tracks = [
        Track(Path(f"{name}.ogg"), name, "T", {"musicbrainz_artistid": ids.get(name, "")})
        for name in names
    ]
    first_name = artist_groups(tracks)
    assert first_name == {
        "Prince": "Camille",
        "Camille": "Camille",
        "Eric Skiff": "ERIC SKIFF",
        "eric skif": "ERIC SKIFF",
        "ERIC SKIFF": "ERIC SKIFF",
        "Bart": "Bart",
        "Bart Kelsey": "Bart Kelsey",
    }
