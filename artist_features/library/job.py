"""Resumable, incremental batch extraction of a library.

The files are listed once, compared with the rows of the output, and the missing rows are made.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from artist_features.extraction.batching import Result
from artist_features.extraction.decode import Facts, Source
from artist_features.library.inputs import Found, NamedPath, NamedPaths, stamp_of
from artist_features.library.outputs import Output
from artist_features.library.tables import WITH_VECTOR, Row

if TYPE_CHECKING:
    from artist_features.extraction.extractor import Extractor
    from artist_features.library.cluster import ClusterExtractor


def _sums() -> dict[str, float]:
    """Return sums by name, 0 for a new one."""
    return cast("dict[str, float]", Counter())


@dataclass
class Tally:
    """Counts and times of a job.

    Attributes:
        n_listed: files named or found, in this shard of the list.
        n_repeated: times that a file was named again, where it has one row all the same.
        n_changed: files whose row was older than they are.
        n_gone: rows that were removed because their file does not exist.
        passed: {what: files in folders that were passed over}, see `search_folder`.
        kept: {status: rows that were there already and stay}.
        made: {status: rows of this run}.
        formats: {container: {"files", "audio_s", "decode_s", "resample_s"}} of this run.
        seconds: {"load", "fetch", "model", "wait", "write", "wall"} of this run; fetching
            is that of all decoders together.
        n_workers: decoders at once.
    """

    n_listed: int = 0
    n_repeated: int = 0
    n_changed: int = 0
    n_gone: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    formats: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=_sums)
    n_workers: int = 1

    @property
    def n_missing(self) -> int:
        """Files to read in this run."""
        return self.n_listed - self.kept.total()

    @property
    def n_failed(self) -> int:
        """Rows without a vector, of this run and of earlier ones."""
        counts = self.kept + self.made
        return sum(n for status, n in counts.items() if status not in WITH_VECTOR)

    @property
    def audio_s(self) -> float:
        """Seconds of audio read in this run."""
        return sum(facts["audio_s"] for facts in self.formats.values())

    def count(self, row: Row, facts: Facts | None) -> None:
        """Count a row of this run; `facts` is None if it failed."""
        self.made[row.status] += 1
        if facts is not None:
            sums = self.formats.setdefault(facts.container or facts.decoder, _sums())
            sums["files"] += 1
            sums["audio_s"] += facts.duration_s
            sums["decode_s"] += facts.decode_s
            sums["resample_s"] += facts.resample_s

    @property
    def bottleneck(self) -> str:
        """Bottleneck of the job, in words."""
        wall = self.seconds["wall"] - self.seconds["load"]
        if wall <= 0 or not self.made:
            return "nothing to do"
        busy = sum(facts["decode_s"] + facts["resample_s"] for facts in self.formats.values())
        shares = {
            "decoding": busy / (self.n_workers * wall),
            "fetching": self.seconds["fetch"] / (self.n_workers * wall),
            "model": self.seconds["model"] / wall,
            "writing": self.seconds["write"] / wall,
        }
        name = max(shares, key=shares.__getitem__)
        return f"{name} (busy {100 * shares[name]:.0f} % of the time)"

    def record(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        return {
            "n_listed": self.n_listed,
            "n_repeated": self.n_repeated,
            "n_changed": self.n_changed,
            "n_gone": self.n_gone,
            "n_failed": self.n_failed,
            "kept": dict(self.kept),
            "made": dict(self.made),
            "audio_s": self.audio_s,
            "formats": {name: dict(sums) for name, sums in sorted(self.formats.items())},
            "seconds": dict(self.seconds),
            "n_workers": self.n_workers,
            "limit": self.bottleneck,
        }


def find_missing(
    found: Iterable[Found],
    output: Output,
    named: NamedPaths,
    tally: Tally,
    *,
    retry_failed: bool = False,
    prune: bool = False,
) -> None:
    """Compare the input files with the rows of the output; drop rows that are stale or gone.

    Args:
        found: paths, and errors of folders that cannot be searched, from `find_audio`;
            walked once.
        output: from `open_output`.
        named: table that was given to `open_output`; `run` reads what is missing from it.
        tally: gets `n_listed`, `n_repeated`, `n_changed`, `n_gone` and `kept` at the end.
        retry_failed: make failed rows anew, too.
        prune: remove the rows of files that do not exist.

    Raises:
        ManifestError, ImportError: as `find_audio`; the output is as it was.
        OutputError: `no_space` or `not_writable`.
    """
    for item in found:
        named.add(item)
    n_changed = named.compare(retry_failed=retry_failed or not output.keeps_failed)
    n_gone = named.mark_gone() if prune else 0
    if parts := named.stale_parts():
        output.drop(parts, named.is_stale)
        named.forget_stale()
    tally.n_listed, tally.n_repeated = named.counts()
    tally.n_changed, tally.n_gone, tally.kept = n_changed, n_gone, named.kept()


def run(
    named: NamedPaths,
    output: Output,
    extractor: "Extractor | ClusterExtractor",
    tally: Tally,
    *,
    make_source: Callable[[str], Source] = Source,
    per_segment: bool = False,
    on_row: Callable[[Row], None] | None = None,
    steps: Callable[[Iterator[Result]], Iterable[Result]] = iter,
) -> None:
    """Extract the files that have no up-to-date row, and write their rows to the output.

    Args:
        named, output: as for `find_missing`.
        extractor: `Extractor` or `ClusterExtractor`.
        tally: as for `find_missing`; it is added to.
        make_source: function from a path to a `Source`.
        per_segment: keep the vectors of the segments, not their mean.
        on_row: called with each `Row` once it is kept.
        steps: wraps the results, to end the job between two of them; see `OrderlyStop`.
    """
    # by number of the source: its file, the file's stamp, second of the first segment
    waiting: dict[int, tuple[NamedPath, tuple[int, int], float]] = {}

    def sources() -> Iterator[Source]:
        for number, item in enumerate(named.missing()):
            source = make_source(item.path)
            waiting[number] = item, stamp_of(item.path), source.reading.offset_s
            yield source

    def keep(result: Result, list_index: int, row: Row) -> None:
        started = time.perf_counter()
        output.write(list_index, row)
        tally.seconds["write"] += time.perf_counter() - started
        tally.count(row, result.facts)
        if on_row:
            on_row(row)

    try:
        for item in named.missing(searched=False):
            result = Result(item.list_index, item.path, error=item.error)
            keep(result, item.list_index, Row.from_result(result, name=item.name))
        n_sources = tally.n_missing - tally.made.total()
        if not n_sources:
            return
        results = extractor.results(
            sources(), pool=None if per_segment else "mean", n_sources=n_sources
        )
        with contextlib.closing(results):  # the processes end before the output is closed
            for result in steps(results):
                item, stamp, offset_s = waiting.pop(result.index)
                starts: list[float] = []
                if per_segment and result.embedding is not None:
                    starts = extractor.front_end.starts_s(len(result.embedding), offset_s)
                keep(result, item.list_index, Row.from_result(result, stamp, starts, item.name))
    finally:
        for name in ("load", "fetch", "model", "wait", "wall"):
            tally.seconds[name] = extractor.timing[f"{name}_s"]
        tally.n_workers = max(1, min(extractor.n_workers, tally.n_missing))
