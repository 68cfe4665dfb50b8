"""Keras models: CNN backbone (what `train` builds), artist classifier and Siamese model.

`train` builds the backbone only and puts heads of its own on it (`training/learner.py`);
`basic` and `siamese` are the paper's models for a training loop of yours. The bundled weights of
these names are not trained as in the paper: the backbone was distilled from two teachers, then
trained on artist labels with one head or the other (docs/training.md).

Sources: P = Park et al., ISMIR 2018, section 3; C = the authors' `model.py`.
"""

import keras

from artist_features.config import FrontEnd, Network
from artist_features.errors import checked_int
from artist_features.zoo.frontend import log_mel


def backbone(
    *,
    front_end: FrontEnd | None = None,
    network: Network | None = None,
    name: str = "backbone",
) -> keras.Model:
    """Build the CNN that turns waveform segments into embeddings, untrained.

    Five blocks of convolution, batch normalisation, ReLU and max pooling over the
    log-mel, then the average over time (C). With the defaults it has 265,984
    parameters, batch-normalisation statistics included.

    Args:
        front_end: `FrontEnd`; None means the authors' values.
        network: `Network`; None means the paper's layers.
        name: of the Keras model.

    Returns:
        `keras.Model`: float32 `(batch, 66560, 1)`, mono at 22,050 Hz in [-1, 1],
        to float32 `(batch, 256)`.

    Raises:
        ValueError: the pools leave no frame of a segment.

    Example:
        >>> backbone().count_params()
        265984
    """
    front_end = front_end or FrontEnd()
    network = network or Network()
    if not network.frames_out(front_end.segment_frames):
        raise ValueError(
            f"segment_frames is {front_end.segment_frames}; pool_sizes {network.pool_sizes} leave "
            "none of them: give more frames, or smaller pool_sizes."
        )
    waveform = keras.Input((front_end.segment_samples, 1), dtype="float32", name="waveform")
    x = log_mel(waveform, front_end)
    blocks = zip(network.filters, network.kernel_sizes, network.pool_sizes, strict=True)
    for number, (filters, kernel_size, pool_size) in enumerate(blocks, start=1):
        x = keras.layers.Conv1D(
            filters,
            kernel_size,
            padding="same",
            data_format="channels_last",  # whatever keras.json says
            kernel_initializer="he_uniform",
            kernel_regularizer=keras.regularizers.L2(network.l2),
            name=f"block{number}_conv",
        )(x)
        x = keras.layers.BatchNormalization(axis=-1, name=f"block{number}_norm")(x)
        x = keras.layers.ReLU(name=f"block{number}")(x)
        if pool_size > 1:
            x = keras.layers.MaxPooling1D(
                pool_size, data_format="channels_last", name=f"block{number}_pool"
            )(x)
    # float32 under any dtype policy: distances between embeddings need the digits
    x = keras.layers.GlobalAveragePooling1D(
        data_format="channels_last", dtype="float32", name="embedding"
    )(x)
    return keras.Model(waveform, x, name=name)


def basic(n_artists: int, *, tower: keras.Model | None = None) -> keras.Model:
    """Build the artist classifier: the backbone and a softmax over artists.

    Train it with categorical cross-entropy (P section 3.1).

    Args:
        n_artists: number of classes, >= 2.
        tower: backbone to train; None builds a new one.

    Returns:
        `keras.Model`: float32 `(batch, 66560, 1)` to probabilities
        float32 `(batch, n_artists)`.

    Raises:
        ValueError: n_artists is below 2.
    """
    n_artists = checked_int("n_artists", n_artists, 2)
    tower = tower or backbone()
    probabilities = keras.layers.Dense(
        n_artists, activation="softmax", dtype="float32", name="artist"
    )(tower.output)
    return keras.Model(tower.input, probabilities, name="basic")


def siamese(n_negatives: int = 4, *, tower: keras.Model | None = None) -> keras.Model:
    """Build the Siamese model: cosine similarities of one shared backbone.

    Train it with `artist_features.training.losses.SiameseHinge` (P section 3.2).

    Args:
        n_negatives: tracks of other artists per anchor, >= 1. Source of 4: P, C.
        tower: backbone to train; None builds a new one.

    Returns:
        `keras.Model`: inputs `anchor` and `positive` float32 `(batch, 66560, 1)`,
        `negatives` float32 `(batch, n_negatives, 66560, 1)`; output float32
        `(batch, 1 + n_negatives)`: similarity of the anchor to the positive, then
        to each negative, in [-1, 1].

    Raises:
        ValueError: n_negatives is below 1.
    """
    n_negatives = checked_int("n_negatives", n_negatives, 1)
    tower = tower or backbone()
    segment = tower.input_shape[1:]
    anchor = keras.Input(segment, name="anchor")
    positive = keras.Input(segment, name="positive")
    negatives = keras.Input((n_negatives, *segment), name="negatives")
    others = [positive] + [negatives[:, k] for k in range(n_negatives)]
    anchor_embedding = tower(anchor)
    cosine = keras.layers.Dot(axes=1, normalize=True, dtype="float32", name="cosine")
    similarities = [cosine([anchor_embedding, tower(other)]) for other in others]
    joined = keras.layers.Concatenate(dtype="float32", name="similarity")(similarities)
    return keras.Model([anchor, positive, negatives], joined, name="siamese")
