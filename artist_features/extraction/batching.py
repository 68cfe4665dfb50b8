"""Batch inference: batch decoded segments of many recordings, run the model, pool.

Segments of all files flow in batches of at most `batch_size` rows (padded only where XLA wants a
constant shape), through a `tf.data.Dataset` where TensorFlow computes, each row with the number
of the source it belongs to. Which sources are complete travels as data too: an exception inside
tf.data would end the whole job.
"""

import contextlib
import ctypes
import functools
import itertools
import os
import re
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.devices import signals_deferred
from artist_features.errors import AnyPath, AudioError
from artist_features.extraction.decode import Facts
from artist_features.extraction.decode_pool import Event

if TYPE_CHECKING:  # imported when a model is used
    import keras
    import tensorflow as tf

Floats: TypeAlias = npt.NDArray[np.float32]
# segments float32 (n, segment_samples), number of the attempt that each belongs to, numbers of
# the attempts that are complete with this batch
Batch: TypeAlias = tuple[Floats, list[int], list[int]]
_PREFETCH_BATCHES = 2
_ALIGNED_BYTES = 64  # TensorFlow takes arrays that begin at a multiple as they are: no copy
NOT_FINITE = (
    "the model gives NaN or infinite numbers for it; its weights are not those of a trained model."
)
_END = -1  # in place of a key: no batch follows
_sources: dict[int, Iterator[Batch]] = {}  # key -> batches, while a call uses them
_keys = itertools.count()


@dataclass(frozen=True)
class Result:
    """Embedding of one source, or why it has none.

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
    facts: Facts | None = None
    error: AudioError | None = None

    @property
    def status(self) -> str:
        """ "ok", the code of the first flaw, or the code of the error."""
        if self.error is not None:
            return self.error.code
        return self.facts.flaws[0][0] if self.facts and self.facts.flaws else "ok"

    @property
    def decoded(self) -> Facts:
        """Facts of a source that did not fail; raises the error of one that did."""
        if self.facts is None:
            raise self.error or ValueError("a result without facts and without an error")
        return self.facts


def inference_function(model: "keras.Model", n_rows: int | None = None) -> Callable[..., Any]:
    """Return a compiled function: float32 `(rows, n_samples)` to `(rows, dim)`.

    Args:
        model: `keras.Model` on `(batch, n_samples, 1)`.
        n_rows: compile with XLA for this one number of rows, to which fewer are padded; None
            takes any number of rows without XLA, in one trace.
    """
    compiled = compiled_function(model, n_rows)
    return compiled if n_rows is None else functools.partial(_call_padded, compiled, n_rows)


def _call_padded(compiled: Callable[..., Any], n_rows: int, segments: Any) -> Floats:
    """Call a function of `n_rows` segments with no more than that."""
    n = len(segments)
    if n < n_rows:
        segments = np.pad(segments, [(0, n_rows - n), (0, 0)])
    return np.asarray(compiled(segments))[:n]


@functools.lru_cache(maxsize=4)
def compiled_function(model: "keras.Model", n_rows: int | None) -> Callable[..., Any]:
    """Return the `tf.function` of `inference_function`; it takes `n_rows` rows only, if given."""
    import tensorflow as tf

    if n_rows is not None:
        _quieten_xla()
    spec = tf.TensorSpec((n_rows, model.input_shape[1]), tf.float32)

    # a partial, as TensorFlow counts the traces of one code, of whatever model, and warns
    embed = functools.partial(_embed, model)
    return tf.function(embed, input_signature=[spec], jit_compile=n_rows is not None)


def _quieten_xla() -> None:
    """Make TF_CPP_MIN_LOG_LEVEL hold for XLA's log lines, too; errors are always printed.

    XLA logs through Abseil, whose level TensorFlow 2.20 neither sets from the variable nor offers
    in Python. So Abseil's own `SetMinLogLevel` is called, where the library exports it.
    """
    import tensorflow as tf

    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
    if level not in ("1", "2", "3"):
        return
    header = Path(tf.sysconfig.get_include(), "absl", "base", "options.h")
    libraries = sorted(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.*2*"))
    with contextlib.suppress(OSError, AttributeError):  # another library: its lines stay
        versions = re.findall(
            r"#define ABSL_OPTION_INLINE_NAMESPACE_NAME (\w+)", header.read_text()
        )
        for version, library in zip(versions[:1], libraries, strict=False):
            name = f"_ZN4absl{len(version)}{version}14SetMinLogLevelENS0_18LogSeverityAtLeastE"
            ctypes.CDLL(str(library))[name](ctypes.c_int(min(int(level), 2)))  # 2: errors


def _embed(model: "keras.Model", segments: "tf.Tensor") -> "tf.Tensor":
    return model(segments[..., None], training=False)


def embed_events(
    events: Iterable[Event | None],
    embed: Any,
    *,
    segment_samples: int,
    n_rows: int,
    n_calls: int = 1,
    pooled: bool = True,
    timing: MutableMapping[str, float],
    by_tf_data: bool = True,
) -> Generator[Result, None, None]:
    """Run the model over the events of a `DecodePool`.

    Args:
        events: iterable of `Event`, and of None when none came for a while: what is there is
            computed then, and the main thread gets a chance to notice signals.
        embed: from `inference_function` or `onnx_function`.
        segment_samples: length of a segment.
        n_rows: segments in a call of `embed`.
        n_calls: calls at once; together they take a batch, of which the last has fewer rows.
        pooled: average the rows of a source, or keep them.
        timing: seconds spent in the model and waiting for segments are added.
        by_tf_data: have tf.data make batches while others are computed; else each is made
            when it is asked for, and TensorFlow is not needed.

    Yields:
        `Result`, once per source, as soon as it is complete.
    """
    batcher = _Batcher(events, segment_samples, n_calls * n_rows)
    made: AbstractContextManager[Iterator[Any]]
    made = _by_tf_data(batcher) if by_tf_data else contextlib.closing(batcher.batches())
    with _parallel_calls(embed, n_calls, n_rows) as compute, made as batches:
        yield from _embed_batches(batches, compute, batcher, pooled, timing)
    if batcher.failure is not None:
        raise batcher.failure


@contextlib.contextmanager
def _by_tf_data(batcher: "_Batcher") -> Iterator[Iterator[Any]]:
    """Have tf.data make batches, two ahead."""
    import tensorflow as tf

    key = next(_keys)
    _sources[key] = batcher.batches()
    try:
        with signals_deferred():
            iterator = iter(_dataset_function(batcher.segment_samples)(tf.constant(key, tf.int64)))
        try:
            yield iterator
        finally:
            with signals_deferred():
                batcher.end(iterator)
    finally:
        del _sources[key]


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


def _pull(segment_samples: int, key: np.int64) -> tuple[Floats, npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the next batch of a source; after its end, and when it is gone, an empty last one."""
    last: Batch = np.empty((0, segment_samples), np.float32), [], [_END]
    segments, owners, closed = next(_sources.get(int(key), iter(())), last)
    return segments, np.array(owners, np.int64), np.array(closed, np.int64)


