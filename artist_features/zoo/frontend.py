"""Keras layers from waveform segments to standardised log-mel.

Level (in models that have one), Kapre's STFT, Magnitude and ApplyFilterbank, then two layers
of our own. All of them compute in float32 whatever the global dtype policy: in float16 a
log-mel overflows.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import kapre
import keras

from artist_features.config import LEVEL_DB, FrontEnd


def _import_mel_filters() -> None:
    """Import librosa's mel filters, from which Kapre makes its own, also without a cache folder.

    librosa asks numba to keep what it compiles. Where neither the installation nor the home
    can be written, numba refuses to define those functions; none of them makes a mel filter.
    """
    try:
        import librosa.filters
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
        from numba import config

        before = config.DISABLE_JIT  # type: ignore[attr-defined]
        config.DISABLE_JIT = 1  # type: ignore[attr-defined]
        try:
            import librosa.filters  # noqa: F401
        finally:
            config.DISABLE_JIT = before  # type: ignore[attr-defined]


_import_mel_filters()


@keras.saving.register_keras_serializable(package="artist_features")
class LevelNormalisation(keras.layers.Layer):  # type: ignore[misc]  # without type hints
    """Bring each waveform of a batch to one RMS level; same shape out.

    Args:
        level_db: RMS of the output in dB re full scale.
        floor_db: RMS in dB re full scale; a softer waveform gets the gain of this one.
    """

    def __init__(
        self,
        level_db: float = LEVEL_DB,
        floor_db: float = FrontEnd.level_floor_db,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.level_db = level_db
        self.floor_db = floor_db

    def call(self, inputs: Any) -> Any:
        power = keras.ops.mean(keras.ops.square(inputs), axis=1, keepdims=True)
        power = keras.ops.maximum(power, 10 ** (self.floor_db / 10))
        return inputs * (10 ** (self.level_db / 20) * keras.ops.rsqrt(power))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "level_db": self.level_db, "floor_db": self.floor_db}


@keras.saving.register_keras_serializable(package="artist_features")
class LogCompression(keras.layers.Layer):  # type: ignore[misc]
    """Compress x to log10(1 + scale * x), elementwise; any shape in, same shape out.

    Args:
        scale: c in log10(1 + c x), > 0.
    """

    def __init__(self, scale: float = FrontEnd.log_scale, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        return keras.ops.log1p(inputs * self.scale) * (1.0 / math.log(10.0))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="artist_features")
class Standardisation(keras.layers.Layer):  # type: ignore[misc]
    """Shift and scale by two fixed scalars: (x - mean) / std; same shape out.

    Args:
        mean, std: scalars of the training set's log-mel.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mean = mean
        self.std = std

    def call(self, inputs: Any) -> Any:
        return (inputs - self.mean) * (1.0 / self.std)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "std": self.std}


@contextlib.contextmanager
def float32_defaults() -> Iterator[None]:
    """Context in which Keras' float type and dtype policy are float32."""
    config = keras.config
    floatx, policy = config.floatx(), config.dtype_policy()
    config.set_floatx("float32")
    config.set_dtype_policy("float32")
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)


@float32_defaults()
def log_mel(waveform: Any, front_end: FrontEnd) -> Any:
    """Apply the whole front end to a symbolic or eager batch of segments.

    Args:
        waveform: float32 `(batch, n_samples, 1)`, mono, [-1, 1], already padded.
        front_end: a `FrontEnd`.

    Returns:
        float32 `(batch, n_frames, n_mels)`, standardised log-mel.
    """
    if front_end.level_db is not None:
        waveform = LevelNormalisation(
            front_end.level_db, front_end.level_floor_db, dtype="float32", name="level"
        )(waveform)
    x = kapre.STFT(
        n_fft=front_end.n_fft,
        win_length=front_end.n_fft,
        hop_length=front_end.hop_length,
        window_name="hann_window",
        pad_begin=False,
        pad_end=False,
        input_data_format="channels_last",
        output_data_format="channels_last",
        dtype="float32",
        name="stft",
    )(waveform)
    # (batch, frame, frequency, channel)
    x = kapre.Magnitude(dtype="float32", name="magnitude")(x)
    x = kapre.ApplyFilterbank(
        type="mel",
        filterbank_kwargs={
            "sample_rate": front_end.sample_rate,
            "n_freq": front_end.n_fft // 2 + 1,
            "n_mels": front_end.n_mels,
            "f_min": front_end.f_min_hz,
            "f_max": front_end.f_max_hz,
            "htk": False,
            "norm": "slaney",
        },
        data_format="channels_last",
        dtype="float32",
        name="mel",
    )(x)
    x = keras.layers.Reshape((-1, front_end.n_mels), dtype="float32", name="drop_channel")(x)
    x = LogCompression(front_end.log_scale, dtype="float32", name="log_mel")(x)
    return Standardisation(front_end.mean, front_end.std, dtype="float32", name="standardised")(x)


def front_end_of(model: keras.Model) -> FrontEnd:
    """Read the `FrontEnd` back from the layers of a model made by this package.

    Raises:
        ValueError: the model has no such front end, so its input is unknown, or takes
            more than one input, as `models.siamese()` does.
    """
    if len(model.inputs) != 1:
        raise ValueError(
            f"model {model.name!r}: it has {len(model.inputs)} inputs; extract() needs one. Of a "
            "Siamese model pass the shared backbone, model.get_layer('backbone')."
        )
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 2:
        found = ", ".join(str(tuple(output.shape)) for output in model.outputs)
        raise ValueError(
            f"model {model.name!r}: its outputs have the shapes {found}; extract() needs one of "
            "(batch, dim). Take a part of it: keras.Model(model.input, one_output)."
        )
    layers = {type(layer): layer for layer in model._flatten_layers()}
    try:
        stft, mel = layers[kapre.STFT], layers[kapre.ApplyFilterbank].filterbank_kwargs
        compression, standardisation = layers[LogCompression], layers[Standardisation]
    except KeyError as missing:
        raise ValueError(
            f"model {model.name!r}: no {missing.args[0].__name__} layer found. extract() needs "
            "a model that takes waveform segments, as load_model() and models.backbone() give."
        ) from None
    n_samples = model.input_shape[1]
    level = {}
    if LevelNormalisation in layers:
        found = layers[LevelNormalisation]
        level = {"level_db": found.level_db, "level_floor_db": found.floor_db}
    return FrontEnd(
        sample_rate=mel["sample_rate"],
        n_fft=stft.n_fft,
        hop_length=stft.hop_length,
        n_mels=mel["n_mels"],
        f_min_hz=mel["f_min"],
        f_max_hz=mel["f_max"],
        segment_frames=(n_samples - stft.n_fft) // stft.hop_length + 1,
        log_scale=compression.scale,
        mean=standardisation.mean,
        std=standardisation.std,
        **level,
    )
