"""A model in operations that every runtime has: no complex numbers, no Fourier transform.

Kapre's layers up to the log-mel are written anew from their own constants; the network is
the model's own layers. `check.py` compares the result with Keras each time.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from artist_features.export.fourier import fourier
from artist_features.signal.frontend import Standardisation


def plain_function(model, front_end):
    """Return the whole model as a function of waveform segments.

    Args:
        model: `keras.Model` from `models.backbone()`.
        front_end: its `FrontEnd`.

    Returns:
        `tf.function`: "waveform" float32 `(batch, n_samples)` to {"embedding": float32
        `(batch, dim)`}.

    Raises:
        ValueError: the front end's Fourier transform is too large, see `fourier`.
    """
    (layer,) = [layer for layer in model.layers if isinstance(layer, Standardisation)]
    network = keras.Model(layer.output, model.output)
    log_mel = log_mel_function(model.get_layer("mel").filterbank, front_end)

    @tf.function(input_signature=[signature(front_end)])
    def embed(waveform):
        return network(log_mel(waveform), training=False)

    # TFLite's converter keeps either names of inputs and outputs or values of variables
    constant = convert_variables_to_constants_v2(embed.get_concrete_function())

    @tf.function(input_signature=[signature(front_end)])
    def embed_by_name(waveform):
        (embedding,) = constant(waveform)
        return {"embedding": embedding}

    return embed_by_name


def signature(front_end):
    """Return the `tf.TensorSpec` of the input."""
    return tf.TensorSpec((None, front_end.segment_samples), tf.float32, name="waveform")


def log_mel_function(filterbank, front_end):
    """Return `signal.frontend.log_mel` as a function of plain operations.

    Constants stand left of the products: TFLite's converter to int8 quantises those on the
    right, and what multiplies them, to 8 bits, in which a quiet band drowns beside a loud one.

    Args:
        filterbank: float32 `(n_fft // 2 + 1, n_mels)`.
        front_end: `FrontEnd`.

    Returns:
        function: float32 `(batch, n_samples)` to standardised log-mel, float32
        `(batch, n_frames, n_mels)`.
    """
    # a frame is n_fft / block blocks in a row, the next begins hop_length / block later
    block = math.gcd(front_end.hop_length, front_end.n_fft)
    starts = np.arange(front_end.segment_frames) * (front_end.hop_length // block)
    blocks = starts[:, None] + np.arange(front_end.n_fft // block)
    transform = fourier(front_end.n_fft)
    n_frames, (n1, n2) = front_end.segment_frames, transform.shape
    window = tf.signal.hann_window(front_end.n_fft).numpy().reshape(n1, n2)
    mel_filters = transform.sorted_like_output(np.asarray(filterbank, np.float32))

    def log_mel(waveform):
        if front_end.level_db is not None:
            power = tf.reduce_mean(waveform * waveform, axis=1, keepdims=True)
            # of the root, as float16 has hardly a digit of the floor's square, 1e-7
            rms = tf.maximum(tf.sqrt(power), 10 ** (front_end.level_floor_db / 20))
            waveform = waveform * (10 ** (front_end.level_db / 20) / rms)
        x = tf.reshape(waveform, (-1, front_end.segment_samples // block, block))
        x = tf.reshape(tf.gather(x, blocks.astype(np.int32), axis=1), (-1, n_frames, n1, n2))
        x = tf.matmul(transform.first, x * window)  # (batch, frame, row and part, n2)
        x = tf.reshape(x, (-1, n_frames, transform.n_rows, 2 * n2))
        x = tf.transpose(x, (0, 2, 1, 3))
        x = tf.matmul(transform.second, x, transpose_b=True)  # (batch, row, part and n2, frame)
        x = x * x
        x = tf.sqrt(x[:, :, :n2] + x[:, :, n2:])
        x = tf.matmul(mel_filters, tf.reshape(x, (-1, transform.n_rows * n2, n_frames)))
        x = tf.transpose(x, (0, 2, 1))
        # ONNX has no log1p; what log loses below 1e-7 is 1e-7 of the standardised log-mel
        x = tf.math.log(1.0 + front_end.log_scale * x) * (1.0 / math.log(10.0))
        return (x - front_end.mean) * (1.0 / front_end.std)

    return log_mel
