"""A model in operations that every runtime has: no complex numbers, no Fourier transform.

Kapre's layers up to the log-mel are written anew from their own constants; the network is
the model's own layers. `check.py` compares the result with Keras each time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from artist_features.config import FrontEnd
from artist_features.zoo.frontend import Standardisation

Float32Array: TypeAlias = npt.NDArray[np.float32]
TensorFunction: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

_MAX_NUMBERS = 1 << 24  # in `FourierConstants.second`: 64 MiB; n_fft 1024 needs 69,632


def plain_function(
    model: keras.Model, front_end: FrontEnd
) -> tf.types.experimental.GenericFunction:
    """Return the whole model as a function of waveform segments.

    Args:
        model: from `models.backbone()`.
        front_end: of the model.

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
    def embed(waveform: tf.Tensor) -> tf.Tensor:
        return network(log_mel(waveform), training=False)

    # TFLite's converter keeps either names of inputs and outputs or values of variables
    constant = convert_variables_to_constants_v2(embed.get_concrete_function())

    @tf.function(input_signature=[signature(front_end)])
    def embed_by_name(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        (embedding,) = constant(waveform)
        return {"embedding": embedding}

    return embed_by_name


def signature(front_end: FrontEnd) -> tf.TensorSpec:
    """TensorFlow input signature of an exported model: waveform `(None, segment_samples)`."""
    return tf.TensorSpec((None, front_end.segment_samples), tf.float32, name="waveform")


def log_mel_function(filterbank: Float32Array, front_end: FrontEnd) -> TensorFunction:
    """Rebuild `zoo.frontend.log_mel` from operations that ONNX and TFLite support.

    Constants stand left of the products: TFLite's converter to int8 quantises those on the
    right, and what multiplies them, to 8 bits, in which a quiet band drowns beside a loud one.

    Args:
        filterbank: float32 `(n_fft // 2 + 1, n_mels)`.

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
    mel_filters = transform.permute(np.asarray(filterbank, np.float32))

    def log_mel(waveform: tf.Tensor) -> tf.Tensor:
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


@dataclass(frozen=True)
class FourierConstants:
    """Constants of the Fourier transform of frames of n = n1 * n2 real samples.

    One product with all sines and cosines costs 1 million multiplications a frame (of 1024
    samples) and 4 MB; in two steps, of 32 times 32, it is a tenth of that, and 0.3 MB. Source:
    J. W. Cooley, J. W. Tukey, "An Algorithm for the Machine Calculation of Complex Fourier
    Series", Math. Comp. 19 (1965), for a length that is a product of two factors.

    Sample n2 a + b of a frame lies at [a, b]. The first step transforms along a, the second
    along b. Of the n1 rows between them the n1 // 2 + 1 = n_rows first do: the frame is real, so
    that the others are their mirror image.

    Attributes:
        shape: (n1, n2).
        first: float32 `(2 n_rows, n1)`; row 2 c gives the real part, 2 c + 1 the imaginary.
        second: float32 `(n_rows, 2 n2, 2 n2)`, from real then imaginary parts along b to real
            then imaginary parts along d.
        frequency: int `(n_rows * n2,)`, the bin 0 to n // 2 whose magnitude comes out at [c, d].
    """

    shape: tuple[int, int]
    first: Float32Array
    second: Float32Array
    frequency: npt.NDArray[np.int64]

    @property
    def n_rows(self) -> int:
        """Rows that the first step keeps."""
        return len(self.second)

    def permute(self, filterbank: Float32Array) -> Float32Array:
        """Return a filterbank with its bins in the order of the transform's magnitudes.

        Args:
            filterbank: float32 `(n // 2 + 1, n_mels)`.

        Returns:
            float32 `(n_mels, n_rows * n2)`; a bin that comes out twice counts once.
        """
        rows = np.zeros((len(self.frequency), filterbank.shape[1]), np.float32)
        bins, places = np.unique(self.frequency, return_index=True)
        rows[places] = filterbank[bins]
        return np.ascontiguousarray(rows.T)


def fourier(n: int) -> FourierConstants:
    """Cooley-Tukey DFT matrices (two steps, n = n1 * n2) for real frames of `n` samples.

    Raises:
        ValueError: `n` is large and has no two factors of about the same size.
    """
    n1 = max(factor for factor in range(1, math.isqrt(n) + 1) if n % factor == 0)
    n2, n_rows = n // n1, n1 // 2 + 1
    if (n_numbers := n_rows * 4 * n2 * n2) > _MAX_NUMBERS:
        raise ValueError(
            f"n_fft {n}: its transform takes {n_numbers} constants; allowed are {_MAX_NUMBERS}. "
            "The format saved_model has no such limit."
        )
    a, b, c, d = np.arange(n1), np.arange(n2), np.arange(n_rows), np.arange(n2)
    along_a = _unit_circle(np.outer(c, a), n1)
    k = c[:, None] + n1 * d  # (c, d)
    along_b = _unit_circle(k[:, :, None] * b, n)  # (c, d, b)
    return FourierConstants(
        shape=(n1, n2),
        first=np.stack([along_a.real, along_a.imag], 1).reshape(-1, n1).astype(np.float32),
        second=np.block(
            [[along_b.real, -along_b.imag], [along_b.imag, along_b.real]],
        ).astype(np.float32),
        frequency=np.minimum(k, n - k).ravel(),
    )


def _unit_circle(steps: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.complex128]:
    """Twiddle factors exp(-2 pi i steps / n), exact to float64 for large integers."""
    return np.exp(-2j * np.pi * (steps % n) / n)
