"""Extract embeddings from recordings: the class `Extractor`."""

import contextlib
import functools
import itertools
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, overload

import numpy as np
import numpy.typing as npt

from artist_features.audio.decoders import av_installed
from artist_features.config import FrontEnd, ModelCard
from artist_features.devices import (
    calls_at_once,
    configure_devices,
    prepare_keras,
    refuse_fork,
    signals_deferred,
    usable_cores,
)
from artist_features.errors import (
    AnyPath,
    AudioError,
    AudioWarning,
    ModelError,
    WeightsError,
    checked_int,
    shortened,
)
from artist_features.extraction.batching import Result, embed_events, inference_function
from artist_features.extraction.decode import DecoderName, ReadingOptions, Source
from artist_features.extraction.decode_pool import DecodePool
from artist_features.extraction.onnx_engine import chosen_runtime, onnx_function
from artist_features.extraction.recordings import (
    Embedding,
    Model,
    OneRecording,
    OnError,
    Pool,
    Recordings,
    RuntimeName,
    Several,
    is_missing,
    recordings_in,
    require_readable,
    to_source,
)

if TYPE_CHECKING:  # Keras is imported when a model is built
    import keras
    from typing_extensions import Unpack

ISOLATE_FROM = 8  # files in a list from which processes pay for their start
COMPILE_FROM = 64  # files from which compiling with XLA pays for itself (benchmarks/README.md)
_MAX_BATCH = 4096  # segments; one takes 0.27 MB as samples and some 4 MB in the network
_MODELS_KEPT = 4
_CALLER = 5  # calls from a warning up to that of the function `extract`
_IDLE_S = 0.5  # without a segment, until what is there is computed
# (weights_sha256, graph_sha256) -> model; never handed out for training
_BUILT: dict[tuple[str, str], "keras.Model"] = {}


class ExtractOptions(TypedDict, total=False):
    """Typed keyword arguments of `extract` that leave its return type alone (for overloads)."""

    offset: float
    duration: float | None
    n_segments: int | None
    on_error: OnError
    progress: bool


