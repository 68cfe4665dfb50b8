"""The paper's transfer protocol: one softmax layer on the vectors, a fixed split, 10 trials.

Every vector is standardised by one mean and one deviation, those of all numbers of the
training part. A layer of one softmax unit per class learns from batches of 16 by SGD; where
the loss on the validation part has not fallen for 8 epochs, it stops and takes back its best
weights. The score is the mean accuracy on the test part over 10 trials, which differ in the
first weights and in the order of the batches.

Source: `run_gtzan_dnn.py` of the authors' code (jongpillee/ismir2018-artist, MIT), from where
also Nesterov momentum, decay, the most epochs and the best weights are, which Park et al.,
ISMIR 2018, leave out.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from artist_features.errors import display_path
from artist_features.evaluation import baselines, report
from artist_features.metrics import Interval, correct

LEARNING_RATE = 0.01
DECAY = 1e-6  # per batch: rate / (1 + decay * batches)
MOMENTUM = 0.9  # Nesterov's
BATCH_SIZE = 16
PATIENCE = 8  # epochs
MAX_EPOCHS = 1000
N_TRIALS = 10
_STEPS_AT_ONCE = 64  # batches in one call of the graph; changes the speed alone

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SoftmaxScores(report.Scores):
    """Scores of the softmax layers on one model's vectors.

    Attributes:
        accuracy: `Interval` of the mean over trials, over clusters of test tracks.
        trials: accuracy of each trial, in [0, 1].
        n_epochs: of each trial, until it stopped.
    """

    accuracy: Interval
    trials: tuple[float, ...]
    n_epochs: tuple[int, ...]

    def to_record(self) -> dict[str, Any]:
        return {
            "accuracy": vars(self.accuracy),
            "accuracy_of_trials": list(self.trials),
            "n_epochs_of_trials": list(self.n_epochs),
            "difference_of_accuracy_to_first": vars(self.difference) if self.difference else None,
        }


def evaluate_softmax(
    vectors_by_name: Mapping[str, np.ndarray],
    labels: Sequence[str],
    splits: Sequence[str],
    clusters: Sequence[str] | None = None,
    *,
    n_trials: int = N_TRIALS,
    seed: int = 0,
) -> list[SoftmaxScores]:
    """Score several models by softmax layers on a fixed split.

    "mfcc" is standardised dimension by dimension over the training part first: raw MFCCs
    differ in scale by orders of magnitude.

    Args:
        vectors_by_name: {name: float `(n_tracks, dim)`}, the same tracks for each.
        labels: `(n_tracks,)`, class names.
        splits: `(n_tracks,)`, "train", "valid" or "test".
        clusters: `(n_tracks,)`, such as artists, for the bootstrap; None draws tracks.
        n_trials: >= 1.
        seed: of the first trial, an integer >= 0; the next has the next.

    Returns:
        list of `SoftmaxScores`, in the order of `vectors_by_name`.

    Raises:
        ValueError: an empty part, or a class that training lacks.
    """
    parts_of = np.asarray(splits)
    classes, numbers = _classes(np.asarray(labels), parts_of)
    test = parts_of == "test"
    drawn = range(int(np.sum(test))) if clusters is None else np.asarray(clusters)[test].tolist()
    scores: list[SoftmaxScores] = []
    first = None
    for name, vectors in vectors_by_name.items():
        if name == "mfcc":
            vectors = baselines.standardise(vectors, parts_of == "train")
        parts = _scaled_parts(vectors, parts_of)
        right, n_epochs = [], []
        for trial in range(n_trials):
            predicted, epochs = _trial(parts, numbers, parts_of, len(classes), seed + trial)
            right.append(correct(predicted, numbers[test]))
            n_epochs.append(epochs)
            logger.info("%s: trial %d of %d", display_path(name), trial + 1, n_trials)
        by_track, trials = np.mean(right, axis=0), tuple(np.mean(right, axis=1).tolist())
        interval, difference = report.compare(by_track, first, drawn)
        first = by_track if first is None else first
        scores.append(
            SoftmaxScores(name, np.shape(vectors)[1], difference, interval, trials, tuple(n_epochs))
        )
    return scores


def table(scores: list[SoftmaxScores], record: Mapping[str, Any]) -> str:
    """Format the softmax protocol; the record has `data`, `n_by_split` and `bootstrap`."""
    rows = [
        (report.shown_interval(row.accuracy), f"{min(row.trials):.3f} to {max(row.trials):.3f}")
        for row in scores
    ]
    parts = "/".join(str(n) for n in record["n_by_split"].values())
    text = (
        f"{record['data']}: softmax layer, mean of {len(scores[0].trials)} trials; "
        f"{record['n_tracks']} tracks ({parts} train/valid/test), {record['n_left_out']} left "
        f"out; 95 % bootstrap intervals over {record['bootstrap']['over']}; {record['date'][:10]}."
    )
    return report.table(("accuracy", "over trials"), "accuracy", scores, rows, text)


def _classes(labels: np.ndarray, splits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, sorted, and each track's number among them."""
    for split in ("train", "valid", "test"):
        if not np.any(splits == split):
            raise ValueError(f"no track is in split {split!r}; the protocol needs all three.")
    classes, numbers = np.unique(labels, return_inverse=True)
    if unknown := sorted(set(classes.tolist()) - set(labels[splits == "train"].tolist())):
        raise ValueError(f"class {unknown[0]!r} has no training track ({len(unknown)} have none).")
    if len(classes) < 2:
        raise ValueError(f"all tracks are of class {str(classes[0])!r}; two or more are needed.")
    return classes, numbers.astype(np.int64)


