"""Whiten the last block of a trained model, so that no few directions decide what is alike.

After training, embeddings vary mostly in a handful of directions, and the cosine between two
of them tells little about the others. The new block is computed, not trained.
"""

import dataclasses
import datetime
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features.errors import ManifestError, OutputError, WeightsError
from artist_features.training import data, runfolder
from artist_features.training.options import Options
from artist_features.training.whitening import whitening_matrix
from artist_features.zoo import folder as model_folder
from artist_features.zoo.registry import read_model

# of the covariance towards that of directions which vary alike; source: our comparison on
# the artists that check a run: 0.003 to 0.2 find an artist's other tracks equally well
SHRINKAGE = 0.1
_MAX_CROPS = 40  # of a track: an hour of one artist is no more than two minutes
_BATCH = 64
_ENOUGH = 10  # segments for each number, or a warning
_ROUNDING = 1e-9  # what varies by less, relative to its size, does not vary
_WHITENED = "; last block whitened."  # ends the description, once


def whiten(
    spec,
    manifests,
    out,
    *,
    name="",
    cache=None,
    split_seed=0,
    root=None,
    force=False,
    command="",
    say=print,
    whole=lambda function: function,
):
    """Write a copy of a model with its last block whitened.

    Let h be the m numbers of a segment that the last block is given. The new block makes 2 m
    of them, ReLU(z) and ReLU(-z), z = S (h - mean): S is the symmetric matrix that whitens h
    over segments of the tracks to train on (ZCA), the covariance shrunk by `SHRINKAGE`.

    Args:
        spec: bundled name, model folder or Hub id.
        manifests: paths of CSV files; held-out artists are left out as in training.
        out: folder to write: new, or with nothing in it but a cache.
        name: of the new model; "" means that of the folder.
        cache: folder of prepared audio, as of a training run; None means OUT/cache.
        split_seed: of the held-out artists, as in training.
        root: folder of relative files; None means that of each manifest.
        force: write into a folder with files in it, and replace those of a model.
        command: for the card.
        say: function that takes lines for the user.
        whole: decorator of what a stop must not break off (a batch, the model); it may raise
            after that.

    Returns:
        The `ModelCard` written, without the old model's scores.

    Raises:
        ManifestError: a manifest cannot be used, no track of it, or all segments are alike.
        WeightsError: the model cannot be read, or its last block is no convolution of kernel
            size 1 that doubles the numbers (the paper's is).
        OutputError: the folder cannot be written, or has files in it.
        ValueError: the name is not allowed.
    """
    card, weights = read_model(spec)
    _check_last_block(card, spec)
    before = f"{card.name}, sha256 {card.weights_sha256}"
    name = Options(name=name).model_name(Path(out))
    description = card.description.removesuffix(_WHITENED).rstrip(".") + _WHITENED
    card = dataclasses.replace(card, name=name, description=description)
    try:
        _claim(Path(out), force)
        cache = cache or Path(out) / "cache"
        found = data.load(manifests, cache, card.front_end, split_seed=split_seed, root=root)
    except OSError as error:
        text = f"cannot be written ({error.strerror or error}); choose another folder."
        raise OutputError("not_writable", text, error.filename or out) from None
    for _, error in found.cache.failures:
        say(f"left out: {error}")
    if not len(found.free):
        text = (
            f"no track to train on can be used: {len(found.tracks)} in all, {found.short} shorter "
            f"than a segment, {len(found.cache.failures)} unreadable, the others held out."
        )
        raise ManifestError(text, manifests[0])
    model = model_folder.build(card, weights)
    conv = model.get_layer(f"block{len(card.network.filters)}_conv")
    mean, covariance, n_segments = _moments(model, conv.input, found, card.front_end, whole)
    if not np.trace(covariance) > _ROUNDING * np.sum(mean**2):
        text = f"its {n_segments} segments all sound alike; more music is needed."
        raise ManifestError(text, manifests[0])
    if n_segments < _ENOUGH * len(mean):
        say(f"warning: {n_segments} segments say little about {len(mean)} numbers; add music")
    _replace(model, conv, mean, covariance)
    facts = {
        "before": before,
        "shrinkage": SHRINKAGE,
        "manifests": [Path(manifest).name for manifest in manifests],
        "data_sha256": found.sha256,
        "split_seed": split_seed,
        "hours": round(found.hours, 2),
        "n_tracks": len(found.free),
        "n_segments": n_segments,
        "date": str(datetime.date.today()),
        "versions": runfolder.versions(),
        "command": command,
    }
    fields = {f.name: getattr(card, f.name) for f in dataclasses.fields(card)}
    del fields["weights_sha256"]
    fields |= {"training": card.training | {"whitened": facts}, "scores": {}}
    return whole(model_folder.write_folder)(out, model, fields)


def _claim(out, force):
    """Make the folder, and refuse one with something in it."""
    out.mkdir(parents=True, exist_ok=True)
    found = sorted({path.name for path in out.iterdir()} - {"cache"})
    if found and not force:
        text = f"has {found[0]!r} in it; choose a new folder, or add --force."
        raise OutputError("mismatch", text, out)


def _check_last_block(card, spec):
    network = card.network
    n_given, n_made = [card.front_end.n_mels, *network.filters][-2:]
    if network.kernel_sizes[-1] != 1 or n_made != 2 * n_given:
        text = (
            f"its last block makes {n_made} numbers of {n_given}, with a kernel size of "
            f"{network.kernel_sizes[-1]}; whitening needs twice as many, and a kernel size of 1."
        )
        raise WeightsError("incompatible", text, spec)


def _moments(model, given, found, front_end, whole):
    """Return mean and covariance of what a layer is given, and of how many segments."""
    dim, n_samples = given.shape[-1], front_end.segment_samples
    hidden = keras.Model(model.input, given)
    signature = [tf.TensorSpec((None, n_samples, 1), tf.float32)]
    hear = whole(tf.function(lambda waveforms: hidden(waveforms, training=False), signature))
    places = [place for t in found.free for place in found.cache.places(t, n_samples, _MAX_CROPS)]
    count, total, products = 0, np.zeros(dim), np.zeros((dim, dim))
    for start in tqdm(range(0, len(places), _BATCH), "whiten", unit="batch", disable=None):
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
    variance = np.maximum(np.diag(matrix @ covariance @ matrix), 0)  # rounding may go below
    variance = np.hstack([variance, variance])
    norm = model.get_layer(conv.name.replace("conv", "norm"))
    zeros = np.zeros_like(variance)
    norm.set_weights([np.sqrt(variance + norm.epsilon), zeros, zeros, variance])
