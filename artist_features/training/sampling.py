"""Seeded, artist-balanced batch sampling, and the `tf.data` input pipeline of training.

Step n of a run is drawn from (seed, n) alone: a run that was killed goes on with the
draws it would have had.
"""

import abc
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import numpy as np

from artist_features.devices import usable_cores
from artist_features.training import augment
from artist_features.training.cache import AudioCache
from artist_features.training.recipes import Augmentation

if TYPE_CHECKING:
    import tensorflow as tf

_MOST_THREADS = 8  # they share Python's lock, but not while they copy and encode
_PREFETCH = 4


@dataclass(frozen=True)
class Plan:
    """One training batch as track indices: anchors, positives, negatives, unlabelled.

    Attributes:
        labels: int32 `(n_anchors,)`, the artist index of each anchor.
        anchors: int64 `(n_anchors,)`.
        positives: int64 `(n_anchors,)`, another track of the same artist; empty for a
            classifier.
        negatives: int64 `(n_anchors, n_negatives)`, tracks of other artists; no columns
            where the batch itself gives them.
        unlabelled: int64 `(n_unlabelled,)`, tracks whose artist does not matter.
    """

    labels: np.ndarray
    anchors: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    unlabelled: np.ndarray

    def part(self, index: int, n_parts: int) -> "Plan":
        """Shard a batch plan: one of `n_parts` equal parts, for one replica (data parallelism)."""
        cut = {}
        for name, rows in vars(self).items():
            size = len(rows) // n_parts
            cut[name] = rows[index * size : (index + 1) * size]
        return Plan(**cut)

    @property
    def tracks(self) -> np.ndarray:
        """All tracks, int64, in the order of the batch's rows; negatives column by column."""
        columns = self.negatives.T.ravel()
        return np.concatenate([self.anchors, self.positives, columns, self.unlabelled])


