"""Arguments of `extract`: their types, and `Source`s of paths, audio in memory and arrays."""

import io
import os
from collections.abc import Generator, Iterable, Mapping, Set
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from artist_features.audio.decoders import REAL_NUMBERS
from artist_features.audio.file_bytes import opened
from artist_features.audio.folders import search_folder
from artist_features.audio.stream import check_array
from artist_features.errors import AudioError, display_path, shortened
from artist_features.extraction.decode import (
    DEFAULT_READING,
    EncodedAudio,
    ReadingOptions,
    Source,
)
from artist_features.extraction.remote import is_uri, require_fsspec

if TYPE_CHECKING:  # Keras is imported when a model is built
    import keras

    from artist_features.zoo.registry import ModelSpec


class Array(Protocol):
    """Samples in anything that NumPy takes for an array: its own, a tensor, a Series."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


Samples: TypeAlias = npt.NDArray[np.floating[Any] | np.integer[Any]]
# by its type each is one recording, several, or either: a folder is a path, a Series an array
OneRecording: TypeAlias = (
    Samples | bytes | bytearray | memoryview | BinaryIO | tuple[Array, float] | Mapping[str, Any]
)
Recording: TypeAlias = OneRecording | str | os.PathLike[str] | Array
Several: TypeAlias = (
    list[Any]
    | tuple[Recording, ...]
    | Set[Any]
    | Generator[Any, Any, Any]
    | npt.NDArray[np.object_ | np.str_]
)
Recordings: TypeAlias = Recording | Several
Model: TypeAlias = "ModelSpec | keras.Model"
Pool: TypeAlias = Literal["mean"] | None
OnError: TypeAlias = Literal["raise", "skip", "nan"]
RuntimeName: TypeAlias = Literal["auto", "tensorflow", "onnx"]
Embedding: TypeAlias = npt.NDArray[np.float32]

RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
_LONGEST_NAME = 4096  # bytes
_BYTES = (bytes, bytearray, memoryview)
_ALLOWED = (
    "allowed are a path, an open binary file, bytes, an array of samples, (samples, sample_rate), "
    "a dict of Hugging Face's datasets, or several of those"
)


def recordings_in(audio: Any) -> Iterable[Any] | None:
    """Return the recordings of a list, another iterable, an array of paths or a folder.

    Returns:
        iterable, of a folder with an `AudioError` for each that cannot be searched; None where
        `audio` is one recording.

    Raises:
        AudioError: `not_a_file`: a folder without audio.
    """
    if isinstance(audio, (str, os.PathLike)):
        if not os.path.isdir(audio):
            return None
        if not (found := list(search_folder(audio))):
            raise AudioError("not_a_file", "is a folder without audio; check the path.", audio)
        return found
    if isinstance(audio, (*_BYTES, Mapping)) or hasattr(audio, "read") or _is_pair(audio):
        return None
    if hasattr(audio, "__array__"):
        array = _samples(audio)
        return array.ravel().tolist() if array.dtype.kind in ("O", "U", "T") else None
    _refuse_turned(audio)
    if hasattr(audio, "get_all_samples"):  # a decoder of torchcodec, as datasets gives it
        return None
    return audio if isinstance(audio, Iterable) else None


def _is_pair(audio: Any) -> bool:
    """Return whether `audio` is `(samples, sample_rate)`."""
    if not isinstance(audio, tuple) or len(audio) != 2:
        return False
    rate = audio[1]
    if isinstance(rate, np.ndarray) and rate.ndim == 0:
        rate = rate[()]
    return isinstance(rate, REAL_NUMBERS) and not isinstance(audio[0], (str, *_BYTES))


def _refuse_turned(audio: Any) -> None:
    if _is_pair(audio[::-1] if isinstance(audio, tuple) else audio):
        raise TypeError(
            "audio is (sample_rate, samples), as Gradio and SciPy have it; turn it round: allowed "
            "is (samples, sample_rate)."
        )


def is_missing(item: Any) -> bool:
    """Return whether an item of a list is None, NaN or pandas' NA."""
    return (
        item is None
        or type(item).__name__ in ("NAType", "NaTType")
        or (isinstance(item, (float, np.floating)) and item != item)
    )


