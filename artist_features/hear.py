"""The common API of HEAR (Holistic Evaluation of Audio Representations).

    model = artist_features.hear.load_model()
    scenes = artist_features.hear.get_scene_embeddings(audio, model)
    embeddings, timestamps = artist_features.hear.get_timestamp_embeddings(audio, model)

A scene embedding is that of `extract`: the mean over consecutive segments of 3 s.
A timestamp embedding is the network's output for the one segment of 3 s that is centred
on the timestamp. Neighbouring segments overlap nearly wholly: their log-mel is computed
once for the clip and shared, which halves the work and changes nothing. The convolutions
run on each segment by itself. Sharing them, too, would be cheaper still, but not the
same network: each of its layers pads the segment with zeros, and these reach its every
output after the third pooling.

Source: https://hearbenchmark.com/hear-api.html
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from artist_features.audio.segments import Segmenter
from artist_features.audio.stream import open_array
from artist_features.config import FrontEnd
from artist_features.errors import AudioError
from artist_features.extraction.batching import NOT_FINITE, inference_function
from artist_features.zoo import registry
from artist_features.zoo.frontend import Standardisation, front_end_of

MAX_HOP_MS = 50.0  # of timestamps. Source: HEAR API, tolerance of music transcription
_BATCH = 64  # segments in one call of the network


class HearModel(tf.Module):  # type: ignore[misc]
    """HEAR-API model: a `tf.Module` with sample rate and embedding sizes.

    Args:
        model: `keras.Model` as `artist_features.load_model` gives it.

    Attributes:
        sample_rate: of the audio it takes, in Hz (22,050).
        scene_embedding_size, timestamp_embedding_size: length of an embedding (256).
        front_end: its `FrontEnd`.
        timestamp_hop_frames: STFT frames between two timestamps (2, which is 46.4 ms).
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="artist_features")
        self.front_end: FrontEnd = front_end_of(model)
        self.sample_rate: int = self.front_end.sample_rate
        self.scene_embedding_size: int = int(model.output_shape[-1])
        self.timestamp_embedding_size: int = self.scene_embedding_size
        frame_ms = 1000 * self.front_end.hop_length / self.sample_rate
        self.timestamp_hop_frames: int = max(1, int(MAX_HOP_MS / frame_ms))
        self.keras_model = model
        self.weights = [variable.value for variable in model.variables]  # so that tf finds them
        self.embed = inference_function(model)
        (layer,) = [layer for layer in model.layers if isinstance(layer, Standardisation)]
        waveform = model.get_layer("stft").input  # after the level
        self._log_mel_of = inference_function(keras.Model(waveform, layer.output))
        self._embed_log_mel = _function_of_overlapping(
            keras.Model(layer.output, model.output), self.timestamp_hop_frames
        )

    def log_mel(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Compute the standardised log-mel of one clip, in pieces of bounded size.

        A model with a level gets the whole clip at that level: segments of it overlap, so they
        cannot have one each.

        Args:
            samples: float32 `(n_samples,)`, n_samples >= 1.

        Returns:
            float32 `(n_frames, n_mels)`; frame k is centred on sample k * hop_length.
        """
        front_end = self.front_end
        if front_end.level_db is not None:
            power = max(float(np.mean(np.square(samples))), 10 ** (front_end.level_floor_db / 10))
            samples = samples * np.float32(10 ** (front_end.level_db / 20) / np.sqrt(power))
        n_frames = len(samples) // front_end.hop_length + 1
        padded = np.pad(samples, front_end.pad_samples, mode="reflect")
        n_pieces = -(-n_frames // front_end.segment_frames)
        n_needed = (n_pieces - 1) * front_end.segment_hop_samples + front_end.segment_samples
        padded = np.pad(padded, (0, max(0, n_needed - len(padded))))
        pieces = np.lib.stride_tricks.sliding_window_view(padded, front_end.segment_samples)
        pieces = pieces[:: front_end.segment_hop_samples][:n_pieces]
        log_mel = _in_batches(self._log_mel_of, pieces)
        return log_mel.reshape(-1, front_end.n_mels)[:n_frames]

    def embed_timestamps(self, log_mel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Embed the segment about every timestamp of one clip.

        Args:
            log_mel: float32 `(n_frames, n_mels)`, of `log_mel`.

        Returns:
            float32 `(n_timestamps, dim)`, one at the first frame and at each
            `timestamp_hop_frames` after it. Where a segment reaches over the clip, there
            is silence.
        """
        hop, length = self.timestamp_hop_frames, self.front_end.segment_frames
        silence = -self.front_end.mean / self.front_end.std
        before = (length - 1) // 2
        n_timestamps = (len(log_mel) - 1) // hop + 1
        padded = np.pad(
            log_mel, ((before, length - 1 - before), (0, 0)), constant_values=np.float32(silence)
        )
        rows = [
            self._embed_log_mel(padded[first * hop : (last - 1) * hop + length]).numpy()
            for first, last in _spans(n_timestamps)
        ]
        return np.concatenate(rows)

    def timestamps_ms(self, n_timestamps: int) -> npt.NDArray[np.float64]:
        """Return the centres of the segments, float64 `(n_timestamps,)`, in milliseconds."""
        frames = self.timestamp_hop_frames * np.arange(n_timestamps, dtype=np.float64)
        frames += (self.front_end.segment_frames - 1) % 2 / 2  # an even segment has no middle
        return frames * (1000 * self.front_end.hop_length / self.sample_rate)


def load_model(model_file_path: str = "") -> HearModel:
    """Load a model for HEAR.

    Args:
        model_file_path: bundled name ("siamese", "basic"), path of a model folder, or
            "hf://owner/name[@revision]"; "" means "siamese".

    Returns:
        `HearModel`.

    Raises:
        ValueError: unknown name.
        WeightsError: the weights cannot be fetched, verified or read.
    """
    return HearModel(registry.load_model(model_file_path or "siamese"))


def get_scene_embeddings(audio: tf.Tensor | npt.ArrayLike, model: HearModel) -> tf.Tensor:
    """Embed each sound as `extract(sound, sample_rate=22050)` does.

    Args:
        audio: float32 tensor or array `(n_sounds, n_samples)`, mono at
            `model.sample_rate`, in [-1, 1]. A sound under 2.97 s is looped.
        model: from `load_model`.

    Returns:
        float32 tensor `(n_sounds, scene_embedding_size)`.

    Raises:
        TypeError, ValueError: audio of another type or shape, or no samples.
        AudioError: samples that are not finite or far outside [-1, 1], or an embedding that
            is not finite.

    Example:
        >>> model = load_model()
        >>> get_scene_embeddings(np.zeros((2, 22050), "float32"), model).shape
        TensorShape([2, 256])
    """
    rows = []
    for samples in _sounds(audio, model):
        segmenter = Segmenter(model.front_end)
        segments = np.concatenate([segmenter.push(samples), segmenter.finish()])
        rows.append(_in_batches(model.embed, segments).mean(axis=0, dtype=np.float64))
    return tf.constant(_stack(rows, (model.scene_embedding_size,)), tf.float32)


def get_timestamp_embeddings(
    audio: tf.Tensor | npt.ArrayLike, model: HearModel
) -> tuple[tf.Tensor, tf.Tensor]:
    """Embed each sound every 46.4 ms.

    Args:
        audio: float32 tensor or array `(n_sounds, n_samples)`, mono at
            `model.sample_rate`, in [-1, 1].
        model: from `load_model`.

    Returns:
        (embeddings, timestamps): float32 tensor
        `(n_sounds, n_timestamps, timestamp_embedding_size)`, and float64 tensor
        `(n_sounds, n_timestamps)`, the centres of the segments embedded, in milliseconds,
        from 0 to the end of the sound. (In float32 they would not be evenly spaced.)

    Raises:
        TypeError, ValueError: audio of another type or shape, or no samples.
        AudioError: samples that are not finite or far outside [-1, 1], or an embedding that
            is not finite.

    Example:
        >>> model = load_model()
        >>> embeddings, timestamps = get_timestamp_embeddings(np.zeros((1, 4410)), model)
        >>> embeddings.shape
        TensorShape([1, 5, 256])
        >>> timestamps.numpy().round(1).tolist()
        [[0.0, 46.4, 92.9, 139.3, 185.8]]
    """
    sounds = _sounds(audio, model)
    n_timestamps = sounds.shape[1] // model.front_end.hop_length // model.timestamp_hop_frames + 1
    shape = (n_timestamps, model.timestamp_embedding_size)
    rows = [model.embed_timestamps(model.log_mel(samples)) for samples in sounds]
    timestamps = np.tile(model.timestamps_ms(n_timestamps), (len(sounds), 1))
    return tf.constant(_stack(rows, shape), tf.float32), tf.constant(timestamps, tf.float64)


def _sounds(audio: tf.Tensor | npt.ArrayLike, model: HearModel) -> npt.NDArray[np.float32]:
    """Return the sounds as float32 `(n_sounds, n_samples)`, checked as `extract` does."""
    if not isinstance(model, HearModel):
        raise TypeError(
            f"model is {type(model).__name__}; allowed is what artist_features.hear.load_model() "
            "gives."
        )
    audio = np.asarray(audio)
    if audio.dtype.kind != "f":
        raise TypeError(f"audio of dtype {audio.dtype}; allowed are floats in [-1, 1].")
    if audio.ndim != 2 or not audio.shape[1]:
        raise ValueError(
            f"audio of shape {audio.shape}; allowed is (n_sounds, n_samples), n_samples >= 1."
        )
    rows = []
    rate = model.sample_rate
    for number, samples in enumerate(audio):
        try:
            rows.append(open_array(samples, sample_rate=rate, target_rate=rate).read())
        except AudioError as error:
            raise AudioError(error.code, error.message, f"sound {number}") from None
    return _stack(rows, audio.shape[1:])


def _function_of_overlapping(model: keras.Model, hop: int) -> Callable[..., tf.Tensor]:
    """Return a function that cuts float32 `(n_frames, n_mels)` each `hop` frames and embeds."""
    segment_frames, n_mels = model.input_shape[1:]

    @tf.function(input_signature=[tf.TensorSpec((None, n_mels), tf.float32)])
    def embed(log_mel: tf.Tensor) -> tf.Tensor:
        # (segment, frame, mel)
        segments = tf.signal.frame(log_mel, segment_frames, hop, axis=0)
        return model(segments, training=False)

    return embed


def _in_batches(
    function: Callable[..., tf.Tensor], rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Apply a function to `_BATCH` rows at a time, so that memory stays bounded."""
    done = [function(tf.constant(rows[start:end])).numpy() for start, end in _spans(len(rows))]
    return np.concatenate(done)


def _spans(count: int) -> list[tuple[int, int]]:
    """Return (start, end) of each batch of `count` rows."""
    return [(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]


def _stack(rows: list[npt.NDArray[Any]], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Stack the embeddings of all sounds; raise if one is not finite."""
    for number, row in enumerate(rows):
        if not np.isfinite(row).all():
            raise AudioError("not_finite", NOT_FINITE, f"sound {number}")
    return np.stack(rows) if rows else np.empty((0, *shape), np.float32)
