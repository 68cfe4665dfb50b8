"""Duplicates of a library: recordings that are the same performance, the best copy first.

`candidate_pairs` chooses pairs by their vectors and lengths, the audio decides, by
`audio.fingerprint`. Recordings come in the order of their length, so that each is read once and
few fingerprints are held at a time.

Cosines of the vectors as they are do not part copies from neighbours in style. Whitened by the
library's own covariance they nearly do: what all music has in common goes.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from artist_features.audio.decoders import Span
from artist_features.audio.fingerprint import (
    FRAMES_PER_S,
    SAMPLE_RATE,
    Fingerprint,
    Lags,
    bit_agreement,
    fingerprint,
)
from artist_features.audio.formats import format_of
from artist_features.audio.stream import open_file
from artist_features.errors import AudioError
from artist_features.search.ranking import Floats, Rows, whitened, whitening
from artist_features.search.tracks import IndexedTrack

# calibrated by benchmarks/duplicates.py: of two copies; of the best copy with one that is a copy
# of another of its group (on 2026-11-29 other tracks agreed by 0.51 at most, two versions of one
# by 0.75)
LEAST_AGREEMENT, LEAST_IN_GROUP = 0.78, 0.6
MOST_SHIFT_S = 10.5  # between two starts
_EXCERPT = Span(0.0, 120.0)
# of the pairs whose audio is compared, calibrated likewise
N_CANDIDATES, LEAST_COSINE = 10, 0.6
_LEAST_ROWS = 1000  # of a library that is large enough to be spared less likely pairs
_BLOCK_QUERIES, _BLOCK_ROWS = 2048, 8192  # 64 MiB of similarities


@dataclass(frozen=True)
class Copy:
    """A recording of a group.

    Attributes:
        path: as the table has it.
        similarity: agreement of the audio with the group's first copy, 1 for the same bits, 0
            for chance; its own is 1. Below `LEAST_AGREEMENT` it is that of a copy of another one
            of the group.
        length_difference_s: seconds that it is longer than the first copy.
        starts_later_s: seconds of the first copy before this one starts; negative where this
            one has more at its beginning.
        container: "flac", "mp3", ...
        kbps: size of the file by its length, in kbit/s; 0 if the length is unknown.
    """

    path: str
    similarity: float
    length_difference_s: float
    starts_later_s: float
    container: str
    kbps: int


@dataclass(frozen=True)
class Duplicates:
    """Outcome of `find_duplicates`.

    Attributes:
        groups: lists of `Copy`, the best first, in the order of the tracks.
        unreadable: `AudioError` of each candidate whose audio could not be read.
        n_compared: pairs whose audio was compared.
    """

    groups: list[list[Copy]]
    unreadable: list[AudioError]
    n_compared: int


@dataclass(frozen=True)
class _Audio:
    """A file that was read; the length is 0 if unknown."""

    path: str
    packed: Fingerprint
    length_s: float
    container: str
    n_bytes: int

    @property
    def kbps(self) -> int:
        return round(self.n_bytes / 125 / self.length_s) if self.length_s else 0

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Lowest for the best copy; a lossless one that is longer lacks less of the music."""
        lossy = not format_of(self.container).lossless
        return lossy, 0 if lossy else -round(self.length_s), -self.kbps, self.path