def to_source(
    audio: Any, sample_rate: float | None, reading: ReadingOptions = DEFAULT_READING
) -> Source:
    """Return the `Source` of one recording.

    Args:
        audio: see `extract`.
        sample_rate: of an array, in Hz; None for what states its own.
        reading: `ReadingOptions`.

    Raises:
        TypeError, ValueError: no recording, or an array without a valid sample rate.
    """
    if isinstance(audio, Mapping):
        audio, sample_rate = _of_datasets(audio, sample_rate)
    elif hasattr(audio, "get_all_samples"):
        # torchcodec's, with samples of shape (n_channels, n_samples)
        heard = audio.get_all_samples()
        rate = _only_rate(audio, sample_rate, heard.sample_rate)
        audio, sample_rate = _samples(heard.data).T, rate
    elif _is_pair(audio):
        rate = _only_rate(audio, sample_rate, audio[1])
        audio, sample_rate = _as_array(audio[0]), getattr(rate, "item", lambda: rate)()
    else:
        _refuse_turned(audio)
    if isinstance(audio, _BYTES) or hasattr(audio, "read"):
        audio = _encoded(audio)
    if isinstance(audio, (str, os.PathLike, EncodedAudio)):
        source = Source(audio, reading=reading)
        if sample_rate is not None:
            name = "audio in memory" if source.path is None else display_path(source.path)
            raise ValueError(
                f"{name}: sample_rate is for arrays; a file states its own. Leave it out."
            )
        if not isinstance(audio, EncodedAudio) and is_uri(audio):
            require_fsspec(os.fspath(audio))
        return source
    if not hasattr(audio, "__array__"):
        raise TypeError(f"audio is {type(audio).__name__} {shortened(audio, 80)}; {_ALLOWED}.")
    samples = check_array(_samples(audio), sample_rate)  # which refuses a rate of None
    return Source(samples, int(sample_rate or 0), reading)


def _of_datasets(audio: Mapping[str, Any], sample_rate: float | None) -> tuple[Any, float | None]:
    """Return (audio, sample rate or None) of a row of Hugging Face's `datasets.Audio`."""
    if "array" in audio and "sampling_rate" in audio:
        return _as_array(audio["array"]), _only_rate(audio, sample_rate, audio["sampling_rate"])
    data, path = audio.get("bytes"), audio.get("path")
    if isinstance(data, _BYTES):
        return EncodedAudio(bytes(data), path), sample_rate
    if data is None and isinstance(path, (str, os.PathLike)):
        return os.fspath(path), sample_rate
    for name, value in (("bytes", data), ("path", path)):
        if value is not None:
            raise TypeError(
                f"audio is a dict with {name!r} of type {type(value).__name__}; allowed is one "
                "recording: the bytes of a file, or one path."
            )
    raise TypeError(
        f"audio is a dict with the keys {shortened(list(audio), 80)}; allowed are "
        "{'array', 'sampling_rate'} and {'bytes', 'path'}, as Hugging Face's datasets give them."
    )


def _as_array(samples: Any) -> Any:
    return np.asarray(samples) if isinstance(samples, list) else samples


def _only_rate(audio: Any, given: float | None, own: Any) -> Any:
    if given is not None:
        raise ValueError(
            f"sample_rate is {shortened(given)}, and the {type(audio).__name__} states "
            f"{shortened(own)} itself; leave sample_rate out."
        )
    return own


def _encoded(audio: Any) -> EncodedAudio:
    """Read bytes or an open file from where it stands."""
    if isinstance(audio, _BYTES):
        given = bytes(audio)
        if b"\0" not in given[:_LONGEST_NAME] and os.path.exists(given[:_LONGEST_NAME] or b"\0"):
            raise TypeError(
                f"audio is the bytes {shortened(given, 80)}, which name a file; bytes are audio "
                "data. Decode a name by os.fsdecode."
            )
        return EncodedAudio(given)
    name = getattr(audio, "name", None)
    name = name if isinstance(name, (str, os.PathLike)) else None
    try:
        parts: list[Any] = [] if isinstance(audio, io.TextIOBase) else [audio.read()]
        while parts and isinstance(parts[-1], _BYTES) and parts[-1]:  # one read may be short
            parts.append(audio.read())
    except OSError as error:
        text = f"an open file cannot be read ({shortened(str(error))})."
        raise AudioError("unavailable", text, name) from None
    if not parts or not all(isinstance(part, _BYTES) for part in parts):
        raise TypeError(
            f"audio is a {type(audio).__name__} that does not read bytes; open the file in "
            "binary mode, 'rb'."
        )
    return EncodedAudio(b"".join(parts), name)


def _samples(audio: Any) -> Any:
    """Return an array for NumPy: a tensor of PyTorch leaves its device and its gradient."""
    if hasattr(audio, "detach") and hasattr(audio, "cpu"):
        audio = audio.detach().cpu()
    return np.asarray(audio)


def require_readable(source: Source) -> None:
    """Raise `AudioError` if a local file cannot be opened."""
    path = source.path
    if path is not None and not isinstance(source.audio, EncodedAudio) and not is_uri(path):
        with opened(path):
            pass
