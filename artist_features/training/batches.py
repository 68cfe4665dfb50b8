"""From plans to tensors: the tf.data pipeline of training crops."""

from collections.abc import Callable
from typing import Any

import numpy as np

from artist_features.training import augment
from artist_features.zoo.devices import usable_cores

_MOST_THREADS = 8  # they share Python's lock, but not while they copy and encode
_PREFETCH = 4


class Batches:
    """Crops of each step, as every replica needs them.

    Args:
        cache: `AudioCache`.
        sampler: `Sampler`.
        augmentation: `Augmentation`.
        mixable: int array, the tracks that may be mixed in.
        n_samples: of a crop.
        seed: of the run.
    """

    def __init__(self, cache, sampler, augmentation, mixable, n_samples, seed):
        self._cache, self._sampler, self._augmentation = cache, sampler, augmentation
        self._mixable, self._n_samples, self._seed = mixable, n_samples, seed

    def read(self, step, index=0, n_parts=1):
        """Read one replica's part of a step.

        Returns:
            tuple of arrays: crops int16 `(n, n_samples)`, gain_db `(n,)`, eq_db
            `(n, 6)`, low_hz `(n,)`, high_hz `(n,)`, all float32, and labels int32
            `(n_anchors,)`. Rows: anchors, positives, negatives, free crops.
        """
        plan = self._sampler.plan(step)
        rng = np.random.default_rng([self._seed, 3, step])
        draws = augment.draw(len(plan.tracks), self._augmentation, self._mixable, rng)
        # the same rows get the same draws, however many replicas share the step
        part = plan.part(index, n_parts)
        draws = draws.take(_rows(plan, index, n_parts))
        crops = np.empty((len(part.tracks), self._n_samples), np.int16)
        for row, track in enumerate(part.tracks):
            crops[row] = augment.read_crop(self._cache, track, draws, row, self._n_samples)
        return crops, draws.gain_db, draws.eq_db, draws.low_hz, draws.high_hz, part.labels

    def dataset(self, start, stop, context=None):
        """Build the `tf.data.Dataset` of some steps; see `steps_dataset`."""
        return steps_dataset(self.read, start, stop, context)


def steps_dataset(
    read: Callable[..., tuple[np.ndarray, ...]], start: int, stop: int, context: Any = None
) -> Any:
    """Build the `tf.data.Dataset` of the steps from `start` up to `stop`.

    Args:
        read: function (step, index of a replica, number of replicas) to a tuple of arrays of
            shapes and dtypes that are always the same.
        start, stop: steps.
        context: `tf.distribute.InputContext`; each replica of this process takes one
            element a step, in turn.
    """
    import tensorflow as tf

    n_parts = context.num_replicas_in_sync if context else 1
    here = n_parts // context.num_input_pipelines if context else 1
    first = here * context.input_pipeline_id if context else 0

    def read_element(element: np.int64) -> tuple[np.ndarray, ...]:
        step, place = divmod(int(element), here)
        return read(step, first + place, n_parts)

    sample = read(start, first, n_parts)

    def load(element):
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


def _rows(plan, index, n_parts):
    """Return the places, among the rows of the whole step, of one replica's rows."""
    whole = np.arange(len(plan.tracks))
    ends = np.cumsum([len(plan.anchors), len(plan.positives), plan.negatives.size])
    anchors, positives, negatives, free = np.split(whole, ends)
    columns = negatives.reshape(plan.negatives.shape[::-1])
    cut = [np.array_split(block, n_parts)[index] for block in (anchors, positives)]
    columns = np.array_split(columns, n_parts, axis=1)[index] if columns.size else columns[:0]
    return np.concatenate([*cut, columns.ravel(), np.array_split(free, n_parts)[index]])
