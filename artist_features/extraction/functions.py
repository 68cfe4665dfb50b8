"""One-call functions `extract` and `similarity`: the model is given by name."""

from typing import TYPE_CHECKING, Any, Literal, overload

from artist_features.extraction.decode import DecoderName
from artist_features.extraction.extractor import ExtractOptions, Extractor
from artist_features.extraction.recordings import (
    Embedding,
    Model,
    OneRecording,
    Recording,
    Recordings,
    RuntimeName,
    Several,
)
from artist_features.metrics import unit_vectors

if TYPE_CHECKING:
    from typing_extensions import Unpack


class ModelOptions(ExtractOptions, total=False):
    """Typed keyword arguments of the function `extract`: `ExtractOptions` and the model's."""

    model: Model
    batch_size: int
    decoder: DecoderName
    runtime: RuntimeName


@overload
def extract(
    audio: Recordings,
    sample_rate: float | None = ...,
    *,
    pool: Literal["mean"] = ...,
    return_times: Literal[False] = ...,
    **options: "Unpack[ModelOptions]",
) -> Embedding: ...


@overload
def extract(
    audio: OneRecording,
    sample_rate: float | None = ...,
    *,
    pool: None,
    return_times: Literal[False] = ...,
    **options: "Unpack[ModelOptions]",
) -> Embedding: ...


@overload
def extract(
    audio: Several,
    sample_rate: float | None = ...,
    *,
    pool: None,
    return_times: Literal[False] = ...,
    **options: "Unpack[ModelOptions]",
) -> list[Embedding]: ...


@overload
def extract(
    audio: Recordings,
    sample_rate: float | None = ...,
    *,
    pool: None,
    return_times: Literal[False] = ...,
    **options: "Unpack[ModelOptions]",
) -> Embedding | Any: ...


@overload
def extract(
    audio: Recordings,
    sample_rate: float | None = ...,
    *,
    pool: None,
    return_times: Literal[True],
    **options: "Unpack[ModelOptions]",
) -> tuple[Any, Any]: ...


def extract(
    audio: Recordings,
    sample_rate: float | None = None,
    *,
    model: Model = "siamese",
    batch_size: int = 64,
    decoder: DecoderName = "auto",
    runtime: RuntimeName = "auto",
    **options: Any,
) -> Any:
    """Extract embeddings from recordings.

    Args:
        audio: one recording or several. One is
            a path (`str`, `Path`) or a URI as "s3://bucket/song.mp3" (extra `[remote]`);
            an audio file in memory: `bytes`, or an open binary file, read from where it stands;
            samples: an array or tensor `(n_samples,)` or `(n_samples, n_channels)`,
            `(samples, sample_rate)`, or a row of Hugging Face's `datasets.Audio`, decoded or
            not. Channels are averaged; floats lie in [-1, 1]; int16, int32 and uint8 are
            divided by full scale. Several are a list or any iterable of those, a pandas or
            NumPy array of paths, or a folder, searched in sorted order.
        sample_rate: of arrays, in Hz, 4000 to 384000; required for them, and only for them.
        model: bundled name, path of a model folder, "hf://owner/name[@revision]", or a
            `keras.Model`. A loaded model saves the loading in a loop.
        pool: "mean" for one vector per recording, None for one row per segment, each
            2.995 s.
        offset: seconds to skip at the start, by seeking.
        duration: seconds to use from there; None means all.
        n_segments: read only so many segments of a file, spread over it, by seeking: another
            vector, for large libraries of whole tracks. Arrays, short files and formats that
            only FFmpeg reads are taken whole. None means all segments.
        batch_size: segments computed at once at most, with ONNX Runtime in several calls of 8
            at once; the result does not depend on it.
        on_error: for a list: "raise" at the first unreadable recording, "skip" it, or
            put a row of "nan". A single recording always raises.
        decoder: "auto", "soundfile", "av" or "tfio"; see `Extractor`.
        runtime: "auto", "tensorflow" or "onnx"; see `Extractor`.
        progress: show a bar (tqdm) over several recordings.
        return_times: with `pool=None`, also return where each segment begins.

    Returns:
        float32 `(256,)` for one recording, `(n, 256)` for several, in their order. With
        `pool=None`: `(n_segments, 256)`, or a list of those; with `return_times` a pair of
        that and the times in seconds, float64 `(n_segments,)`, or a list of those.

    Raises:
        AudioError: a recording gives no trustworthy embedding; `.code` says why.
        WeightsError: the model cannot be fetched, verified or read.
        ValueError, TypeError: a wrong argument.

    Warns:
        AudioWarning: an embedding was computed from a `truncated`, `short` (under
            2.97 s, looped) or `silent` recording, or one was skipped.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 44100 * 7)
        >>> extract(noise, sample_rate=44100).shape
        (256,)
        >>> extract(noise, sample_rate=44100, pool=None).shape
        (2, 256)
    """
    extractor = Extractor(model, batch_size=batch_size, decoder=decoder, runtime=runtime)
    return extractor.extract(audio, sample_rate, **options)


def similarity(a: Recording, b: Recording, *, model: Model = "siamese") -> float:
    """Return the cosine of two recordings' embeddings.

    What a cosine means depends on the model and the music: `artist_features.Index.percentile`
    compares it with random pairs of a library.

    Args:
        a, b: each one recording, as `extract` takes it; an array of samples as
            `(samples, sample_rate)`.
        model: as for `Extractor`.

    Returns:
        -1 to 1; of embeddings that have no negative numbers, as the bundled models' do, 0 to 1.

    Raises:
        AudioError: a recording cannot be used, or is a folder.
        ValueError: an argument outside what is allowed, or an embedding of zeros only.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 4)
        >>> round(similarity((noise, 22050), (noise, 22050)), 5)
        1.0
    """
    units = unit_vectors(Extractor(model).extract([a, b]))
    return max(-1.0, min(1.0, float(units[0] @ units[1])))
