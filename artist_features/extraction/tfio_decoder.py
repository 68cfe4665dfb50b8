"""tensorflow-io as decoder: a TensorFlow graph from file name to samples.

For comparison and for pipelines that stay in graphs; the extra `[tfio]` brings
TensorFlow 2.16, the only one that tensorflow-io 0.37 loads with. The header is read by
libsndfile, the samples by the graph, whole; mixing and resampling are the package's
own, so that the embeddings agree with the other decoders.
"""

import functools
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import soundfile

from artist_features.audio.decoders import Samples, Span, blocks_of, open_error
from artist_features.audio.formats import Container, check_format
from artist_features.errors import AnyPath, AudioError

_SAMPLE_TYPES = {  # (container, libsndfile's subtype) -> type of the graph's samples
    ("wav", "PCM_U8"): "uint8",
    ("wav", "PCM_16"): "int16",
    ("wav", "PCM_24"): "int32",
    ("wav", "FLOAT"): "float32",
    ("flac", "PCM_S8"): "uint8",
    ("flac", "PCM_16"): "int16",
    ("flac", "PCM_24"): "int32",
    ("ogg", "VORBIS"): "float32",
    ("mp3", "MPEG_LAYER_III"): "float32",
}


def require_tfio() -> ModuleType:
    """Import tensorflow-io, or raise ImportError with the command that installs it."""
    try:
        import tensorflow_io
    except ImportError as error:
        raise ImportError(
            f"decoder 'tfio' needs tensorflow-io ({error}); install it with "
            "`pip install 'artist-features[tfio]'` (Python 3.10 or 3.11, TensorFlow 2.16)."
        ) from None
    return tensorflow_io


class TfioDecoder:
    """Decode in a TensorFlow graph; implements `audio.decoders.Decoder`.

    Args:
        fd: file descriptor of the file, open for reading.
        container: from `containers.identify`.
        path: of the file.

    Raises:
        AudioError: the header cannot be read, or holds a format that the graph does not read.
    """

    name = "tfio"

    def __init__(self, fd: int, container: Container, path: AnyPath) -> None:
        self._kind, self._path = container.kind, path
        if container.start:
            text = "decoder 'tfio' reads no file with a tag in front. Use decoder='auto'."
            raise AudioError("unsupported", text, path)
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            with soundfile.SoundFile(fd, closefd=False) as header:
                rate, channels, subtype = header.samplerate, header.channels, header.subtype
                known_length = container.kind != "mp3" and header.frames < 2**62
                declared = header.frames / rate if known_length else container.declared_s
        except soundfile.LibsndfileError as error:
            raise open_error(fd, container, path, error.error_string) from None
        check_format(rate, channels, path)
        self.sample_rate: int = rate
        self.declared_s: float | None = declared
        self._sample_type = _SAMPLE_TYPES.get((container.kind, subtype), "")
        if not self._sample_type:
            raise AudioError(
                "unsupported",
                f"{container.kind} with {subtype} samples; decoder 'tfio' reads wav (8, 16, 24 "
                "bits, float), flac, ogg Vorbis and mp3. Use decoder='auto'.",
                path,
            )

    def close(self) -> None:
        """Nothing is held."""

    def blocks(self, span: Span) -> Iterator[Samples]:
        import tensorflow as tf

        try:
            samples = _graph(self._kind, self._sample_type)(os.fsencode(self._path)).numpy()
        except tf.errors.OpError as error:
            cause = error.message.strip().splitlines()[-1]
            text = f"tensorflow-io cannot decode it ({cause})."
            raise AudioError("damaged", text, self._path) from None
        yield from blocks_of(samples, self.sample_rate, span, self._path)


@functools.lru_cache
def _graph(kind: str, sample_type: str) -> Callable[[bytes], Any]:
    """Compile the graph: file name to samples `(n_frames, n_channels)`."""
    import tensorflow as tf

    audio = require_tfio().audio

    @tf.function(input_signature=[tf.TensorSpec((), tf.string)])
    def decode(path: Any) -> Any:
        data = tf.io.read_file(path)
        if kind == "mp3":
            return audio.decode_mp3(data)
        if kind == "ogg":
            return audio.decode_vorbis(data)
        if kind == "flac":
            return audio.decode_flac(data, dtype=tf.as_dtype(sample_type))
        return audio.decode_wav(data, dtype=tf.as_dtype(sample_type))

    return decode
