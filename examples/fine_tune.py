"""Fine-tune: four mood quadrants on top of `siamese`, as a music-emotion study did.

    python examples/fine_tune.py clips.csv --epochs 20

`clips.csv` has the columns `file` (relative to it) and `quadrant` (0 to 3). The frozen
backbone trains a new `Dense(4)` first; then everything trains, slowly. Waveforms go in:
the mel front end is part of the model, and the saved `.keras` file needs nothing else.
docs/fine_tuning.md explains each step, and goes on to heads of one's own, tags, mixed
precision and several devices.
"""

import argparse
import csv
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from artist_features import load_model
from artist_features.extraction.decode import Source, decode_segments
from artist_features.zoo.frontend import front_end_of

N_QUADRANTS = 4


def main(argv=None):
    args = parse_args(argv)
    keras.utils.set_random_seed(0)  # the new layer's first weights, the order of the batches
    backbone = load_model("siamese")
    front_end = front_end_of(backbone)
    with open(args.clips, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    segments, labels = [], []
    for row in rows:
        stream = decode_segments(Source(str(args.clips.parent / row["file"])), front_end)
        segments += [segment for block in stream for segment in block]
        labels += [int(row["quadrant"])] * (len(segments) - len(labels))
    order = np.random.default_rng(0).permutation(len(segments))
    waveforms = np.stack(segments)[order, :, None]
    dataset = tf.data.Dataset.from_tensor_slices((waveforms, np.array(labels)[order]))
    dataset = dataset.shuffle(1024, seed=0).batch(16).prefetch(tf.data.AUTOTUNE)

    head = keras.layers.Dense(N_QUADRANTS, activation="softmax", dtype="float32", name="quadrant")
    model = keras.Model(backbone.input, head(backbone.output), name="mood")
    # frozen, batch normalisation keeps the statistics it was trained with
    backbone.trainable = False
    fit(model, dataset, args.epochs, learning_rate=1e-3)
    backbone.trainable = True
    history = fit(model, dataset, args.epochs, learning_rate=1e-5)
    model.save(args.out)
    print(f"{len(rows)} clips, {len(segments)} segments; written to {args.out}")
    print(f"training accuracy {history.history['accuracy'][-1]:.2f}; measure on held-out clips")


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("mood.keras"), help="ends in .keras")
    args = parser.parse_args(argv)
    if args.out.suffix != ".keras":
        parser.error(f"--out {args.out}: a Keras model is saved to a name that ends in .keras")
    return args


def fit(model, dataset, epochs, learning_rate):
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model.fit(dataset, epochs=epochs, verbose=2)


if __name__ == "__main__":
    main()