class Extractor:
    """Embedding extractor: a loaded model with its decoders, for many calls.

    Args:
        model: bundled name, path of a model folder, "hf://owner/name[@revision]", or a
            `keras.Model` that takes waveform segments.
        batch_size: segments computed at once at most, 1 to 4096; in one model call, or on a CPU
            in several at once: of 8 segments each with ONNX Runtime, of 16 with TensorFlow and
            `dedicated`. The result does not depend on it.
        n_workers: decoders at once; None means the CPU cores this process may use.
        isolated: decode files in processes that may die without harm; None decides by
            the number of files (8 or more).
        decoder: "auto" (libsndfile, then FFmpeg where the extra `[av]` is installed),
            "soundfile", "av", or "tfio" (tensorflow-io, extra `[tfio]`).
        runtime: "onnx" runs a bundled model by ONNX Runtime, on the CPU; "tensorflow" any
            model, on a graphics card where there is one; "auto" is "onnx" for a bundled name
            on a machine without a graphics card, else "tensorflow". Vectors of both are equal
            within 1e-4.
        on_loaded: called with the name of the device once the model is there.
        dedicated: TensorFlow does nothing else in this process, so that its threads may be
            set; they stay so. With ONNX Runtime it changes nothing.

    Attributes:
        front_end: `FrontEnd` of the model.
        timing: seconds and counts of everything extracted so far.
        device: where the model runs, once it is loaded.
        runtime: "onnx" or "tensorflow".
    """

    def __init__(
        self,
        model: Model = "siamese",
        *,
        batch_size: int = 64,
        n_workers: int | None = None,
        isolated: bool | None = None,
        decoder: DecoderName = "auto",
        runtime: RuntimeName = "auto",
        on_loaded: Callable[[str], object] | None = None,
        dedicated: bool = False,
    ) -> None:
        self._make_again = functools.partial(
            Extractor,
            model,
            batch_size=batch_size,
            n_workers=n_workers,
            isolated=isolated,
            decoder=decoder,
            runtime=runtime,
            on_loaded=on_loaded,
            dedicated=dedicated,
        )
        n_workers = usable_cores() if n_workers is None else n_workers
        self.batch_size, self.n_workers = check_options(batch_size, n_workers, decoder)
        self.isolated = isolated
        self.decoder = decoder
        self.runtime = chosen_runtime(model, runtime)
        self.card, self.front_end, self._load = _prepare(model, self.runtime)
        self._on_loaded = on_loaded
        self._dedicated = dedicated
        self.timing: dict[str, float] = cast("dict[str, float]", Counter())
        self.device = "not loaded"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._make_again, ()

    @functools.cached_property
    def model(self) -> "keras.Model":
        """The `keras.Model`, built when first needed: decoders start before TensorFlow.

        Extractors of equal weights share it: to train a model, take `load_model`. It is there
        with runtime "onnx", too, which makes no use of it.
        """
        refuse_fork()
        prepare_keras()  # refuses another backend before TensorFlow is loaded
        with self._loading("TensorFlow and Keras"):
            self.device = configure_devices(self._dedicated)
            with signals_deferred():
                return self._load()

    @functools.cached_property
    def _onnx(self) -> tuple[Callable[..., Any], int, int]:
        """ONNX Runtime backend, made on first use: (function, rows a call, parallel calls)."""
        with self._loading("ONNX Runtime"):
            self.device = f"CPU ({usable_cores()} cores, ONNX Runtime)"
            return onnx_function(cast(ModelCard, self.card), self.batch_size)

    @contextlib.contextmanager
    def _loading(self, engine: str) -> Iterator[None]:
        """Context that times the loading of a model, reports the device, raises `ModelError`."""
        started = time.perf_counter()
        try:
            yield
        except WeightsError:
            raise
        except Exception as error:
            name = self.card.name if self.card else "of your own"
            text = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
            raise ModelError(
                f"model {name} cannot be built by this {engine} ({text}). Check settings and "
                "versions, and the memory that is free."
            ) from error
        self.timing["load_s"] += time.perf_counter() - started
        if self._on_loaded is not None:
            self._on_loaded(self.device)

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return self.card.embedding_dim if self.card else int(self.model.output_shape[-1])

    def results(
        self, sources: Iterable[Source], *, pool: Pool = "mean", n_sources: int | None = None
    ) -> Generator[Result, None, None]:
        """Yield a `Result` for each source, in the order in which they are finished.

        Args:
            sources: iterable of `Source`; taken one by one, so it may be endless.
            pool: "mean" for one vector, None for one row per segment.
            n_sources: how many there are, if known.
        """
        _check_pool(pool)
        refuse_fork()
        isolated = self.isolated
        if isolated is None:
            isolated = n_sources is None or n_sources >= ISOLATE_FROM
        if self.decoder == "tfio":
            isolated = False  # its decoder is a TensorFlow graph and lives in this process
        n_workers = self.n_workers if n_sources is None else max(1, min(self.n_workers, n_sources))
        n_in, n_out = itertools.count(), 0
        counted = (source for source, _ in zip(sources, n_in, strict=False))
        decoders = DecodePool(counted, self.front_end, n_workers, isolated, idle_s=_IDLE_S)
        started = time.perf_counter()
        try:
            with decoders as events:
                embed, n_rows, n_calls = self._inference(n_sources)
                results = embed_events(
                    events,
                    embed,
                    segment_samples=self.front_end.segment_samples,
                    n_rows=n_rows,
                    n_calls=n_calls,
                    pooled=pool == "mean",
                    timing=self.timing,
                    by_tf_data=self.runtime != "onnx",
                )
                with contextlib.closing(results):  # now, not when Python finds time for it
                    for result in results:
                        n_out += 1
                        self.timing["files"] += 1
                        self.timing["audio_s"] += result.facts.duration_s if result.facts else 0
                        yield result
        finally:
            self.timing["fetch_s"] += decoders.fetch_s
            self.timing["wall_s"] += time.perf_counter() - started
        if next(n_in) != n_out:
            raise RuntimeError(f"{n_out} sources came out, fewer than went in: please report it")

    def _inference(self, n_sources: int | None) -> tuple[Callable[..., Any], int, int]:
        """Return (compiled model, segments in a call, calls at once)."""
        if self.runtime == "onnx":
            return self._onnx
        model = self.model
        many = n_sources is None or n_sources >= COMPILE_FROM
        on_cpu = self.device.startswith("CPU")  # the rest is not measured on a GPU
        n_calls, n_rows = calls_at_once(self.batch_size) if on_cpu else (1, self.batch_size)
        return inference_function(model, n_rows if many and on_cpu else None), n_rows, n_calls

    # result's type: one array, a list of arrays, or, where the type of `audio` does not say
    # whether it is one recording (a path may be a folder), either
    @overload
    def extract(
        self,
        audio: Recordings,
        sample_rate: float | None = ...,
        *,
        pool: Literal["mean"] = ...,
        return_times: Literal[False] = ...,
        **options: "Unpack[ExtractOptions]",
    ) -> Embedding: ...

    @overload
    def extract(
        self,
        audio: OneRecording,
        sample_rate: float | None = ...,
        *,
        pool: None,
        return_times: Literal[False] = ...,
        **options: "Unpack[ExtractOptions]",
    ) -> Embedding: ...

    @overload
    def extract(
        self,
        audio: Several,
        sample_rate: float | None = ...,
        *,
        pool: None,
        return_times: Literal[False] = ...,
        **options: "Unpack[ExtractOptions]",
    ) -> list[Embedding]: ...

    @overload
    def extract(
        self,
        audio: Recordings,
        sample_rate: float | None = ...,
        *,
        pool: None,
        return_times: Literal[False] = ...,
        **options: "Unpack[ExtractOptions]",
    ) -> Embedding | Any: ...

    @overload
    def extract(
        self,
        audio: Recordings,
        sample_rate: float | None = ...,
        *,
        pool: None,
        return_times: Literal[True],
        **options: "Unpack[ExtractOptions]",
    ) -> tuple[Any, Any]: ...

    def extract(
        self,
        audio: Recordings,
        sample_rate: float | None = None,
        *,
        pool: Pool = "mean",
        offset: float = 0.0,
        duration: float | None = None,
        n_segments: int | None = None,
        on_error: OnError = "raise",
        progress: bool = False,
        return_times: bool = False,
    ) -> Any:
        """Extract embeddings; see the function `extract` for arguments and results."""
        if on_error not in ("raise", "skip", "nan"):
            raise ValueError(
                f"on_error {shortened(repr(on_error))}; allowed are 'raise', 'skip' and 'nan'."
            )
        _check_pool(pool)
        reading = ReadingOptions(offset, duration, n_segments=n_segments, decoder=self.decoder)
        if return_times and (pool is not None or n_segments is not None):
            raise ValueError("return_times needs pool=None, and no n_segments.")
        make_source = functools.partial(to_source, reading=reading)
        items = recordings_in(audio)
        rows: Any
        if items is None:
            rows = self._embed_one(make_source(audio, sample_rate), pool)
            return (rows, self._times(rows, offset)) if return_times else rows
        items = _searched(items, on_error)
        n_sources = len(items) if isinstance(items, Sized) else None
        sources = _sources_of(items, n_sources, sample_rate, make_source, on_error)
        results = self.results(sources, pool=pool, n_sources=n_sources)
        with contextlib.closing(results):  # also where the caller keeps the exception
            if progress:
                self._inference(n_sources)  # before the bar, which counts from its first second
            shown = _with_bar(results, n_sources) if progress else results
            rows = self._embed_several(shown, pool, on_error)
        if return_times:
            return rows, [self._times(row, offset) for row in rows]
        if pool is None:
            return rows
        return np.stack(rows) if rows else np.empty((0, self.embedding_dim), np.float32)

    def _embed_one(self, source: Source, pool: Pool) -> Embedding:
        require_readable(source)  # a typo is known before TensorFlow is loaded
        (result,) = self.results([source], pool=pool, n_sources=1)
        if result.error is not None:
            raise result.error
        _warn_of_flaws(result)
        return result.embedding

    def _embed_several(
        self, results: Iterable[Result], pool: Pool, on_error: OnError
    ) -> list[Embedding]:
        """Return the embeddings in the order of their sources."""
        by_index: dict[int, Embedding] = {}
        for result in results:
            if result.error is None:
                _warn_of_flaws(result)
                by_index[result.index] = result.embedding
                continue
            error = _numbered(result.error, result.index)
            if on_error == "raise":
                raise error
            _warn_of_failure(error, result.path, on_error)
            if on_error == "nan":
                shape = self.embedding_dim if pool else (1, self.embedding_dim)
                by_index[result.index] = np.full(shape, np.nan, np.float32)
        return [by_index[index] for index in sorted(by_index)]

    def _times(self, rows: Embedding, offset: float) -> npt.NDArray[np.float64]:
        """Return where each segment begins in its recording, in seconds, float64 `(n,)`."""
        return np.array(self.front_end.starts_s(len(rows), offset), np.float64)


