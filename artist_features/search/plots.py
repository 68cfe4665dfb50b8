"""What a clip sounds like and where it repeats, as one picture (extra `[plot]`).

Left the log-mel that the network hears, right how alike its segments are: the cosine
between their embeddings. A song that comes back to its verse has bright squares away
from the diagonal.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from artist_features.errors import display_path
from artist_features.extraction.decode import Source, decode_segments
from artist_features.extraction.extractor import Extractor
from artist_features.files import write_atomically
from artist_features.signal.decoders import Span

_BATCH = 64  # segments in one call of the network
_TICKS_HZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)
# maps that rise evenly in brightness, also for the colour-blind (Matplotlib's own)
_LOG_MEL_MAP, _SIMILARITY_MAP = "magma", "cividis"
_SIZE_INCHES, _DOTS_PER_INCH = (12.0, 5.0), 150


@dataclass(frozen=True)
class SelfSimilarity:
    """One clip, its segments and how alike they are.

    Attributes:
        log_mel: float32 `(n_segments * segment_frames, n_mels)`, log10(1 + 10 x) of the
            mel magnitudes, of the whole segments: an incomplete last one is not used.
        similarity: float32 `(n_segments, n_segments)`, cosines in [-1, 1]; 0 where an
            embedding is all zeros.
        edges_s: float64 `(n_segments + 1,)`, where each segment begins and the last ends,
            in seconds of the recording.
        front_end: `FrontEnd` of the model.
        flaws: tuple of (code, text), as in `AudioWarning`.
    """

    log_mel: np.ndarray
    similarity: np.ndarray
    edges_s: np.ndarray
    front_end: object
    flaws: tuple = ()


def self_similarity(path, *, model="siamese", offset=0.0, duration=None):
    """Compute what `draw` draws.

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
    source = Source(path, span=Span(offset, duration))
    extractor = Extractor(model)
    front_end = extractor.front_end
    listen = _two_outputs(extractor.model)
    log_mels, embeddings, facts = [], [], None
    for item in decode_segments(source, front_end):
        if not isinstance(item, np.ndarray):
            facts = item
            continue
        for start in range(0, len(item), _BATCH):
            log_mel, embedding = listen(np.ascontiguousarray(item[start : start + _BATCH]))
            log_mels.append(log_mel.numpy())
            embeddings.append(embedding.numpy())
    log_mel = np.concatenate(log_mels).reshape(-1, front_end.n_mels)
    log_mel = log_mel * np.float32(front_end.std) + np.float32(front_end.mean)
    similarity = cosine_similarity(np.concatenate(embeddings))
    edges_s = offset + front_end.segment_hop_s * np.arange(len(similarity) + 1)
    return SelfSimilarity(log_mel, similarity, edges_s, front_end, facts.flaws)


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


def draw(found, title=""):
    """Draw the log-mel beside the similarity matrix.

    Args:
        found: `SelfSimilarity`.
        title: written above, as it is.

    Returns:
        `matplotlib.figure.Figure` with the axes "log_mel" and "similarity" (their labels).

    Raises:
        ImportError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "pictures need Matplotlib; install it with `pip install 'artist-features[plot]'`."
        ) from error
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    figure.suptitle(title, parse_math=False, fontsize=13)
    _draw_log_mel(figure, left, found)
    _draw_similarity(figure, right, found)
    figure.get_layout_engine().set(wspace=0.05)
    return figure


def save_picture(path, output, **options):
    """Draw a recording and write the picture.

    Args:
        path: of the recording, also its title.
        output: path of the PNG file; an existing one is replaced.
        options: of `self_similarity`.

    Returns:
        The `SelfSimilarity` drawn.

    Raises:
        OutputError: the picture cannot be written.
        AudioError, WeightsError, ValueError, ImportError: as the functions above.
    """
    found = self_similarity(path, **options)
    picture = io.BytesIO()
    title = Path(display_path(path)).name
    draw(found, title).savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    write_atomically(Path(output), picture.getvalue())
    return found


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


def _draw_log_mel(figure, axes, found):
    front_end = found.front_end
    image = axes.imshow(
        found.log_mel.T,  # (mel, time): upwards, to the right
        origin="lower",
        aspect="auto",
        extent=(found.edges_s[0], found.edges_s[-1], -0.5, front_end.n_mels - 0.5),
        cmap=_LOG_MEL_MAP,
    )
    ticks_hz = [hz for hz in _TICKS_HZ if front_end.f_min_hz < hz < front_end.f_max_hz]
    axes.set_yticks([_band(hz, front_end) for hz in ticks_hz], [f"{hz:,}" for hz in ticks_hz])
    axes.set(label="log_mel", title="Log-mel", xlabel="time (s)", ylabel="frequency (Hz)")
    scale = f"{front_end.log_scale:g}"
    figure.colorbar(image, ax=axes, pad=0.02, label=f"log10(1 + {scale} · mel magnitude)")


def _draw_similarity(figure, axes, found):
    span = (found.edges_s[0], found.edges_s[-1])
    low, high = _limits(found.similarity)
    image = axes.imshow(
        found.similarity,
        origin="lower",
        extent=(*span, *span),
        cmap=_SIMILARITY_MAP,
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    axes.set(label="similarity", title="Where it repeats", xlabel="time (s)", ylabel="time (s)")
    # the diagonal, a segment with itself, is 1 and lies above the scale
    figure.colorbar(
        image, ax=axes, pad=0.02, extend="max", label="cosine of the segments' embeddings"
    )


def _limits(similarity):
    """Return the lowest and highest cosine between different segments."""
    others = similarity[~np.eye(len(similarity), dtype=bool)]
    if not others.size or np.ptp(others) < 1e-6:
        low = float(others.min()) if others.size else 0.0
        return min(low, 1.0) - 1e-3, 1.0
    return float(others.min()), float(others.max())


def _band(hz, front_end):
    """Return the mel band, counted from 0 in fractions, whose centre is at a frequency."""
    low, high = _slaney(front_end.f_min_hz), _slaney(front_end.f_max_hz)
    return (_slaney(hz) - low) / (high - low) * (front_end.n_mels + 1) - 1


def _slaney(hz):
    """Return mel of Slaney's Auditory Toolbox (1998): linear to 1 kHz, then logarithmic."""
    if hz < 1000:
        return hz * 3 / 200
    return 15 + 27 * math.log(hz / 1000) / math.log(6.4)
