"""Decoded segments of many files to embeddings: tf.data, one batch shape, one trace.

Segments of all files flow through a `tf.data.Dataset` in batches of constant shape,
each row with the number of the source it belongs to. Which sources are complete
travels as data too: an exception inside tf.data would end the whole job.
"""

import contextlib
import functools
import itertools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from artist_features.errors import AnyPath, AudioError

if TYPE_CHECKING:  # imported when a model is used
    import tensorflow as tf

_PREFETCH_BATCHES = 2
_ALIGNED_BYTES = 64  # TensorFlow takes arrays that begin at a multiple as they are: no copy
NOT_FINITE = (
    "the model gives NaN or infinite numbers for it; its weights are not those of a trained model."
)
_END = -1  # in place of a key: no batch follows
_sources = {}  # key -> iterator of batches (segments, owners, closed), while a call uses it
_keys = itertools.count()


@dataclass(frozen=True)
class Result:
    """What came of one source.

    Attributes:
        index: position in the input.
        path: the file as the caller named it, or None for an array.
        embedding: float32 `(dim,)`, or `(n_segments, dim)` if not pooled; None if failed.
        facts: `Facts` of the decoding, or None if failed.
        error: `AudioError`, or None.
    """

    index: int
    path: AnyPath | None
    embedding: Any = None
    facts: Any = None
    error: AudioError | None = None

    @property
    def status(self):
        """ "ok", the code of the first flaw, or the code of the error."""
        if self.error is not None:
            return self.error.code
        return self.facts.flaws[0][0] if self.facts.flaws else "ok"


@functools.lru_cache(maxsize=4)
def inference_function(model, n_rows=None):
    """Return a compiled function: float32 `(rows, n_samples)` to `(rows, dim)`.

    Args:
        model: `keras.Model` on `(batch, n_samples, 1)`.
        n_rows: compile with XLA for this one number of rows; None takes any number
            of rows without XLA, in one trace.
    """
    import tensorflow as tf

    spec = tf.TensorSpec((n_rows, model.input_shape[1]), tf.float32)

    # a partial, as TensorFlow counts the traces of one code, of whatever model, and warns
    embed = functools.partial(_embed, model)
    return tf.function(embed, input_signature=[spec], jit_compile=n_rows is not None)


def _embed(model, segments):
    return model(segments[..., None], training=False)


def embed_events(events, embed, segment_samples, batch_size, pooled, timing, calls=None):
    """Run the model over the events of a `DecodePool`.

    Args:
        events: iterable of `Event`, and of None when none came for a while: what is there is
            computed then, and the main thread gets a chance to notice signals.
        embed: from `inference_function`.
        segment_samples: length of a segment.
        batch_size: rows of a batch; the last one has fewer.
        pooled: average the rows of a source, or keep them.
        timing: dict; seconds spent in the model and waiting for segments are added.
        calls: (calls of `embed` at once, segments in each); None means one for a batch.

    Yields:
        (index, embedding or None, `Facts` or None, error or None), once per source, as
        soon as it is complete.
    """
    import tensorflow as tf

    compute = _SideBySide(embed, *(calls or (1, batch_size)))
    ledger = _Ledger(events, segment_samples, batch_size)
    key = next(_keys)
    _sources[key] = ledger.batches()
    try:
        iterator = iter(_dataset_function(segment_samples)(tf.constant(key, tf.int64)))
        try:
            with compute:
                yield from _embed_batches(iterator, compute, ledger, pooled, timing)
        finally:
            ledger.end(iterator)
    finally:
        del _sources[key]
    if ledger.failure is not None:
        raise ledger.failure