def _scaled_parts(vectors: np.ndarray, splits: np.ndarray) -> dict[str, np.ndarray]:
    """Return {split: float32 `(n, dim)`}, by one mean and deviation of the training part."""
    known = np.asarray(vectors, np.float64)[splits == "train"]
    mean, deviation = known.mean(), known.std()
    if deviation == 0:
        raise ValueError("all numbers of the training part are equal; nothing can be learnt.")
    scaled = ((vectors - mean) / deviation).astype(np.float32)
    return {split: scaled[splits == split] for split in ("train", "valid", "test")}


def _trial(
    parts: Mapping[str, np.ndarray],
    numbers: np.ndarray,
    splits: np.ndarray,
    n_classes: int,
    seed: int,
) -> tuple[np.ndarray, int]:
    """Train one layer; return the predicted int64 `(n_test,)` and the number of epochs."""
    import keras
    import tensorflow as tf

    layer = keras.layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seed),
        dtype="float32",
    )
    model = keras.Sequential([keras.Input((parts["train"].shape[1],)), layer])
    rate = keras.optimizers.schedules.InverseTimeDecay(LEARNING_RATE, 1, DECAY)
    model.compile(
        keras.optimizers.SGD(rate, momentum=MOMENTUM, nesterov=True),
        "sparse_categorical_crossentropy",
        steps_per_execution=_STEPS_AT_ONCE,
    )
    n_train, n_valid = len(parts["train"]), len(parts["valid"])
    train = tf.data.Dataset.from_tensor_slices((parts["train"], numbers[splits == "train"]))
    valid = tf.data.Dataset.from_tensor_slices((parts["valid"], numbers[splits == "valid"]))
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=PATIENCE, restore_best_weights=True
    )
    history = model.fit(
        train.shuffle(n_train, seed=seed).batch(BATCH_SIZE),
        validation_data=valid.batch(n_valid),
        epochs=MAX_EPOCHS,
        shuffle=False,  # the data set does
        callbacks=[stopping],
        verbose=0,
    )
    predicted = np.argmax(model(parts["test"]).numpy(), axis=1)
    return predicted, len(history.epoch)