def find_duplicates(
    vectors: Floats,
    tracks: Sequence[IndexedTrack],
    within_s: float = 1.0,
    progress: Callable[[int], object] | None = None,
) -> Duplicates:
    """Find recordings that are the same performance.

    A group is what copies of copies connect, as far as it agrees with the best one. The first two
    minutes are compared; starts may differ by 10 s.

    Args:
        vectors: float32 `(n, dim)`, of one model.
        tracks: n `IndexedTrack`s of local files; a length of 0 is looked up in the file.
        within_s: largest difference in length in seconds, >= 0, of two recordings as they are,
            or without what only one of them has before the common start.
        progress: called with the number of tracks done since the last call, or None.

    Raises:
        ValueError: `within_s` is not allowed.
    """
    if not 0 <= within_s < np.inf:
        raise ValueError(f"within is {within_s:g} s; allowed is 0 s or more.")
    lengths_s = np.array([track.duration_s for track in tracks], np.float64)
    audio: dict[int, _Audio] = {}
    failed: dict[int, AudioError] = {}
    copies: dict[int, set[int]] = {}
    n_compared = 0

    def agreed(pair: tuple[int, int]) -> float:
        return _agreement(audio[pair[0]], audio[pair[1]], within_s)[0]

    with ThreadPoolExecutor() as pool:
        for done, pairs in candidate_pairs(vectors, lengths_s, within_s + MOST_SHIFT_S):
            missing = dict.fromkeys(itertools.chain(*pairs)).keys() - audio.keys() - failed.keys()
            _read_all(sorted(missing), tracks, audio, failed, pool)
            pairs = [pair for pair in pairs if audio.keys() >= {*pair}]
            n_compared += len(pairs)
            for (a, b), agreement in zip(pairs, pool.map(agreed, pairs), strict=True):
                if agreement >= LEAST_AGREEMENT:
                    copies.setdefault(a, set()).add(b)
                    copies.setdefault(b, set()).add(a)
            for row in done.tolist():  # it comes in no later pair
                if row not in copies:
                    audio.pop(row, None)
            if progress:
                progress(len(done))
    groups = [[audio[row] for row in rows] for rows in _groups(copies, audio, agreed)]
    errors = [failed[row] for row in sorted(failed)]
    return Duplicates([_copies(group, within_s) for group in groups], errors, n_compared)


def candidate_pairs(
    vectors: Floats, lengths_s: npt.NDArray[np.float64], apart_s: float
) -> Iterator[tuple[Rows, list[tuple[int, int]]]]:
    """Find pairs of rows that may be copies, in the order of their lengths.

    Up to `N_CANDIDATES` of the longer recordings are taken for each row, those most similar.
    From 1,000 rows on a cosine of `LEAST_COSINE` is asked for, too. Beside the vectors it takes
    0.5 GB.

    Args:
        vectors: float32 `(n, dim)`.
        lengths_s: float64 `(n,)`, 0 where unknown: such rows are compared with each other.
        apart_s: largest difference of two lengths in seconds.

    Yields:
        (rows, pairs): int64 `(k,)` rows that come in no later pair, and the pairs of rows in
        which these are the shorter ones; every row is yielded once.
    """
    n = len(vectors)
    order = np.argsort(lengths_s, kind="stable")
    ordered_s = lengths_s[order]
    ends = np.searchsorted(ordered_s, ordered_s + apart_s, side="right")
    transform = whitening(vectors)
    least = LEAST_COSINE if n >= _LEAST_ROWS else -2.0
    for start in range(0, n, _BLOCK_QUERIES):
        numbers = np.arange(start, min(n, start + _BLOCK_QUERIES))[:, None]
        queries, last = whitened(vectors[order[numbers[:, 0]]], *transform), ends[numbers]
        cosines = np.full((len(queries), N_CANDIDATES), least, np.float32)
        found = np.full(cosines.shape, -1)
        for first in range(start, int(last.max()), _BLOCK_ROWS):
            others = np.arange(first, min(first + _BLOCK_ROWS, int(last.max())))
            block = queries @ whitened(vectors[order[others]], *transform).T
            block[(others <= numbers) | (others >= last)] = -np.inf
            _keep_best(cosines, found, block, others)
        pairs = [(start + row, found[row, k]) for row, k in np.argwhere(found >= 0)]
        yield order[numbers[:, 0]], [(int(order[a]), int(order[b])) for a, b in pairs]


