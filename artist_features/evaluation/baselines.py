"""Baselines: MFCC statistics, and random vectors."""

from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from artist_features.audio.stream import open_file
from artist_features.errors import AudioError
from artist_features.optional import require

BASELINES = ("mfcc", "mfcc-raw", "chance")
MFCC_SAMPLE_RATE = 22050  # Hz, librosa's default
N_MFCC = 20  # librosa's default
_MIN_SAMPLES = 2048  # one STFT window, librosa's default
_CHANCE_DIM = 256


def require_librosa() -> ModuleType:
    """Import librosa, or raise ImportError that names the extra."""
    return require("librosa", "baseline 'mfcc'", "evaluate")


def mfcc_statistics(path: str | Path) -> np.ndarray:
    """Describe a recording by mean and standard deviation of its MFCCs over time.

    20 coefficients with the defaults of `librosa.feature.mfcc` on the mono recording at
    22,050 Hz (window 2048, hop 512, 128 mel bands, dB with a range of 80 dB, DCT-II).
    The numbers are raw, in which coefficient 0 (loudness) outweighs all others in a
    cosine: `standardise` them over the tracks that are compared.

    Args:
        path: of the recording, read as `extract` reads it; held in memory whole.

    Returns:
        float32 `(40,)`, 20 means, then 20 standard deviations.

    Raises:
        AudioError: the recording cannot be read.
        ImportError: librosa is not installed.
    """
    librosa = require_librosa()
    try:
        samples = _read_mono(path)
        mfcc = librosa.feature.mfcc(y=samples, sr=MFCC_SAMPLE_RATE, n_mfcc=N_MFCC)
    except MemoryError:
        text = "its MFCCs need more memory than there is; cut the recording."
        raise AudioError("out_of_memory", text, path) from None
    return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)]).astype(np.float32)


def chance_vectors(n_tracks: int) -> np.ndarray:
    """Draw random vectors, one per track.

    Returns:
        float32 `(n_tracks, 256)`, standard normal.
    """
    return np.random.default_rng(0).standard_normal((n_tracks, _CHANCE_DIM), np.float32)


def standardise(vectors: npt.ArrayLike, among: np.ndarray | None = None) -> np.ndarray:
    """Give every dimension mean 0 and standard deviation 1 over the tracks.

    Uses the evaluated tracks themselves, but none of their labels. A dimension that
    never varies becomes 0.

    Args:
        vectors: float `(n_tracks, dim)`.
        among: bool `(n_tracks,)`, the tracks that mean and deviation are taken from, as
            those of the training part; None takes all.

    Returns:
        float64 `(n_tracks, dim)`.
    """
    vectors = np.asarray(vectors, np.float64)
    known = vectors if among is None else vectors[among]
    centred = vectors - known.mean(axis=0)
    spread = known.std(axis=0)
    constant = spread <= 1e-9 * np.abs(known).max(axis=0)  # rounding is no variation
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, spread))


def _read_mono(path: str | Path) -> np.ndarray:
    """Return a recording as float32 `(n_samples,)`, zero-padded to one STFT window."""
    try:
        with open_file(path, target_rate=MFCC_SAMPLE_RATE) as stream:
            samples = stream.read()
    except (RuntimeError, OSError, ValueError, EOFError) as error:
        text = f"the decoder failed ({type(error).__name__}: {error})."
        raise AudioError("damaged", text, path) from error
    return np.pad(samples, (0, max(0, _MIN_SAMPLES - len(samples))))
