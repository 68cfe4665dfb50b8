"""Whiten the last block of a trained model, so that no few directions decide what is alike.

After training, embeddings vary mostly in a handful of directions, and the cosine between two
of them tells little about the others. The new block is computed, not trained.
"""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features.errors import ManifestError, WeightsError
from artist_features.training import data
from artist_features.training.whitening import whitening_matrix
from artist_features.zoo import folder as model_folder
from artist_features.zoo.registry import read_model

# of the covariance towards that of directions which vary alike; source: our comparison on
# the artists that check a run: 0.003 to 0.2 find an artist's other tracks equally well
SHRINKAGE = 0.1
_MAX_CROPS = 40  # of a track: an hour of one artist is no more than two minutes
_BATCH = 64


def whiten(spec, manifests, out, *, name=None, cache=None, split_seed=0, say=print):
    """Write a copy of a model with its last block whitened.

    Let h be the m numbers of a segment that the last block is given. The new block makes 2 m
    of them, ReLU(z) and ReLU(-z), z = S (h - mean): S is the symmetric matrix that whitens h
    over segments of the tracks to train on (ZCA), the covariance shrunk by `SHRINKAGE`.

    Args:
        spec: bundled name, model folder or Hub id.
        manifests: paths of CSV files; held-out artists are left out as in training.
        out: folder to write, another one than the model's.
        name: of the new model; None means that of the folder.
        cache: folder of prepared audio, as of a training run; None means OUT/cache.
        split_seed: of the held-out artists, as in training.
        say: function that takes lines for the user.

    Returns:
        The `ModelCard` written, without the old model's scores.

    Raises:
        ManifestError: a manifest cannot be used, or no track of it.
        WeightsError: the model cannot be read, or its last block is no convolution of kernel
            size 1 that doubles the numbers (the paper's is).
        OutputError: the folder cannot be written.
        ValueError: the name is not allowed.
    """
    card, weights = read_model(spec)
    before = f"{card.name}, sha256 {card.weights_sha256}"
    card = dataclasses.replace(card, name=name or Path(out).resolve().name)
    _check_last_block(card, spec)
    found = data.load(
        manifests, cache or Path(out) / "cache", card.front_end, split_seed=split_seed
    )
    for _, error in found.cache.failures:
        say(f"left out: {error}")
    if not len(found.free):
        raise ManifestError("no track to train on can be used.", manifests[0])
    model = model_folder.build(card, weights)
    conv = model.get_layer(f"block{len(card.network.filters)}_conv")
    mean, covariance, n_segments = _moments(model, conv.input, found, card.front_end)
    _replace(model, conv, mean, covariance)
    facts = {
        "shrinkage": SHRINKAGE,
        "n_tracks": len(found.free),
        "n_segments": n_segments,
        "data_sha256": found.sha256,
        "split_seed": split_seed,
        "before": before,
    }
    fields = {f.name: getattr(card, f.name) for f in dataclasses.fields(card)}
    del fields["weights_sha256"]
    fields |= {"training": card.training | {"whitened": facts}, "scores": {}}
    return model_folder.write_folder(out, model, fields)


def _check_last_block(card, spec):
    network = card.network
    n_given, n_made = [card.front_end.n_mels, *network.filters][-2:]
    if network.kernel_sizes[-1] != 1 or n_made != 2 * n_given:
        text = (
            f"its last block makes {n_made} numbers of {n_given}, with a kernel size of "
            f"{network.kernel_sizes[-1]}; whitening needs twice as many, and a kernel size of 1."
        )
        raise WeightsError("incompatible", text, spec)


def _moments(model, given, found, front_end):
    """Return mean and covariance of what a layer is given, and of how many segments."""
    dim, n_samples = given.shape[-1], front_end.segment_samples
    hidden = keras.Model(model.input, given)
    signature = [tf.TensorSpec((None, n_samples, 1), tf.float32)]
    hear = tf.function(lambda waveforms: hidden(waveforms, training=False), signature)
    places = [place for t in found.free for place in found.cache.places(t, n_samples, _MAX_CROPS)]
    count, total, products = 0, np.zeros(dim), np.zeros((dim, dim))
    for start in tqdm(range(0, len(places), _BATCH), desc="whiten", unit="batch"):
        crops = [found.cache.read(*p, n_samples) for p in places[start : start + _BATCH]]
        waveforms = np.stack(crops).astype(np.float32)[..., None] / 32767
        rows = hear(tf.constant(waveforms)).numpy().reshape(-1, dim).astype(np.float64)
        count += len(rows)
        total += rows.sum(axis=0)
        products += rows.T @ rows
    mean = total / count
    return mean, products / count - np.outer(mean, mean), len(places)


def _replace(model, conv, mean, covariance):
    matrix = whitening_matrix(covariance, SHRINKAGE)
    kernel = np.hstack([matrix, -matrix])
    conv.set_weights([kernel[None], -mean @ kernel])
    # what the normalisation finds in this music; its gamma undoes the division
    variance = np.diag(matrix @ covariance @ matrix)
    variance = np.hstack([variance, variance])
    norm = model.get_layer(conv.name.replace("conv", "norm"))
    zeros = np.zeros_like(variance)
    norm.set_weights([np.sqrt(variance + norm.epsilon), zeros, zeros, variance])
