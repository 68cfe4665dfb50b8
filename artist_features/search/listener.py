"""One pass over a clip: its log-mel, its segments' embeddings, and how alike those are."""

import functools
from dataclasses import dataclass

import numpy as np

from artist_features.extraction.decode import Source
from artist_features.extraction.decode_pool import DecodePool
from artist_features.extraction.extractor import Extractor
from artist_features.signal.decoders import Span

_BATCH = 64  # segments in one call of the network


@dataclass(frozen=True)
class SelfSimilarity:
    """One clip, its segments and how alike they are.

    Attributes:
        log_mel: float32 `(n_segments * segment_frames, n_mels)`, log10(1 + 10 x) of the
            mel magnitudes, of the whole segments: an incomplete last one is not used.
        embeddings: float32 `(n_segments, dim)`; their mean is what `extract` gives.
        similarity: float32 `(n_segments, n_segments)`, cosines in [-1, 1]; 0 where an
            embedding is all zeros.
        edges_s: float64 `(n_segments + 1,)`, where each segment begins and the last ends,
            in seconds of the recording.
        front_end: `FrontEnd` of the model.
        flaws: tuple of (code, text), as in `AudioWarning`.
    """

    log_mel: np.ndarray
    embeddings: np.ndarray
    similarity: np.ndarray
    edges_s: np.ndarray
    front_end: object
    flaws: tuple = ()


def self_similarity(path, *, model="siamese", offset=0.0, duration=None):
    """Compute what `plots.draw` draws.

    Args:
        path: of a recording.
        model: bundled name, path of a model folder, "hf://owner/name[@revision]", or a
            `keras.Model` of this package.
        offset: seconds to skip at the start.
        duration: seconds to use from there; None means all.

    Returns:
        `SelfSimilarity`.

    Raises:
        AudioError: the recording cannot be read.
        WeightsError: the model cannot be fetched, verified or read.
        ValueError: a wrong argument.
    """
    return Listener(model).listen(path, offset=offset, duration=duration)


class Listener:
    """A model that gives a clip's log-mel and embeddings in one pass; make one, use it often.

    Args:
        model: as for `self_similarity`.

    Attributes:
        card: `ModelCard` of the model, None for a `keras.Model`.
        front_end: `FrontEnd` of the model.
    """

    def __init__(self, model="siamese"):
        self._extractor = Extractor(model)
        self.card, self.front_end = self._extractor.card, self._extractor.front_end

    @functools.cached_property
    def _both(self):
        return _two_outputs(self._extractor.model)

    def listen(self, path, *, offset=0.0, duration=None, isolated=False):
        """Do what `self_similarity` does.

        Args:
            path, offset, duration: as there.
            isolated: decode in a process that may die without harm: for files of strangers.

        Returns:
            `SelfSimilarity`.

        Raises:
            AudioError: the recording cannot be read.
            ValueError: a wrong argument.
        """
        source = Source(path, span=Span(offset, duration))
        log_mels, embeddings, attempt, flaws = [], [], 0, ()
        with DecodePool([source], self.front_end, 1, isolated) as events:
            for event in events:
                if event.error is not None:
                    raise event.error
                if event.attempt != attempt:  # what came before its process died does not count
                    log_mels, embeddings, attempt = [], [], event.attempt
                if event.facts is not None:
                    flaws = event.facts.flaws
                    continue
                for start in range(0, len(event.segments), _BATCH):
                    segments = np.ascontiguousarray(event.segments[start : start + _BATCH])
                    log_mel, embedding = self._both(segments)
                    log_mels.append(log_mel.numpy())
                    embeddings.append(embedding.numpy())
        front_end = self.front_end
        log_mel = np.concatenate(log_mels).reshape(-1, front_end.n_mels)
        log_mel = log_mel * np.float32(front_end.std) + np.float32(front_end.mean)
        embeddings = np.concatenate(embeddings)
        similarity = cosine_similarity(embeddings)
        edges_s = offset + front_end.segment_hop_s * np.arange(len(similarity) + 1)
        return SelfSimilarity(log_mel, embeddings, similarity, edges_s, front_end, flaws)


def cosine_similarity(embeddings):
    """Return the cosines between all rows.

    Args:
        embeddings: float `(n, dim)`.

    Returns:
        float32 `(n, n)`; 0 in the rows and columns of an embedding that is all zeros.

    Example:
        >>> cosine_similarity(np.array([[1, 0], [2, 2], [0, 0]])).round(2).tolist()
        [[1.0, 0.7099999785423279, 0.0], [0.7099999785423279, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    embeddings = np.asarray(embeddings, np.float64)
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)
    return np.clip(unit @ unit.T, -1, 1).astype(np.float32)


def _two_outputs(model):
    """Return a function: segments float32 `(n, n_samples)` to (log-mel, embeddings)."""
    import keras
    import tensorflow as tf

    from artist_features.signal.frontend import Standardisation

    (layer,) = [layer for layer in model.layers if isinstance(layer, Standardisation)]
    both = keras.Model(model.input, [layer.output, model.output])

    @tf.function(input_signature=[tf.TensorSpec((None, model.input_shape[1]), tf.float32)])
    def listen(segments):
        return both(segments[..., tf.newaxis], training=False)

    return listen