def _keep_best(cosines: Floats, found: Rows, block: Floats, others: Rows) -> None:
    """Merge better candidates into the running top-k, `(n, N_CANDIDATES)` each."""
    better = np.flatnonzero(block.max(axis=1) > cosines.min(axis=1))
    merged = np.concatenate([cosines[better], block[better]], axis=1)
    best = np.argpartition(merged, -N_CANDIDATES, axis=1)[:, -N_CANDIDATES:]
    rows = np.concatenate([found[better], np.broadcast_to(others, block[better].shape)], axis=1)
    cosines[better] = np.take_along_axis(merged, best, axis=1)
    found[better] = np.take_along_axis(rows, best, axis=1)


def _read_all(
    rows: Sequence[int],
    tracks: Sequence[IndexedTrack],
    audio: dict[int, _Audio],
    failed: dict[int, AudioError],
    pool: ThreadPoolExecutor,
) -> None:
    for row, read in zip(rows, pool.map(_read, [tracks[row] for row in rows]), strict=True):
        if isinstance(read, AudioError):
            failed[row] = read
        else:
            audio[row] = read


def _read(track: IndexedTrack) -> _Audio | AudioError:
    try:
        with open_file(track.path, target_rate=SAMPLE_RATE, span=_EXCERPT) as stream:
            packed = fingerprint(stream.read())
            length_s = track.duration_s or stream.declared_s or 0.0
            n_bytes = os.path.getsize(track.path)
            return _Audio(track.path, packed, length_s, stream.container, n_bytes)
    except AudioError as error:
        return error.renamed(track.path)
    except (RuntimeError, OSError, ValueError, EOFError) as error:  # of a decoder library
        text = f"the decoder failed ({type(error).__name__}: {error})."
        return AudioError("damaged", text, track.path)


def _agreement(a: _Audio, b: _Audio, within_s: float) -> tuple[float, float]:
    """Return how well two recordings agree, and the seconds of `a` before `b` starts."""
    agreed, lag = bit_agreement(a.packed, b.packed, _lags(a.length_s, b.length_s, within_s))
    return agreed, lag / FRAMES_PER_S


def _lags(a_s: float, b_s: float, within_s: float) -> Lags:
    """Return the starts to be tried: any of like length, or those by which the ends meet."""
    most = int(MOST_SHIFT_S * FRAMES_PER_S)
    lags = np.arange(-most, most + 1)
    if not (a_s and b_s) or abs(a_s - b_s) <= within_s:
        return lags
    return lags[np.abs(lags / FRAMES_PER_S - (a_s - b_s)) <= within_s + 1 / FRAMES_PER_S]


def _groups(
    copies: dict[int, set[int]],
    audio: dict[int, _Audio],
    agreed: Callable[[tuple[int, int]], float],
) -> Iterator[list[int]]:
    """Yield groups of rows, the best first: all connected to it that agree with it.

    A row that would be in no group comes to that of its copies, too.
    """
    left = set(copies)
    for best in sorted(copies, key=lambda row: audio[row].rank):
        if best not in left:
            continue
        connected, ahead = {best}, [best]
        while ahead:
            near = copies[ahead.pop()] & left - connected
            connected |= near
            ahead += near
        members = {row for row in connected - {best} if agreed((best, row)) >= LEAST_IN_GROUP}
        left -= {best, *members}
        members |= {row for row in connected & left if not copies[row] & left}
        left -= members
        if members:
            yield [best, *sorted(members, key=lambda row: audio[row].rank)]


def _copies(group: Sequence[_Audio], within_s: float) -> list[Copy]:
    best = group[0]
    found = []
    for audio in group:
        agreed, later_s = _agreement(best, audio, within_s) if audio is not best else (1.0, 0.0)
        difference_s = audio.length_s - best.length_s if audio.length_s and best.length_s else 0.0
        numbers = (round(agreed, 3), round(difference_s, 2), round(later_s, 2))
        found.append(Copy(audio.path, *numbers, audio.container, audio.kbps))
    return found
