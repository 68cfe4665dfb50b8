"""Ray cluster as an extractor: Ray Data feeds actors, each of which has one model.

`ClusterExtractor` stands where `Extractor` stands in a job, so that the list, the journal,
the shards and the report are the same. Sources go out in tasks of some files, rows come back
in whatever order the tasks end. What an actor took with it when it died is given out again,
file by file.
"""

import contextlib
import itertools
import logging
import math
import os
import signal
import socket
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

from artist_features.config import ModelCard
from artist_features.errors import AnyPath, AudioError, ClusterError, without_secrets
from artist_features.extraction.batching import Result
from artist_features.extraction.decode import DecoderName, Source
from artist_features.extraction.extractor import check_options
from artist_features.extraction.recordings import Pool
from artist_features.library.cluster_worker import EmbeddingActor, pack_sources, unpack_results
from artist_features.optional import require
from artist_features.version import VERSION
from artist_features.zoo import registry
from artist_features.zoo.registry import ModelSpec

T = TypeVar("T")
LOCAL = "local"
FILES_PER_TASK = 64  # starting the decode processes of a task takes as long as some 10 files
WINDOW = 50_000  # sources given to Ray at once: memory stays flat, a pool of actors per window
_TASKS_PER_ACTOR = 4  # at least, of a small job, so that no actor waits long for the last one
_ANSWER_LIMIT_S = 10  # Ray itself knocks for more than five minutes
_CPUS_PER_ACTOR = 8  # at most, where no GPU decides
_SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` would have it send the folder around
    "RAY_USAGE_STATS_ENABLED": "0",
}


class ClusterExtractor:
    """Extractor on a Ray cluster, with the interface of `Extractor` that jobs use.

    Args:
        model: bundled name, path of a model folder, or "hf://owner/name[@revision]"; it is
            read and verified here and sent to the actors.
        address: "local" starts a cluster on this machine and ends it after the job; "auto",
            "host:port" or "ray://host:port" is one that runs. A cluster that this process is
            connected to already is used in any case, and left as it is.
        batch_size, decoder: as for `Extractor`; "tfio" cannot be isolated and is refused.
        n_workers: decoders of each actor; None means 1 to 8 by the CPUs of the nodes.
        on_loaded: called with the name of the device once the first rows are there.

    Attributes:
        card, front_end, decoder, embedding_dim, timing: as of `Extractor`; seconds in the
            model and waiting are the mean over actors.
        n_workers: decoders of all actors together, once connected.

    Raises:
        ImportError: Ray is not installed.
    """

    def __init__(
        self,
        model: ModelSpec = "siamese",
        *,
        address: str = LOCAL,
        batch_size: int = 64,
        n_workers: int | None = None,
        decoder: DecoderName = "auto",
        on_loaded: Callable[[str], object] | None = None,
    ) -> None:
        import_ray()
        if decoder == "tfio":
            raise ValueError("decoder 'tfio' on a cluster; allowed are auto, soundfile and av.")
        check_options(batch_size, 1 if n_workers is None else n_workers, decoder)
        self.card: ModelCard
        self.card, self._weights = registry.read_model(model)
        self.front_end = self.card.front_end
        self.embedding_dim = self.card.embedding_dim
        self.decoder = decoder
        self._address, self._batch_size, self._n_wanted = address, batch_size, n_workers
        self._on_loaded = on_loaded
        self._plan = Allocation(n_workers or 1, 1, 0, 1)
        self.timing = cast("dict[str, float]", Counter())
        self.device = "not loaded"

    @property
    def n_workers(self) -> int:
        """Decoders of all actors together."""
        return self._plan.n_workers * self._plan.n_actors

    def results(
        self, sources: Iterable[Source], *, pool: Pool = "mean", n_sources: int | None = None
    ) -> Generator[Result, None, None]:
        """Yield a `Result` for each source, in the order in which they come back.

        Args:
            sources: iterable of `Source` with a path; taken 50,000 at a time.
            pool, n_sources: as for `Extractor.results`.

        Raises:
            ClusterError: no cluster, no actor that can be started, or not one file came back.
        """
        started = time.perf_counter()
        with connected(self._address) as ray:
            self._plan = plan_actors(ray.nodes(), self._n_wanted)
            try:
                for window in _parts(enumerate(sources), WINDOW):
                    yield from self._window(ray, window, pool, n_sources, started)
            finally:
                self.timing["wall_s"] += time.perf_counter() - started

    def _window(
        self,
        ray: Any,
        window: dict[int, Source],
        pool: Pool,
        n_sources: int | None,
        started: float,
    ) -> Iterator[Result]:
        """Run a window of sources on the cluster, retrying each twice at most.

        The file behind one that kills its actor may be lost with it: the last time they come
        in the other order.
        """
        n_tasks = _TASKS_PER_ACTOR * self._plan.n_actors
        n_files = max(1, min(FILES_PER_TASK, math.ceil(len(window) / n_tasks)))
        for turn, size in enumerate((n_files, 1, 1)):
            n_given = len(window)
            if not n_given:
                return
            items = list(window.items())[:: -1 if turn == 2 else 1]
            tables = [pack_sources(part) for part in _parts(items, size)]
            for table in self._run(ray, tables, pool, n_sources):
                for result, note in unpack_results(table, self.embedding_dim, pool == "mean"):
                    if note:
                        self._note(note, time.perf_counter() - started)
                    source = window.pop(result.index, None)
                    if source is not None:  # else a task that Ray had run twice
                        yield _named(result, source.path)
            if turn == 0 and len(window) == n_given and len(tables) >= _TASKS_PER_ACTOR:
                raise ClusterError(
                    f"not one of {n_given} files came back from the actors; see "
                    "ray-data.log among Ray's logs, by default in /tmp/ray/session_latest/logs."
                )
        text = (
            "no row came back from the cluster, three times: the process that read it died, or its "
            "model failed. Ray's logs say why."
        )
        for index, source in window.items():
            yield _named(Result(index, None, error=AudioError("crashed", text)), source.path)

    def _run(
        self, ray: Any, tables: Sequence[Any], pool: Pool, n_sources: int | None
    ) -> Iterator[Any]:
        """Yield tables of results; those of tasks that failed are missing."""
        plan, n_files = self._plan, max(map(len, tables))
        options = {
            "batch_size": self._batch_size,
            "n_workers": plan.n_workers,
            "decoder": self.decoder,
        }
        actors = _Actors(ray)
        dataset = ray.data.from_arrow(tables)
        dataset.context.max_errored_blocks = -1  # a failed task costs its files, not the job
        dataset.context.enable_progress_bars = False
        dataset.context.print_on_execution_start = False
        with warnings.catch_warnings():
            # the last three keywords go away in Ray 2.64, which pyproject.toml excludes
            warnings.filterwarnings("ignore", "`ray_remote_args")
            dataset = dataset.map_batches(
                EmbeddingActor,
                fn_constructor_args=(
                    *(self.card, self._weights, VERSION),
                    *(pool, n_sources, options),
                ),
                batch_size=n_files,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    min_size=1,
                    max_size=plan.n_actors,
                    # what waits at an actor that dies is lost with it
                    max_tasks_in_flight_per_actor=2 if n_files > 1 else 1,
                ),
                num_cpus=plan.n_cpus,
                num_gpus=plan.n_gpus,
                max_restarts=-1,
                max_task_retries=0,  # Ray would run a file that kills its actor for ever
                ray_remote_args_fn=actors.named,
            )
        try:
            yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        except ray.exceptions.RayError as error:
            cause = without_secrets(str(error).strip().splitlines()[-1])
            raise ClusterError(f"the actors could not be run ({cause}).") from error
        finally:
            actors.end()

    def _note(self, note: dict[str, Any], elapsed_s: float) -> None:
        """Add a task's times to the totals; the first names the device."""
        took = note["timing"]
        if self.device == "not loaded":
            n_actors = self._plan.n_actors
            self.device = f"{note['device']}, up to {n_actors} actor{'s' * (n_actors > 1)}"
            self.timing["load_s"] += max(0.0, elapsed_s - took.get("wall_s", 0.0))
            if self._on_loaded is not None:
                self._on_loaded(self.device)
        for name in ("model_s", "wait_s"):
            self.timing[name] += took.get(name, 0.0) / self._plan.n_actors
        for name in ("files", "audio_s", "segments", "fetch_s"):
            self.timing[name] += took.get(name, 0)