@dataclass(eq=False)
class Sampler:
    """Draw the tracks of each step, seeded and balanced over artists.

    Args:
        by_artist: list of int arrays, the tracks of each artist, two or more each where
            positives are drawn.
        unlabelled: int array, the tracks of crops without label.
        n_anchors, n_negatives, n_unlabelled: per step; negatives are for each anchor.
        positives: whether each anchor gets one.

    Raises:
        ValueError: too few artists or tracks for what is asked.
    """

    by_artist: Sequence[np.ndarray]
    unlabelled: np.ndarray
    _: KW_ONLY
    n_anchors: int
    n_negatives: int = 0
    n_unlabelled: int = 0
    positives: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        self.by_artist = [np.asarray(tracks, np.int64) for tracks in self.by_artist]
        self.unlabelled = np.asarray(self.unlabelled, np.int64)
        fewest = min((len(tracks) for tracks in self.by_artist), default=0)
        if self.n_anchors and len(self.by_artist) < 2:
            raise ValueError(
                f"{len(self.by_artist)} artists to train on; needed are 2 or more artists with "
                "two or more readable tracks each in the split 'train'."
            )
        if self.n_anchors and self.positives and fewest < 2:
            raise ValueError(f"an artist with {fewest} tracks; a positive needs 2 or more.")
        if self.n_unlabelled and not len(self.unlabelled):
            raise ValueError("no tracks for the unlabelled crops.")

    def plan(self, step: int) -> Plan:
        """Return the `Plan` of a step (0, 1, ...)."""
        rng = np.random.default_rng([self.seed, 1, step])
        artists = self._artists(step)
        anchors = np.empty(len(artists), np.int64)
        positives = np.empty(len(artists) if self.positives else 0, np.int64)
        negatives = np.empty((len(artists), self.n_negatives), np.int64)
        for row, artist in enumerate(artists):
            tracks = self.by_artist[artist]
            if self.positives:
                anchors[row], positives[row] = rng.choice(tracks, 2, replace=False)
            else:
                anchors[row] = rng.choice(tracks)
            for column in range(self.n_negatives):
                other = rng.integers(len(self.by_artist) - 1)
                other += other >= artist
                negatives[row, column] = rng.choice(self.by_artist[other])
        unlabelled = self.unlabelled[:0]
        if self.n_unlabelled:
            unlabelled = rng.choice(self.unlabelled, self.n_unlabelled)
        return Plan(artists.astype(np.int32), anchors, positives, negatives, unlabelled)

    def _artists(self, step: int) -> np.ndarray:
        """Return the next `n_anchors` of all artists in turn, in a new order each time round."""
        n = len(self.by_artist)
        wanted = np.arange(step * self.n_anchors, (step + 1) * self.n_anchors)
        orders = {
            turn: np.random.default_rng([self.seed, 2, turn]).permutation(n)
            for turn in sorted({int(place) // n for place in wanted})
        }
        return np.array([orders[place // n][place % n] for place in wanted.tolist()], np.int64)


class Batches(abc.ABC):
    """Arrays of each step of a run, and the input pipeline that reads them."""

    @abc.abstractmethod
    def read(self, step: int, index: int = 0, n_parts: int = 1) -> tuple[np.ndarray, ...]:
        """Read the part of a step for one of `n_parts` replicas; shapes are always the same."""

    def dataset(
        self, start: int, stop: int, context: "tf.distribute.InputContext | None" = None
    ) -> "tf.data.Dataset":
        """Build the `tf.data.Dataset` of the steps from `start` up to `stop`.

        Each replica of this process takes one element a step, in turn.
        """
        import tensorflow as tf

        n_parts = context.num_replicas_in_sync if context else 1
        here = n_parts // context.num_input_pipelines if context else 1
        first = here * context.input_pipeline_id if context else 0

        def read_element(element: np.int64) -> tuple[np.ndarray, ...]:
            step, place = divmod(int(element), here)
            return self.read(step, first + place, n_parts)

        sample = self.read(start, first, n_parts)

        def load(element: "tf.Tensor") -> "tuple[tf.Tensor, ...]":
            kinds = [part.dtype for part in sample]
            tensors = tf.numpy_function(read_element, [element], kinds, stateful=False)
            for tensor, part in zip(tensors, sample, strict=True):
                tensor.set_shape(part.shape)
            return tuple(tensors)

        elements = tf.data.Dataset.range(start * here, stop * here)
        dataset = elements.map(
            load, num_parallel_calls=min(_MOST_THREADS, usable_cores()), deterministic=True
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return dataset.prefetch(_PREFETCH).with_options(options)


@dataclass(eq=False)
class AudioBatches(Batches):
    """Augmented crops of each step, read from the audio cache.

    Args:
        mixable: int array, the tracks that may be mixed in.
        n_samples: of a crop.
    """

    cache: AudioCache
    sampler: Sampler
    augmentation: Augmentation
    mixable: np.ndarray
    n_samples: int
    seed: int

    def read(self, step: int, index: int = 0, n_parts: int = 1) -> tuple[np.ndarray, ...]:
        """Read one replica's part of a step.

        Returns:
            tuple of arrays: crops int16 `(n, n_samples)`, gain_db `(n,)`, eq_db
            `(n, 6)`, low_hz `(n,)`, high_hz `(n,)`, all float32, and labels int32
            `(n_anchors,)`. Rows: anchors, positives, negatives, unlabelled.
        """
        plan = self.sampler.plan(step)
        rng = np.random.default_rng([self.seed, 3, step])
        draws = augment.draw(len(plan.tracks), self.augmentation, self.mixable, rng)
        # the same rows get the same draws, however many replicas share the step
        part = plan.part(index, n_parts)
        draws = draws.take(_rows(plan, index, n_parts))
        crops = np.empty((len(part.tracks), self.n_samples), np.int16)
        for row, track in enumerate(part.tracks):
            crops[row] = augment.read_crop(self.cache, track, draws, row, self.n_samples)
        return crops, draws.gain_db, draws.eq_db, draws.low_hz, draws.high_hz, part.labels


def _rows(plan: Plan, index: int, n_parts: int) -> np.ndarray:
    """Return the places, among the rows of the whole step, of one replica's rows."""
    ends = np.cumsum([len(plan.anchors), len(plan.positives), plan.negatives.size])
    places = np.split(np.arange(len(plan.tracks)), ends)
    anchors, positives, negatives, unlabelled = places
    negatives = negatives.reshape(plan.negatives.shape[::-1]).T  # column by column
    numbered = Plan(plan.labels, anchors, positives, negatives, unlabelled)
    return numbered.part(index, n_parts).tracks
