"""Which tracks a training step hears: anchors, positives, negatives, free crops.

Step n of a run is drawn from (seed, n) alone: a run that was killed goes on with the
draws it would have had.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Plan:
    """The tracks of one step, as indices into the training set.

    Attributes:
        labels: int32 `(n_anchors,)`, the artist index of each anchor.
        anchors: int64 `(n_anchors,)`.
        positives: int64 `(n_anchors,)`, another track of the same artist; empty for a
            classifier.
        negatives: int64 `(n_anchors, n_negatives)`, tracks of other artists; no columns
            where the batch itself gives them.
        free: int64 `(n_free,)`.
    """

    labels: np.ndarray
    anchors: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    free: np.ndarray

    def part(self, index, n_parts):
        """Return one of `n_parts` equal parts of the step, for one replica."""
        cut = {}
        for name, rows in vars(self).items():
            size = len(rows) // n_parts
            cut[name] = rows[index * size : (index + 1) * size]
        return Plan(**cut)

    @property
    def tracks(self):
        """All tracks in the order of the batch's rows; negatives column by column."""
        return np.concatenate([self.anchors, self.positives, self.negatives.T.ravel(), self.free])


class Sampler:
    """Seeded draws, balanced over artists.

    Args:
        by_artist: list of int arrays, the tracks of each artist, two or more each where
            positives are drawn.
        free: int array, the tracks of the free crops.
        n_anchors, n_negatives, n_free: per step.
        positives: whether each anchor gets one.
        seed: of the run.

    Raises:
        ValueError: too few artists or tracks for what is asked.
    """

    def __init__(
        self, by_artist, free, *, n_anchors, n_negatives=0, n_free=0, positives=True, seed=0
    ):
        self._by_artist = [np.asarray(tracks, np.int64) for tracks in by_artist]
        self._free = np.asarray(free, np.int64)
        self._n_anchors, self._n_negatives, self._n_free = n_anchors, n_negatives, n_free
        self._positives = positives
        self._seed = seed
        fewest = min((len(tracks) for tracks in self._by_artist), default=0)
        if n_anchors and len(self._by_artist) < 2:
            raise ValueError(
                f"{len(self._by_artist)} artists to train on; needed are 2 or more artists with "
                "two or more readable tracks each in the split 'train'."
            )
        if n_anchors and positives and fewest < 2:
            raise ValueError(f"an artist with {fewest} tracks; a positive needs 2 or more.")
        if n_free and not len(self._free):
            raise ValueError("no tracks for the free crops.")

    def plan(self, step):
        """Return the `Plan` of a step (0, 1, ...)."""
        rng = np.random.default_rng([self._seed, 1, step])
        artists = self._artists(step)
        anchors = np.empty(len(artists), np.int64)
        positives = np.empty(len(artists) if self._positives else 0, np.int64)
        negatives = np.empty((len(artists), self._n_negatives), np.int64)
        for row, artist in enumerate(artists):
            tracks = self._by_artist[artist]
            if self._positives:
                anchors[row], positives[row] = rng.choice(tracks, 2, replace=False)
            else:
                anchors[row] = rng.choice(tracks)
            for column in range(self._n_negatives):
                other = rng.integers(len(self._by_artist) - 1)
                other += other >= artist
                negatives[row, column] = rng.choice(self._by_artist[other])
        free = rng.choice(self._free, self._n_free) if self._n_free else self._free[:0]
        return Plan(artists.astype(np.int32), anchors, positives, negatives, free)

    def _artists(self, step):
        """Every artist once, in a new order each time round, `n_anchors` at a time."""
        n = len(self._by_artist)
        wanted = np.arange(step * self._n_anchors, (step + 1) * self._n_anchors)
        orders = {
            turn: np.random.default_rng([self._seed, 2, turn]).permutation(n)
            for turn in sorted({int(place) // n for place in wanted})
        }
        return np.array([orders[place // n][place % n] for place in wanted.tolist()], np.int64)
