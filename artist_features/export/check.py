"""Compare the embeddings of an exported model with those of Keras."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.config import FrontEnd

if TYPE_CHECKING:
    import keras

# float32 `(batch, n_samples)` to embeddings float32 `(batch, dim)`
Runner: TypeAlias = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

# precision -> least cosine, largest difference as a share of the largest number of an embedding
LIMITS = {"float32": (0.99999, 1e-3), "float16": (0.9999, 1e-2), "int8": (0.99, 0.2)}


@dataclass(frozen=True)
class Agreement:
    """Likeness of the embeddings of two programs.

    Attributes:
        cosines: float64 `(n,)`, one for each segment; 1 where both embeddings are all zeros.
        max_difference: largest difference of two numbers.
        scale: largest number in the embeddings of the first program.
    """

    cosines: npt.NDArray[np.float64]
    max_difference: float
    scale: float

    @property
    def cosine(self) -> float:
        """The least cosine."""
        return float(self.cosines.min())

    def allows(self, precision: str) -> bool:
        """Return whether both are as near to each other as this precision must be."""
        least, share = LIMITS[precision]
        return self.cosine >= least and self.max_difference <= share * self.scale


def compare(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> Agreement:
    """Compare embeddings, both float32 `(n, dim)`.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> compare(np.float32([[1, 0], [0, 0]]), np.float32([[0, 1], [0, 0]])).cosines
        array([0., 1.])
    """
    if expected.shape != found.shape:
        raise ValueError(f"embeddings of shape {found.shape}; expected are {expected.shape}.")
    a, b = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.divide(np.sum(a * b, axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0)
    cosines[~a.any(axis=1) & ~b.any(axis=1)] = 1.0
    return Agreement(np.round(cosines, 12), float(np.abs(a - b).max()), float(np.abs(a).max()))


def probes(front_end: FrontEnd) -> npt.NDArray[np.float32]:
    """Return synthetic segments that are unlike each other.

    Returns:
        float32 `(7, n_samples)`: silence, noise of full scale, soft noise, a loud low tone, a
        soft high one beside it, a click, notes over soft noise.
    """
    n, rng = front_end.segment_samples, np.random.default_rng(0)
    t = np.arange(n) / front_end.sample_rate
    low = 0.9 * np.sin(2 * np.pi * front_end.sample_rate / 200 * t)
    click = np.zeros(n)
    click[n // 3] = 1.0
    notes = 1e-3 * rng.standard_normal(n)
    for onset in range(0, n, max(1, n // 6)):
        pitch_hz = front_end.sample_rate / 200 * 2 ** (rng.integers(0, 48) / 12)
        fade = np.where(np.arange(n) >= onset, np.exp(-(np.arange(n) - onset) / (n / 12)), 0)
        notes += 0.2 * fade * np.sin(2 * np.pi * pitch_hz * t)
    high = 1e-3 * np.sin(2 * np.pi * front_end.sample_rate / 5 * t)
    noise = rng.uniform(-1, 1, n)
    rows = [np.zeros(n), noise, 1e-4 * noise[::-1], low, low + high, click, notes]
    return np.clip(rows, -1, 1).astype(np.float32)


def agreement_with_keras(model: "keras.Model", run: Runner, front_end: FrontEnd) -> Agreement:
    """Compare a Keras model with its export, which is run with all probes and with one."""
    segments = probes(front_end)
    expected = model(segments[..., None], training=False).numpy()
    found = np.concatenate([run(segments), run(segments[-1:])])
    return compare(np.concatenate([expected, expected[-1:]]), found)
