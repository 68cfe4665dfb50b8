"""A training set: who trains, who checks, and that nobody does both."""

import csv

import numpy as np
import pytest
from training_data import SPLITS, write_data_set

from artist_features.config import FrontEnd
from artist_features.errors import ManifestError
from artist_features.training import data
from artist_features.training.inputs import read_splits


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("music"), n_tracks=4, splits=SPLITS)


def load(manifests, tmp_path, **options):
    listed = read_splits(manifests, options.pop("split_seed", 0))
    return data.load(listed, tmp_path / "cache", FrontEnd(), **options)


def test_splits_by_artist(manifest, tmp_path):
    found = load([manifest], tmp_path)
    assert len(found.artists) == 4
    assert [len(tracks) for tracks in found.by_artist] == [3] * 4  # one of four checks
    assert len(found.trained_valid_tracks) == 4
    assert sorted(found.trained_valid_labels) == [0, 1, 2, 3]
    assert len(found.retrieval_valid_tracks) == 8
    assert len(found.training) == 4 * 3 + 2  # the unlabelled ones train without a label
    parts = [*found.by_artist, found.trained_valid_tracks, found.retrieval_valid_tracks]
    assert len(np.unique(np.concatenate(parts))) == sum(map(len, parts))
    assert not set(found.training) & (
        set(found.trained_valid_tracks) | set(found.retrieval_valid_tracks)
    )
    for index, tracks in enumerate(found.by_artist):
        assert {found.tracks[t].artist for t in tracks} == {found.artists[index]}
    held = {found.tracks[t].artist for t in found.retrieval_valid_tracks}
    assert held.isdisjoint(found.artists)
    assert found.unseen_artists


def test_split_by_track_checks_with_kept_tracks_of_trained_artists(tmp_path):
    manifest = write_data_set(tmp_path / "music", n_artists=3, n_tracks=4, splits=["train"] * 3)
    text = manifest.read_text().replace("Tune 2,train", "Tune 2,valid")
    manifest.write_text(text.replace("Tune 3,train", "Tune 3,valid"))
    found = load([manifest], tmp_path)
    assert [len(tracks) for tracks in found.by_artist] == [2, 2, 2]
    assert len(found.trained_valid_tracks) == 6
    assert not found.unseen_artists
    np.testing.assert_array_equal(found.retrieval_valid_tracks, found.trained_valid_tracks)
    np.testing.assert_array_equal(found.retrieval_valid_labels, found.trained_valid_labels)


def test_fewer_artists_are_among_more(manifest, tmp_path):
    two, three = (load([manifest], tmp_path, n_artists=n) for n in (2, 3))
    assert set(two.artists) < set(three.artists)
    assert len(two.artists) == 2
    # the music of the others stays, without labels
    everything = {int(t) for t in load([manifest], tmp_path).training}
    assert everything <= {int(t) for t in two.training}


def test_without_a_split_column_whole_artists_are_held_out(tmp_path):
    manifest = write_data_set(tmp_path / "music", n_artists=20, n_tracks=2, unlabelled=0)
    first, again = (load([manifest], tmp_path) for _ in range(2))
    other = load([manifest], tmp_path, split_seed=1)
    held = {first.tracks[t].artist for t in first.retrieval_valid_tracks}
    assert len(held) == 2
    assert held.isdisjoint(first.artists)
    np.testing.assert_array_equal(first.retrieval_valid_tracks, again.retrieval_valid_tracks)
    assert held != {other.tracks[t].artist for t in other.retrieval_valid_tracks}


def test_artist_held_out_by_one_manifest_does_not_train_in_another(manifest, tmp_path):
    more = write_data_set(tmp_path / "more", n_tracks=2, splits=["train"] * 6, unlabelled=0)
    found = load([manifest, more], tmp_path)
    trained = {found.tracks[t].artist for t in found.training} - {""}
    assert trained == {f"Band {letter * 3}" for letter in "ABCD"}
    assert [len(tracks) for tracks in found.by_artist] == [5] * 4


def test_file_in_two_manifests_is_refused(manifest, tmp_path):
    with pytest.raises(ManifestError, match="is listed twice"):
        load([manifest, manifest], tmp_path)


def test_missing_file_is_named_before_anything_is_decoded(tmp_path):
    manifest = write_data_set(tmp_path / "music", n_artists=2)
    (manifest.parent / "1_1.wav").unlink()
    with pytest.raises(ManifestError, match=r"line 6: file 1_1.wav is missing"):
        load([manifest], tmp_path)
    assert not (tmp_path / "cache").exists()


def test_unreadable_and_short_tracks_cost_themselves_alone(tmp_path):
    manifest = write_data_set(tmp_path / "music", splits=SPLITS)
    (manifest.parent / "0_0.wav").write_text("these are words, not music")
    write_data_set(tmp_path / "short", n_artists=1, n_tracks=1, seconds=1.0, unlabelled=0)
    (tmp_path / "short" / "0_0.wav").rename(manifest.parent / "short.wav")
    with open(manifest, "a", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(["short.wav", "Band AAA", "Jingle", "train"])
    found = load([manifest], tmp_path)
    assert [path.name for path, _ in found.cache.failures] == ["0_0.wav"]
    assert found.short == 1
    assert [len(tracks) for tracks in found.by_artist] == [2, 3, 3, 3]