@contextlib.contextmanager
def _parallel_calls(embed: Any, n_calls: int, n_rows: int) -> Iterator[Callable[[Any], Floats]]:
    """Context with a function: segments `(n, n_samples)` to embeddings float32 `(n, dim)`.

    It makes at most `n_calls` calls of `embed` at once, each in a thread of its own and of
    `n_rows` segments, the last of fewer.
    """

    def call(part: Any) -> Floats:
        return np.asarray(embed(part))

    def compute(segments: Any) -> Floats:
        starts = range(0, len(segments), n_rows)
        parts = [segments[first : first + n_rows] for first in starts]
        return np.concatenate(list((threads.map if len(parts) > 1 else map)(call, parts)))

    with ThreadPoolExecutor(n_calls) as threads:
        yield compute


def _embed_batches(
    batches: Iterator[tuple[Any, Any, Any]],
    embed: Callable[[Any], Floats],
    batcher: "_Batcher",
    pooled: bool,
    timing: MutableMapping[str, float],
) -> Iterator[Result]:
    """Run batches through the model until the last one; yields as `embed_events`."""
    sums: dict[int, _PooledRows] = {}
    while True:
        with signals_deferred():
            clock = time.perf_counter()
            segments, owners, closed = next(batches)
            timing["wait_s"] += time.perf_counter() - clock
            clock = time.perf_counter()
            if len(owners):
                timing["segments"] += len(owners)
                _collect(embed(segments), np.asarray(owners), sums, pooled)
            batcher.take_back()
            timing["model_s"] += time.perf_counter() - clock
            closed = np.asarray(closed, np.int64)
        for key in closed[closed != _END]:
            rows = sums.pop(key, None)
            if (event := batcher.outcomes.pop(key)) is not None:
                error = event.error
                if error is None and rows is not None and not rows.finite:
                    error = AudioError("not_finite", NOT_FINITE, event.path)
                if error is not None or rows is None:
                    yield Result(event.index, event.path, error=error)
                else:
                    yield Result(event.index, event.path, rows.result(), event.facts)
        if _is_last(closed):
            batcher.is_read = True
            return


