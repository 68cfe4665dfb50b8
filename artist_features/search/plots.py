"""What a clip sounds like and where it repeats, as one picture (extra `[plot]`).

Left the log-mel that the network hears, right how alike its segments are: the cosine
between their embeddings. A song that comes back to its verse has bright squares away
from the diagonal.
"""

import io
import math
from pathlib import Path

import numpy as np

from artist_features.errors import display_path
from artist_features.files import write_atomically
from artist_features.search.listener import self_similarity

_TICKS_HZ = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)
# maps that rise evenly in brightness, also for the colour-blind (Matplotlib's own)
_LOG_MEL_MAP, _SIMILARITY_MAP = "magma", "cividis"
_SIZE_INCHES, _DOTS_PER_INCH = (12.0, 5.0), 150


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
