"""The softmax protocol: its recipe, what it sees of each part, its scores."""

import numpy as np
import pytest

from artist_features.evaluation import softmax
from artist_features.evaluation.softmax import evaluate_softmax

LABELS = [name for _ in range(12) for name in ("blues", "jazz", "rock")]
SPLITS = ["train"] * 18 + ["valid"] * 9 + ["test"] * 9


def toy(noise=0.1, seed=0, dim=6):
    """Return vectors about one direction per class."""
    rng = np.random.default_rng(seed)
    centres = 3 * np.eye(3, dim)
    rows = [centres[("blues", "jazz", "rock").index(label)] for label in LABELS]
    return np.array(rows) + noise * rng.standard_normal((len(LABELS), dim))


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    monkeypatch.setattr(softmax, "MAX_EPOCHS", 25)


def test_recipe_is_that_of_the_authors_code(monkeypatch):
    """Their run_gtzan_dnn.py: SGD 0.01, decay 1e-6, Nesterov 0.9, 16, 8, best weights kept."""
    import keras

    seen = {}
    real = keras.Sequential.fit

    def spy(model, data, **options):
        seen.update(options, model=model, data=data)
        return real(model, data, **options)

    monkeypatch.setattr(keras.Sequential, "fit", spy)
    evaluate_softmax({"x": toy()}, LABELS, SPLITS, n_trials=1)
    optimizer, (stopping,) = seen["model"].optimizer, seen["callbacks"]
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    schedule = optimizer._learning_rate
    assert float(schedule(0)) == pytest.approx(0.01)
    assert float(schedule(1_000_000)) == pytest.approx(0.005)  # 0.01 / (1 + 1e-6 * 1e6)
    assert (stopping.monitor, stopping.patience) == ("val_loss", 8)
    assert stopping.restore_best_weights
    assert seen["model"].loss == "sparse_categorical_crossentropy"
    (layer,) = seen["model"].layers
    assert (layer.units, layer.activation.__name__) == (3, "softmax")
    assert [len(batch[1]) for batch in seen["data"]] == [16, 2]
    assert [len(batch[1]) for batch in seen["validation_data"]] == [9]


def test_most_epochs_and_trials_are_the_authors(monkeypatch):
    monkeypatch.undo()
    assert (softmax.MAX_EPOCHS, softmax.N_TRIALS) == (1000, 10)


def test_one_mean_and_deviation_of_the_training_part_by_hand():
    """Training numbers 1, 3, 5, 7: mean 4, deviation sqrt(5), whatever the others are."""
    vectors = np.array([[1.0, 3], [5, 7], [4, 9], [1000, 4]])
    parts = softmax._scaled_parts(vectors, np.array(["train", "train", "valid", "test"]))
    root = np.sqrt(5)
    np.testing.assert_allclose(parts["train"], [[-3 / root, -1 / root], [1 / root, 3 / root]])
    np.testing.assert_allclose(parts["valid"], [[0, 5 / root]], rtol=1e-6)
    np.testing.assert_allclose(parts["test"], [[996 / root, 0]], rtol=1e-6)


def test_learns_what_is_there_and_guesses_what_is_not():
    noise = np.random.default_rng(0).standard_normal((36, 6))
    good, bad = evaluate_softmax({"good": toy(), "bad": noise}, LABELS, SPLITS, n_trials=2)
    assert (good.name, good.dim, good.trials, good.difference) == ("good", 6, (1, 1), None)
    assert good.accuracy.estimate == 1
    assert bad.accuracy.estimate < 0.8
    assert bad.accuracy.estimate == pytest.approx(np.mean(bad.trials))
    assert bad.difference.estimate == pytest.approx(bad.accuracy.estimate - 1)
    assert bad.accuracy.n_clusters == 9
    assert all(1 <= n <= 25 for n in (*good.n_epochs, *bad.n_epochs))
    assert bad.trials[0] != bad.trials[1]  # other first weights
    (later,) = evaluate_softmax({"bad": noise}, LABELS, SPLITS, n_trials=1, seed=1)
    assert (later.trials[0], later.n_epochs[0]) == (bad.trials[1], bad.n_epochs[1])


def test_stops_early_where_validation_gets_worse(monkeypatch):
    monkeypatch.setattr(softmax, "MAX_EPOCHS", 400)
    labels = np.array(LABELS)
    labels[18:27] = np.roll(labels[18:27], 1)  # the validation part is labelled all wrong
    (scores,) = evaluate_softmax({"x": toy()}, labels, SPLITS, n_trials=1)
    assert scores.n_epochs[0] < 60


def test_artists_are_drawn_whole_and_mfcc_evened_out(caplog):
    artists = ["" if s != "test" else f"artist {row // 3}" for row, s in enumerate(SPLITS)]
    loud = np.hstack([toy(), np.full((36, 1), 1e6)])  # as coefficient 0 of raw MFCCs
    loud[::5, -1] += 3e4
    caplog.set_level("INFO", "artist_features")
    (scores,) = evaluate_softmax({"mfcc": loud}, LABELS, SPLITS, artists, n_trials=1)
    assert scores.accuracy.n_clusters == 3
    assert scores.accuracy.estimate == 1
    assert "mfcc: trial 1 of 1" in caplog.messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"splits": ["train"] * 36}, r"no track is in split 'valid'; the protocol needs all"),
        ({"labels": ["a"] * 36}, r"all tracks are of class 'a'; two or more are needed"),
        ({"labels": [*LABELS[:-1], "ska"]}, r"class 'ska' has no training track \(1 have none\)"),
        ({"vectors_by_name": {"x": np.ones((36, 2))}}, r"all numbers of the training part are eq"),
    ],
)
def test_what_cannot_be_scored_is_refused(options, message):
    given = {"vectors_by_name": {"x": toy()}, "labels": LABELS, "splits": SPLITS, **options}
    with pytest.raises(ValueError, match=message):
        evaluate_softmax(**given)
