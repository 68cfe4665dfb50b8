"""Validation: bounded, repeatable, and against values worked by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from artist_features.training.cache import AudioCache
from artist_features.training.recipes import DEFAULT
from artist_features.training.trainer import is_chief
from artist_features.training.validation import _MAX_TRACKS, Validation, _some

N = 100


def data(n_tracks=6, length=350):
    """Tracks whose samples are all the number of their artist, two tracks an artist."""
    artist = np.arange(n_tracks) // 2
    samples = np.repeat(artist + 1, length).astype("<i2")
    cache = AudioCache(samples, np.arange(n_tracks) * length, [length] * n_tracks, 22050)
    return SimpleNamespace(
        cache=cache,
        retrieval_valid_tracks=np.arange(4),
        retrieval_valid_labels=artist[:4],
        trained_valid_tracks=np.arange(4, n_tracks),
        trained_valid_labels=np.arange(n_tracks - 4) // 2,
    )


def directions(waveforms):
    """Embed: the artists' numbers as orthogonal directions."""
    numbers = np.rint(waveforms[:, 0, 0] * 32767).astype(int)
    return np.eye(8, dtype=np.float32)[numbers]


def test_separated_artists_score_one_and_lose_nothing():
    found = Validation(data(), "siamese", DEFAULT, N).check(directions, None)
    assert found["map"] == 1.0
    assert found["label"] == 0.0
    assert found["loss"] == found["label"]


def test_collapsed_model_loses_the_margin_for_each_negative():
    found = Validation(data(), "siamese", DEFAULT, N).check(lambda w: np.ones((len(w), 3)), None)
    assert found["label"] == pytest.approx(4 * 0.4)
    assert found["map"] < 0.6


def test_classifier_loss_and_accuracy():
    def logits(embeddings):
        return np.log(np.tile([[0.75, 0.25]], (len(embeddings), 1)))

    tracks = data(8)  # two kept tracks each of two artists
    found = Validation(tracks, "basic", DEFAULT, N).check(directions, logits)
    assert found["label"] == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert found["accuracy"] == 0.5


def test_teacher_is_the_loss_where_labels_do_not_train():
    recipe = dataclasses.replace(DEFAULT, label_weight=0.0)
    check = Validation(data(), "siamese", recipe, N, teacher=directions)
    found = check.check(directions, None)
    assert found["cosine"] == pytest.approx(1.0)
    assert found["loss"] == pytest.approx(0.0)
    assert "label" not in found
    assert check.has_loss


def test_nothing_to_check_is_said():
    empty = data()
    empty.retrieval_valid_tracks = empty.trained_valid_tracks = np.zeros(0, int)
    empty.retrieval_valid_labels = empty.trained_valid_labels = np.zeros(0, int)
    for kind in ("basic", "siamese"):
        check = Validation(empty, kind, DEFAULT, N)
        assert not check.has_loss
        assert check.check(directions, None) == {}


def test_crops_and_tracks_are_bounded():
    asked = []

    def embed(waveforms):
        asked.append(len(waveforms))
        return directions(waveforms)

    Validation(data(length=100 * N), "siamese", DEFAULT, N).check(embed, None)
    assert sum(asked) == 6 * 8
    labels = np.repeat(np.arange(900), 3)
    rows = _some(labels)
    assert len(rows) == _MAX_TRACKS // 3 * 3
    assert set(np.bincount(labels[rows])) == {0, 3}  # whole artists
    np.testing.assert_array_equal(rows, _some(labels))
    assert len(_some(np.arange(5))) == 5


@pytest.mark.parametrize(
    ("task_type", "task_id", "jobs", "chief"),
    [
        ("worker", 0, ["worker"], True),
        ("worker", 1, ["worker"], False),
        ("chief", 0, ["chief", "worker"], True),
        ("worker", 0, ["chief", "worker"], False),
        ("evaluator", 0, ["worker", "evaluator"], False),
        (None, None, [], True),
    ],
)
def test_one_process_writes_files(task_type, task_id, jobs, chief):
    resolver = SimpleNamespace(
        task_type=task_type, task_id=task_id, cluster_spec=lambda: SimpleNamespace(jobs=jobs)
    )
    assert is_chief(SimpleNamespace(cluster_resolver=resolver)) is chief
