"""A short-time Fourier transform of matrix products alone, as constants.

Few runtimes have a Fourier transform, all multiply matrices. One product with all sines and
cosines costs 1 million multiplications a frame (of 1024 samples) and 4 MB; in two steps, of
32 times 32, it is a tenth of that, and 0.3 MB.

Source: J. W. Cooley, J. W. Tukey, "An Algorithm for the Machine Calculation of Complex Fourier
Series", Math. Comp. 19 (1965), for a length that is a product of two factors.
"""

import math
from dataclasses import dataclass

import numpy as np

_MAX_NUMBERS = 1 << 24  # in `second`: 64 MiB; 1024 needs 69,632


@dataclass(frozen=True)
class Fourier:
    """Constants of the transform of frames of n = n1 * n2 real samples.

    Sample n2 a + b of a frame lies at [a, b]. The first step transforms along a, the second
    along b. Of the n1 rows between them the n1 // 2 + 1 = n_rows first do: the frame is real, so
    that the others are their mirror image.

    Attributes:
        shape: (n1, n2).
        first: float32 `(2 n_rows, n1)`; row 2 c gives the real part, 2 c + 1 the imaginary.
        second: float32 `(n_rows, 2 n2, 2 n2)`, from real then imaginary parts along b to real
            then imaginary parts along d.
        frequency: int `(n_rows * n2,)`, the bin 0 to n // 2 whose magnitude comes out at [c, d].
    """

    shape: tuple
    first: np.ndarray
    second: np.ndarray
    frequency: np.ndarray

    @property
    def n_rows(self):
        """Rows that the first step keeps."""
        return len(self.second)

    def sorted_like_output(self, filterbank):
        """Return a filterbank for the magnitudes in the order in which they come out.

        Args:
            filterbank: float32 `(n // 2 + 1, n_mels)`.

        Returns:
            float32 `(n_mels, n_rows * n2)`; a bin that comes out twice counts once.
        """
        rows = np.zeros((len(self.frequency), filterbank.shape[1]), np.float32)
        bins, places = np.unique(self.frequency, return_index=True)
        rows[places] = filterbank[bins]
        return np.ascontiguousarray(rows.T)


def fourier(n):
    """Return the `Fourier` of frames of `n` samples.

    Raises:
        ValueError: `n` is large and has no two factors of about the same size.
    """
    n1 = max(factor for factor in range(1, math.isqrt(n) + 1) if n % factor == 0)
    n2, n_rows = n // n1, n1 // 2 + 1
    if (n_numbers := n_rows * 4 * n2 * n2) > _MAX_NUMBERS:
        raise ValueError(
            f"n_fft {n}: its transform takes {n_numbers} constants; allowed are {_MAX_NUMBERS}. "
            "The format saved_model has no such limit."
        )
    a, b, c, d = np.arange(n1), np.arange(n2), np.arange(n_rows), np.arange(n2)
    along_a = _unit_circle(np.outer(c, a), n1)
    k = c[:, None] + n1 * d  # (c, d)
    along_b = _unit_circle(k[:, :, None] * b, n)  # (c, d, b)
    return Fourier(
        shape=(n1, n2),
        first=np.stack([along_a.real, along_a.imag], 1).reshape(-1, n1).astype(np.float32),
        second=np.block(
            [[along_b.real, -along_b.imag], [along_b.imag, along_b.real]],
        ).astype(np.float32),
        frequency=np.minimum(k, n - k).ravel(),
    )


def _unit_circle(steps, n):
    """Return exp(-2 pi i steps / n), exact to float64 for large integers, too."""
    return np.exp(-2j * np.pi * (steps % n) / n)