def _is_last(closed: npt.NDArray[np.int64]) -> bool:
    return len(closed) > 0 and bool(closed[-1] == _END)


class _Batcher:
    """Pack segments of many recordings into batches; track retries and completed recordings."""

    def __init__(
        self, events: Iterable[Event | None], segment_samples: int, batch_size: int
    ) -> None:
        self._events = events
        self.segment_samples = segment_samples
        self._batch_size = batch_size
        # key of an attempt -> its last event, or None if given up
        self.outcomes: dict[int, Event | None] = {}
        self.failure: Exception | None = None
        self.is_read = False  # the last batch was
        self._stopped = False
        # memory of each batch that is not computed; None: it has none
        self._on_the_way: deque[Floats | None] = deque()
        self._free: list[Floats] = []  # new memory costs a page fault every 4 kB

    def end(self, iterator: Iterator[Any]) -> None:
        """Drain the tf.data iterator after an abort, so that no TensorFlow thread runs Python.

        At the end of the interpreter it would destroy what such a thread still uses.
        """
        import tensorflow as tf

        self._stopped = True
        with contextlib.suppress(tf.errors.OpError):
            while not self.is_read and (batch := next(iterator, None)):
                self.is_read = _is_last(batch[2].numpy())

    def take_back(self) -> None:
        """Recycle the buffer of the oldest pending batch, which has been computed."""
        room = self._on_the_way.popleft()
        if room is not None:
            self._free.append(room)

    def batches(self) -> Generator[Batch, None, None]:
        """Yield (segments, owner keys, keys complete with this batch)."""
        try:
            yield from self._batches()
        except Exception as error:  # noqa: BLE001 - tf.data would lose its type; raised again
            self.failure = error
            self._on_the_way.append(None)
            yield np.empty((0, self.segment_samples), np.float32), [], [_END]

    def _batches(self) -> Iterator[Batch]:
        keys: dict[int, tuple[int, int]] = {}  # index of a source -> (attempt, key)
        n_keys = itertools.count()
        segments, owners, closed = self._new_batch()
        for event in self._events:
            if self._stopped:
                break
            if event is None:
                yield self._sent(segments, owners, closed)
                segments, owners, closed = self._new_batch()
                continue
            attempt, key = keys.get(event.index, (None, _END))
            if attempt != event.attempt:
                if attempt is not None:  # its process died
                    self.outcomes[key] = None
                    closed.append(key)
                key = next(n_keys)
                keys[event.index] = event.attempt, key
            if event.segments is None:
                del keys[event.index]
                self.outcomes[key] = event
                if event.error is not None and key not in owners:
                    self._on_the_way.append(None)
                    yield segments[:0], [], [key]  # at once, not when a batch is full
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

    def _sent(self, segments: Floats, owners: list[int], closed: list[int]) -> Batch:
        self._on_the_way.append(segments)
        return segments[: len(owners)], owners, closed

    def _new_batch(self) -> Batch:
        if self._free:
            return self._free.pop(), [], []
        shape = self._batch_size, self.segment_samples
        room = np.empty(4 * shape[0] * shape[1] + _ALIGNED_BYTES, np.uint8)
        first = -room.ctypes.data % _ALIGNED_BYTES
        segments = room[first : first + len(room) - _ALIGNED_BYTES].view(np.float32)
        return segments.reshape(shape), [], []


class _PooledRows:
    """Temporal pooling of one recording: running mean of segment embeddings, or all of them."""

    def __init__(self, pooled: bool) -> None:
        self._pooled = pooled
        self.finite = True
        self._kept: list[npt.NDArray[Any]] = []
        self._count = 0

    def add(self, rows: Floats) -> None:
        self.finite = self.finite and bool(np.isfinite(rows).all())
        if not self.finite:
            return
        self._count += len(rows)
        if self._pooled:
            total = rows.sum(axis=0, dtype=np.float64)
            self._kept = [total + self._kept[0]] if self._kept else [total]
        else:
            self._kept.append(rows)

    def result(self) -> Floats:
        if self._pooled:
            return (self._kept[0] / self._count).astype(np.float32)
        return np.concatenate(self._kept)


def _collect(
    rows: Floats, owners: npt.NDArray[np.int64], sums: dict[int, _PooledRows], pooled: bool
) -> None:
    """Scatter a batch's embeddings to the accumulator (`_PooledRows`) of each recording."""
    edges = np.flatnonzero(np.diff(owners)) + 1
    for start, end in zip([0, *edges], [*edges, len(owners)], strict=True):
        sums.setdefault(owners[start], _PooledRows(pooled)).add(rows[start:end])
