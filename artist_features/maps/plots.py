"""Picture of one recording (extra `[plot]`): its log-mel, and where it repeats.

Left the log-mel that the network hears, right how alike its segments are: the cosine
between their embeddings. A song that comes back to its verse has bright squares away
from the diagonal.
"""

import functools
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artist_features.config import FrontEnd, ModelCard
from artist_features.extraction.decode import ReadingOptions, Source
from artist_features.extraction.decode_pool import DecodePool
from artist_features.extraction.extractor import Extractor
from artist_features.extraction.recordings import Model
from artist_features.files import write_atomically
from artist_features.metrics import unit_or_zero
from artist_features.optional import require
from artist_features.search.ranking import Floats

if TYPE_CHECKING:  # Keras is imported when a model is built, Matplotlib when something is drawn
    import keras
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BATCH = 64  # segments in one call of the network
_TICKS_HZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)
# maps that rise evenly in brightness, also for the colour-blind (Matplotlib's own)
_LOG_MEL_MAP, _SIMILARITY_MAP = "magma", "cividis"
_SIZE_INCHES, _DOTS_PER_INCH = (12.0, 5.0), 150


@dataclass(frozen=True)
class SelfSimilarity:
    """A recording, its segments and how alike they are.

    Attributes:
        log_mel: float32 `(n_segments * segment_frames, n_mels)`, log10(1 + 10 x) of the
            mel magnitudes, of the whole segments: an incomplete last one is not used.
        embeddings: float32 `(n_segments, dim)`; their mean is what `extract` gives.
        similarity: float32 `(n_segments, n_segments)`, cosines in [-1, 1]; 0 where an
            embedding is all zeros.
        edges_s: float64 `(n_segments + 1,)`, where each segment begins and the last ends,
            in seconds of the recording.
        front_end: `FrontEnd` of the model.
        flaws: (code, text) of each flaw, as in `AudioWarning`.
    """

    log_mel: Floats
    embeddings: Floats
    similarity: Floats
    edges_s: npt.NDArray[np.float64]
    front_end: FrontEnd
    flaws: Sequence[tuple[str, str]] = ()


class Listener:
    """Computes log-mel and embeddings of recordings in one pass; make one, use it often.

    Args:
        model: bundled name, path of a model folder, "hf://owner/name[@revision]", or a
            `keras.Model` of this package.

    Attributes:
        card: `ModelCard` of the model, None for a `keras.Model`.
        front_end: `FrontEnd` of the model.
    """

    def __init__(self, model: Model = "siamese") -> None:
        self._extractor = Extractor(model)
        self.card: ModelCard | None = self._extractor.card
        self.front_end: FrontEnd = self._extractor.front_end

    @functools.cached_property
    def _both(self) -> Callable[[Floats], tuple[Any, Any]]:
        return _two_outputs(self._extractor.model)

    def listen(
        self,
        path: str | Path,
        *,
        offset: float = 0.0,
        duration: float | None = None,
        isolated: bool = False,
    ) -> SelfSimilarity:
        """Compute log-mel, segment embeddings and their cosines for `draw`.

        Args:
            path: of a recording.
            offset: seconds to skip at the start.
            duration: seconds to use from there; None means all.
            isolated: decode in a process that may die without harm: for files of strangers.

        Raises:
            AudioError: the recording cannot be read.
            WeightsError, ValueError: as for `Extractor`.
        """
        source = Source(path, reading=ReadingOptions(offset, duration))
        log_mels: list[Floats] = []
        embeddings: list[Floats] = []
        attempt = 0
        flaws: tuple[tuple[str, str], ...] = ()
        with DecodePool([source], self.front_end, 1, isolated) as events:
            for event in filter(None, events):
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
        rows = np.concatenate(embeddings)
        edges_s = np.array(front_end.starts_s(len(rows) + 1, offset))
        return SelfSimilarity(log_mel, rows, cosine_similarity(rows), edges_s, front_end, flaws)


def cosine_similarity(embeddings: npt.ArrayLike) -> Floats:
    """Return the cosines between all rows.

    Args:
        embeddings: float `(n, dim)`.

    Returns:
        float32 `(n, n)`; 0 in the rows and columns of an embedding that is all zeros.

    Example:
        >>> cosine_similarity(np.array([[1, 0], [2, 2], [0, 0]])).round(2).tolist()
        [[1.0, 0.7099999785423279, 0.0], [0.7099999785423279, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    units = unit_or_zero(np.asarray(embeddings, np.float64))
    return np.clip(units @ units.T, -1, 1).astype(np.float32)


def _two_outputs(model: "keras.Model") -> Callable[[Floats], tuple[Any, Any]]:
    """Return a function: segments float32 `(n, n_samples)` to tensors (log-mel, embeddings)."""
    import keras
    import tensorflow as tf

    from artist_features.zoo.frontend import Standardisation

    (layer,) = [layer for layer in model.layers if isinstance(layer, Standardisation)]
    both = keras.Model(model.input, [layer.output, model.output])

    @tf.function(input_signature=[tf.TensorSpec((None, model.input_shape[1]), tf.float32)])
    def listen(segments: Any) -> tuple[Any, Any]:
        return both(segments[..., tf.newaxis], training=False)

    return listen


def draw(found: SelfSimilarity, title: str = "") -> "Figure":
    """Draw the log-mel beside the similarity matrix.

    Args:
        found: `SelfSimilarity`.
        title: written above, as it is.

    Returns:
        `matplotlib.figure.Figure` with the axes "log_mel" and "similarity" (their labels).

    Raises:
        ImportError: Matplotlib is not installed.
    """
    figure = require("matplotlib.figure", "a picture", "plot").Figure(
        figsize=_SIZE_INCHES, layout="constrained"
    )
    left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
    figure.suptitle(title, parse_math=False, fontsize=13)
    _draw_log_mel(figure, left, found)
    _draw_similarity(figure, right, found)
    figure.get_layout_engine().set(wspace=0.05)
    return figure


def write_picture(found: SelfSimilarity, title: str, output: str | Path) -> None:
    """Draw and write a PNG file; an existing one is replaced.

    Raises:
        OutputError: the picture cannot be written.
        ImportError: Matplotlib is not installed.
    """
    picture = io.BytesIO()
    draw(found, title).savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    write_atomically(Path(output), picture.getvalue())


def _draw_log_mel(figure: "Figure", axes: "Axes", found: SelfSimilarity) -> None:
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


def _draw_similarity(figure: "Figure", axes: "Axes", found: SelfSimilarity) -> None:
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


def _limits(similarity: Floats) -> tuple[float, float]:
    """Return the lowest and highest cosine between different segments."""
    others = similarity[~np.eye(len(similarity), dtype=bool)]
    if not others.size or np.ptp(others) < 1e-6:
        low = float(others.min()) if others.size else 0.0
        return min(low, 1.0) - 1e-3, 1.0
    return float(others.min()), float(others.max())


def _band(hz: float, front_end: FrontEnd) -> float:
    """Return the mel band, counted from 0 in fractions, whose centre is at a frequency."""
    low, high = _slaney(front_end.f_min_hz), _slaney(front_end.f_max_hz)
    return (_slaney(hz) - low) / (high - low) * (front_end.n_mels + 1) - 1


def _slaney(hz: float) -> float:
    """Return mel of Slaney's Auditory Toolbox (1998): linear to 1 kHz, then logarithmic."""
    if hz < 1000:
        return hz * 3 / 200
    return 15 + 27 * math.log(hz / 1000) / math.log(6.4)