class _Actors:
    """Names of the actors of one turn, to end them with it.

    Ray starts a failed actor again also when its turn is over, and leaves it with the CPUs that
    the actors of the next turn wait for.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._names: list[str] = []

    def named(self) -> dict[str, str]:
        """Return a unique name for one more Ray actor."""
        self._names.append(f"artist-features-{uuid.uuid4()}")
        return {"name": self._names[-1]}

    def end(self) -> None:
        """End those that are still there, also those that are being started again."""
        for name in self._names:
            with contextlib.suppress(ValueError, self._ray.exceptions.RayError):  # gone already
                self._ray.kill(self._ray.get_actor(name), no_restart=True)


def _parts(items: Iterable[tuple[int, T]], size: int) -> Iterator[dict[int, T]]:
    """Yield dicts of at most `size` items."""
    items = iter(items)
    while part := dict(itertools.islice(items, size)):
        yield part


def _named(result: Result, path: AnyPath | None) -> Result:
    """Return a result with the path as the caller gave it."""
    error = result.error and result.error.renamed(path)
    return Result(result.index, path, result.embedding, result.facts, error)


class Allocation(NamedTuple):
    """Decoders, CPUs and GPUs of an actor, and how many actors there may be."""

    n_workers: int
    n_cpus: int
    n_gpus: int
    n_actors: int


def plan_actors(nodes: Iterable[Mapping[str, Any]], n_workers: int | None = None) -> Allocation:
    """Share out a cluster: an actor per GPU, or per some CPUs where there is none.

    Args:
        nodes: as `ray.nodes()` gives them.
        n_workers: decoders of an actor, or None for as many as it has CPUs.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpus = [have for have in resources if have.get("GPU", 0) >= 1]
    if with_gpus:
        n_cpus = min(int(have.get("CPU", 0) // have["GPU"]) for have in with_gpus)
        n_actors = sum(int(have["GPU"]) for have in with_gpus)
        n_cpus = max(1, min(n_cpus, n_workers or n_cpus))
        return Allocation(n_workers or n_cpus, n_cpus, 1, n_actors)
    cpus = [int(have["CPU"]) for have in resources if have.get("CPU", 0) >= 1]
    n_cpus = min([*cpus, n_workers or _CPUS_PER_ACTOR])
    n_actors = max(1, sum(n // n_cpus for n in cpus))
    return Allocation(n_workers or n_cpus, n_cpus, 0, n_actors)


def import_ray() -> Any:
    """Return the package `ray` with `ray.data`.

    Raises:
        ImportError: it is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with _signals_kept():
        require("ray.data", "a cluster", "ray")
        return require("ray", "a cluster", "ray")


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """Connect to a cluster, unless this process is already, and disconnect if we did.

    Args:
        address: "local" for one that is started and ended here, "auto", "host:port" or
            "ray://host:port".

    Yields:
        the package `ray`.

    Raises:
        ClusterError: there is no cluster at that address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _check_port(address)
    options: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with _signals_kept():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises plain `Exception`, too
        cause = without_secrets(f"{type(error).__name__}: {error}")
        raise ClusterError(f"no Ray cluster at {address!r} ({cause}).") from error
    try:
        for handler in logging.getLogger("ray.data").handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.CRITICAL)  # its log file keeps everything
        yield ray
    finally:
        ray.shutdown()


def _check_port(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_LIMIT_S).close()
    except OSError as error:
        text = f"no Ray cluster at {address!r} ({error}); start one or name another address."
        raise ClusterError(text) from None


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the handlers that Ray would replace: a job ends in order."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
