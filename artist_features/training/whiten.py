"""ZCA whitening of a trained model's last block (`artist-features whiten`).

A command of its own, not a part of `train`: embeddings of a trained model vary mostly in a
handful of directions, and the cosine between two of them tells little about the others. The new
block is computed, not trained.
"""

import dataclasses
import datetime
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from artist_features.config import FrontEnd, ModelCard
from artist_features.errors import ManifestError, OutputError, WeightsError
from artist_features.files import writable
from artist_features.progress import progress_bar
from artist_features.training import data
from artist_features.training.inputs import read_splits
from artist_features.training.options import model_name
from artist_features.training.run_folder import versions
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

logger = logging.getLogger(__name__)


def whiten(
    spec: str | Path,
    manifests: Sequence[str | Path],
    out: str | Path,
    *,
    name: str = "",
    cache: str | Path | None = None,
    split_seed: int = 0,
    root: str | Path | None = None,
    force: bool = False,
    command: str = "",
    between_batches: Callable[[], None] = lambda: None,
) -> ModelCard:
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
        between_batches: called after each batch; what it raises ends the work.

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
    name = model_name(name, out)
    description = card.description.removesuffix(_WHITENED).rstrip(".") + _WHITENED
    card = dataclasses.replace(card, name=name, description=description)
    with writable(out, "choose another folder"):
        _claim(Path(out), force)
        listed = read_splits(manifests, split_seed, root)
        found = data.load(listed, cache or Path(out) / "cache", card.front_end)
    for _, error in found.cache.failures:
        logger.info("left out: %s", error)
    if not len(found.training):
        text = (
            f"no track to train on can be used: {len(found.tracks)} in all, {found.short} shorter "
            f"than a segment, {len(found.cache.failures)} unreadable, the others held out."
        )
        raise ManifestError(text, manifests[0])
    model = model_folder.build(card, weights)
    conv = model.get_layer(f"block{len(card.network.filters)}_conv")
    mean, covariance, n_segments = _moments(
        model, conv.input, found, card.front_end, between_batches
    )
    if not np.trace(covariance) > _ROUNDING * np.sum(mean**2):
        text = f"its {n_segments} segments all sound alike; more music is needed."
        raise ManifestError(text, manifests[0])
    if n_segments < _ENOUGH * len(mean):
        logger.warning("%d segments say little about %d numbers; add music", n_segments, len(mean))
    _replace(model, conv, mean, covariance)
    facts = {
        "before": before,
        "shrinkage": SHRINKAGE,
        "manifests": [Path(manifest).name for manifest in manifests],
        "data_sha256": listed.sha256,
        "split_seed": split_seed,
        "hours": round(found.hours, 2),
        "n_tracks": len(found.training),
        "n_segments": n_segments,
        "date": str(datetime.date.today()),
        "versions": versions(),
        "command": command,
    }
    fields = vars(card) | {"training": card.training | {"whitened": facts}, "scores": {}}
    del fields["weights_sha256"]
    return model_folder.write_folder(out, model, fields)


def whitening_matrix(covariance: np.ndarray, shrinkage: float) -> np.ndarray:
    """Compute the symmetric matrix (ZCA) that whitens vectors of a covariance.

    Args:
        covariance: float64 `(dim, dim)`, not all zeros.
        shrinkage: 0 to 1, how much of each direction's variance is the mean of all.

    Example:
        >>> whitening_matrix(np.diag([4.0, 1.0]), 0.0).round(3).tolist()
        [[0.5, 0.0], [0.0, 1.0]]
    """
    variances, directions = np.linalg.eigh(covariance)
    variances = np.maximum(variances, 0)  # rounding may go below
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
    return (directions / np.sqrt(shrunk)) @ directions.T


def _claim(out: Path, force: bool) -> None:
    """Create the output folder; raise if it is not empty."""
    out.mkdir(parents=True, exist_ok=True)
    found = sorted({path.name for path in out.iterdir()} - {"cache"})
    if found and not force:
        text = f"has {found[0]!r} in it; choose a new folder, or add --force."
        raise OutputError("mismatch", text, out)


def _check_last_block(card: ModelCard, spec: str | Path) -> None:
    network = card.network
    n_given, n_made = [card.front_end.n_mels, *network.filters][-2:]
    if network.kernel_sizes[-1] != 1 or n_made != 2 * n_given:
        text = (
            f"its last block makes {n_made} numbers of {n_given}, with a kernel size of "
            f"{network.kernel_sizes[-1]}; whitening needs twice as many, and a kernel size of 1."
        )
        raise WeightsError("incompatible", text, spec)


def _moments(
    model: keras.Model,
    given: keras.KerasTensor,
    found: data.TrainingSet,
    front_end: FrontEnd,
    between_batches: Callable[[], None],
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return mean and covariance of a layer's input, and of how many segments."""
    dim, n_samples = given.shape[-1], front_end.segment_samples
    hidden = keras.Model(model.input, given)
    signature = [tf.TensorSpec((None, n_samples, 1), tf.float32)]
    forward = tf.function(lambda waveforms: hidden(waveforms, training=False), signature)
    tracks, cache = found.training, found.cache
    positions = [at for t in tracks for at in cache.crop_positions(t, n_samples, _MAX_CROPS)]
    count, total, products = 0, np.zeros(dim), np.zeros((dim, dim))
    for start in progress_bar(range(0, len(positions), _BATCH), "whiten", unit="batch"):
        waveforms = cache.waveforms(positions[start : start + _BATCH], n_samples)
        rows = forward(tf.constant(waveforms)).numpy().reshape(-1, dim).astype(np.float64)
        count += len(rows)
        total += rows.sum(axis=0)
        products += rows.T @ rows
        between_batches()
    mean = total / count
    return mean, products / count - np.outer(mean, mean), len(positions)


def _replace(
    model: keras.Model, conv: keras.layers.Layer, mean: np.ndarray, covariance: np.ndarray
) -> None:
    """Set the weights of the last convolution and of its normalisation."""
    matrix = whitening_matrix(covariance, SHRINKAGE)
    kernel = np.hstack([matrix, -matrix])
    conv.set_weights([kernel[None], -mean @ kernel])
    # the statistics of this music; the normalisation's gamma undoes the division
    variance = np.maximum(np.diag(matrix @ covariance @ matrix), 0)  # rounding may go below
    variance = np.hstack([variance, variance])
    norm = model.get_layer(conv.name.replace("conv", "norm"))
    zeros = np.zeros_like(variance)
    norm.set_weights([np.sqrt(variance + norm.epsilon), zeros, zeros, variance])