@functools.lru_cache(maxsize=8)
def _dataset_function(segment_samples: int) -> Callable[["tf.Tensor"], "tf.data.Dataset"]:
    """Return a function: int64 key to the `tf.data.Dataset` of `_sources[key]`.

    Traced once for each length of a segment. `Dataset.from_generator` would register its Python
    function with TensorFlow for the life of the process, and all that the function holds.
    """
    import tensorflow as tf

    def pull(key: "tf.Tensor") -> tuple["tf.Tensor", ...]:
        kinds = [tf.float32, tf.int64, tf.int64]
        tensors = tf.numpy_function(functools.partial(_pull, segment_samples), [key], kinds)
        for tensor, shape in zip(tensors, [(None, segment_samples), (None,), (None,)], strict=True):
            tensor.set_shape(shape)
        return tuple(tensors)

    options = tf.data.Options()
    # autotuning holds the source back: 41 instead of 28 ms a file (benchmarks/README.md)
    options.autotune.enabled = False

    @tf.function(input_signature=[tf.TensorSpec((), tf.int64)])
    def dataset(key: "tf.Tensor") -> "tf.data.Dataset":
        batches = tf.data.Dataset.range(1 << 62).map(lambda _: pull(key))
        return batches.prefetch(_PREFETCH_BATCHES).with_options(options)

    return dataset