def check_options(batch_size: int, n_workers: int, decoder: DecoderName) -> tuple[int, int]:
    """Validate the options of `Extractor`; return (batch_size, n_workers) as `int`."""
    batch_size = checked_int("batch_size", batch_size)
    n_workers = checked_int("n_workers", n_workers)
    if batch_size > _MAX_BATCH:
        raise ValueError(f"batch_size is {batch_size} segments; allowed is 1 to {_MAX_BATCH}.")
    ReadingOptions(decoder=decoder)  # checks its name
    if decoder == "tfio":
        from artist_features.extraction.tfio_decoder import require_tfio

        require_tfio()
    if decoder == "av" and not av_installed():
        raise ImportError(
            "decoder 'av' needs PyAV; install it with `pip install 'artist-features[av]'`."
        )
    return batch_size, n_workers


def _check_pool(pool: object) -> None:
    if pool not in ("mean", None):
        raise ValueError(f"pool {shortened(repr(pool))}; allowed are 'mean' and None.")


def _prepare(
    model: Model, runtime: RuntimeName
) -> tuple[ModelCard | None, FrontEnd, Callable[[], "keras.Model"]]:
    """Return (card or None, front end, function that gives the Keras model)."""
    if hasattr(model, "input_shape"):
        from artist_features.zoo.frontend import front_end_of

        return None, front_end_of(model), lambda: model
    from artist_features.zoo import registry

    read = functools.cache(functools.partial(registry.read_model, model))
    # by ONNX Runtime the weights are read only if the Keras model is asked for
    card = registry.list_models()[cast(str, model)] if runtime == "onnx" else read()[0]
    return card, card.front_end, lambda: _built(*read())