def _pull(segment_samples: int, key: np.int64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the next batch of a source; after its end, and when it is gone, an empty last one."""
    last = np.empty((0, segment_samples), np.float32), (), (_END,)
    segments, owners, closed = next(_sources.get(int(key), iter(())), last)
    return segments, np.array(owners, np.int64), np.array(closed, np.int64)


class _SideBySide:
    """A function that divides a batch among calls at once; a context manager.

    Args:
        embed: from `inference_function`.
        n_calls: at once, each in a thread of its own.
        n_rows: segments in a call; a call of fewer is padded with zeros if `embed` wants it.
    """

    def __init__(self, embed, n_calls, n_rows):
        constant_rows = embed.input_signature[0].shape[0]
        if constant_rows not in (None, n_rows):
            raise ValueError(
                f"the model is compiled for {constant_rows} rows, a call is of {n_rows}; they "
                "must be equal."
            )
        self._embed, self._n_calls, self._n_rows = embed, n_calls, n_rows
        self._padded = constant_rows is not None

    def __enter__(self):
        self._threads = ThreadPoolExecutor(self._n_calls)
        return self

    def __exit__(self, *_):
        self._threads.shutdown()

    def __call__(self, segments):
        """Return the embeddings float32 `(n, dim)` of `(n, n_samples)`."""
        starts = range(0, len(segments), self._n_rows)
        parts = [segments[first : first + self._n_rows] for first in starts]
        compute = self._threads.map if len(parts) > 1 else map
        return np.concatenate(list(compute(self._rows, parts)))

    def _rows(self, part):
        import tensorflow as tf

        n = len(part)
        if self._padded and n < self._n_rows:
            part = tf.pad(part, [[0, self._n_rows - n], [0, 0]])
        return self._embed(part).numpy()[:n]


def _embed_batches(batches, embed, ledger, pooled, timing):
    """Yield what `embed_events` yields, until the batch that is the last one."""
    sums = {}
    clock = time.perf_counter()
    for segments, owners, closed in batches:
        timing["wait_s"] += time.perf_counter() - clock
        clock = time.perf_counter()
        if len(owners):
            timing["segments"] += len(owners)
            _collect(embed(segments), owners.numpy(), sums, pooled)
        ledger.take_back()
        timing["model_s"] += time.perf_counter() - clock
        closed = closed.numpy()
        for key in closed[closed != _END]:
            rows = sums.pop(key, None)
            if (event := ledger.outcomes.pop(key)) is not None:
                error = event.error
                if error is None and not rows.finite:
                    error = AudioError("not_finite", NOT_FINITE)
                if error is None:
                    yield event.index, rows.result(), event.facts, None
                else:
                    yield event.index, None, None, error
        if _is_last(closed):
            ledger.is_read = True
            return
        clock = time.perf_counter()


def _is_last(closed):
    return len(closed) > 0 and closed[-1] == _END


class _Ledger:
    """Turns events into batches and remembers how each attempt at a source ended."""

    def __init__(self, events, segment_samples, batch_size):
        self._events = events
        self._segment_samples = segment_samples
        self._batch_size = batch_size
        self.outcomes = {}  # key of an attempt -> its last event, or None if given up
        self.failure = None
        self.is_read = False  # the last batch was
        self._stopped = False
        self._on_the_way = deque()  # room of each batch that is not computed; None: it has none
        self._free = []  # new memory costs a page fault every 4 kB

    def end(self, iterator):
        """Have no thread of TensorFlow in Python when a job is broken off.

        At the end of the interpreter it would destroy what such a thread still uses.
        """
        import tensorflow as tf

        self._stopped = True
        with contextlib.suppress(tf.errors.OpError):
            while not self.is_read and (batch := next(iterator, None)):
                self.is_read = _is_last(batch[2].numpy())

    def take_back(self):
        """Use the memory of the next batch again: it has been computed."""
        room = self._on_the_way.popleft()
        if room is not None:
            self._free.append(room)

    def batches(self):
        """Yield (segments, owner keys, keys complete with this batch)."""
        try:
            yield from self._batches()
        except Exception as error:  # noqa: BLE001 - tf.data would lose its type; raised again
            self.failure = error
            self._on_the_way.append(None)
            yield np.empty((0, self._segment_samples), np.float32), (), (_END,)

    def _batches(self):
        keys, next_key = {}, 0  # index of a source -> (attempt, key)
        segments, owners, closed = self._new_batch()
        for event in self._events:
            if self._stopped:
                break
            if event is None:
                yield self._sent(segments, owners, closed)
                segments, owners, closed = self._new_batch()
                continue
            if keys.get(event.index, (None,))[0] != event.attempt:
                if event.index in keys:
                    closed.append(keys[event.index][1])
                    self.outcomes[closed[-1]] = None
                keys[event.index] = event.attempt, next_key
                next_key += 1
            key = keys[event.index][1]
            if event.segments is None:
                del keys[event.index]
                self.outcomes[key] = event
                if event.error is not None and key not in owners:
                    self._on_the_way.append(None)
                    yield segments[:0], [], [key]  # told at once, not when a batch is full
                else:
                    closed.append(key)
                continue
            for segment in event.segments:
                segments[len(owners)] = segment
                owners.append(key)
                if len(owners) == self._batch_size:
                    yield self._sent(segments, owners, closed)
                    segments, owners, closed = self._new_batch()
        yield self._sent(segments, owners, [*closed, _END])

    def _sent(self, segments, owners, closed):
        self._on_the_way.append(segments)
        return segments[: len(owners)], owners, closed

    def _new_batch(self):
        if self._free:
            return self._free.pop(), [], []
        shape = self._batch_size, self._segment_samples
        room = np.empty(4 * shape[0] * shape[1] + _ALIGNED_BYTES, np.uint8)
        first = -room.ctypes.data % _ALIGNED_BYTES
        segments = room[first : first + len(room) - _ALIGNED_BYTES].view(np.float32)
        return segments.reshape(shape), [], []


class _Rows:
    """Rows of one source: kept, or summed in float64 in their order."""

    def __init__(self, pooled):
        self._pooled = pooled
        self.finite = True
        self._kept = []
        self._count = 0

    def add(self, rows):
        self.finite = self.finite and bool(np.isfinite(rows).all())
        if not self.finite:
            return
        self._count += len(rows)
        if self._pooled:
            total = rows.sum(axis=0, dtype=np.float64)
            self._kept = [total + self._kept[0]] if self._kept else [total]
        else:
            self._kept.append(rows)

    def result(self):
        if self._pooled:
            return (self._kept[0] / self._count).astype(np.float32)
        return np.concatenate(self._kept)


def _collect(rows, owners, sums, pooled):
    """Add each run of equal owners to that owner's rows."""
    edges = np.flatnonzero(np.diff(owners)) + 1
    for start, end in zip([0, *edges], [*edges, len(owners)], strict=True):
        sums.setdefault(owners[start], _Rows(pooled)).add(rows[start:end])