def _built(card: ModelCard, weights: dict[str, Any]) -> "keras.Model":
    """Build a verified model, or take the equal one that was built before."""
    from artist_features.zoo import folder
    from artist_features.zoo.frontend import float32_defaults

    key = card.weights_sha256, card.graph_sha256
    if key not in _BUILT:
        while len(_BUILT) >= _MODELS_KEPT:
            del _BUILT[next(iter(_BUILT))]
        with float32_defaults():  # whatever policy the user's own models have
            _BUILT[key] = folder.build(card, weights)
    return _BUILT[key]


def _searched(items: Iterable[Any], on_error: OnError) -> Iterable[Any]:
    """Raise or warn for unreadable folders of a folder search; return the files."""
    if not isinstance(items, list):
        return items
    for item in items:
        if isinstance(item, AudioError):
            if on_error == "raise":
                raise item
            warnings.warn(AudioWarning("skipped", item.message, item.path), stacklevel=4)
    return [item for item in items if not isinstance(item, AudioError)]


def _sources_of(
    items: Iterable[Any],
    n: int | None,
    sample_rate: float | None,
    make_source: Callable[..., Source],
    on_error: OnError,
) -> Iterator[Source]:
    """Yield the `Source` of each of several recordings; the sample rate is that of arrays."""
    arrays = n is not None and any(hasattr(item, "__array__") for item in items)
    alone = n is not None and not arrays  # then a rate is wrong, as files state their own
    for number, item in enumerate(items):
        if on_error != "raise" and is_missing(item):
            text = "a missing value (None, NaN) stands in place of a recording."
            yield Source(AudioError("not_found", text))
            continue
        try:
            yield make_source(item, sample_rate if alone or hasattr(item, "__array__") else None)
        except AudioError as error:
            yield Source(error)
        except (TypeError, ValueError) as error:
            raise type(error)(f"recording {number}: {error}") from None


def _with_bar(results: Iterator[Result], n: int | None) -> Iterator[Result]:
    """Pass results on beside a progress bar."""
    from tqdm.auto import tqdm

    audio_s = 0.0
    with tqdm(total=n, unit="file") as bar:
        for result in results:
            audio_s += result.facts.duration_s if result.facts else 0.0
            speed = audio_s / max(bar.format_dict["elapsed"], 1e-3)
            bar.set_postfix_str(f"{speed:.0f} x real time", refresh=False)
            bar.update()
            yield result


def _numbered(error: AudioError, index: int) -> AudioError:
    """Return the error of one of several recordings; one without a name gets its number."""
    if error.path is not None:
        return error
    return AudioError(error.code, f"recording {index}: {error.message}")


def _warn_of_flaws(result: Result) -> None:
    for code, text in result.facts.flaws if result.facts else ():
        warnings.warn(AudioWarning(code, f"{code}: {text}.", result.path), stacklevel=_CALLER)


def _warn_of_failure(error: AudioError, path: AnyPath | None, on_error: OnError) -> None:
    done = "skipped" if on_error == "skip" else "a row of NaN"
    message = f"{done}, {error.code}: {error.message}"
    warnings.warn(AudioWarning("skipped", message, path), stacklevel=_CALLER)
