"""A job over many files: what is missing, what it took, and where the time went.

The files are walked twice, first to see what the output holds already and what has changed
since, then to read what is missing, so that memory does not grow with their number.
"""

import contextlib
import os
import time
import zlib
from collections import Counter, deque
from dataclasses import dataclass, field

from artist_features.errors import AudioError
from artist_features.extraction.batching import Result
from artist_features.extraction.decode import Source
from artist_features.extraction.remote import identity, is_uri
from artist_features.extraction.tables import WITH_VECTOR, Row

NO_FILE = (-1, -1)
_LAST_NS = (1 << 63) - 1  # of tables; in April 2262, and some disks have later dates


@dataclass
class Tally:
    """What a job found, did, and took.

    Attributes:
        n_listed: files named or found, in this shard of the list.
        n_repeated: times that a file was named again, where it has one row all the same.
        n_changed: files whose row was older than they are.
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
    passed: Counter = field(default_factory=Counter)
    kept: Counter = field(default_factory=Counter)
    made: Counter = field(default_factory=Counter)
    formats: dict = field(default_factory=dict)
    seconds: Counter = field(default_factory=Counter)
    n_workers: int = 1

    @property
    def n_missing(self):
        """Files to read in this run."""
        return self.n_listed - self.kept.total()

    @property
    def n_failed(self):
        """Rows without a vector, of this run and of earlier ones."""
        counts = self.kept + self.made
        return sum(n for status, n in counts.items() if status not in WITH_VECTOR)

    @property
    def audio_s(self):
        """Seconds of audio read in this run."""
        return sum(facts["audio_s"] for facts in self.formats.values())

    def count(self, row, facts):
        """Count a row of this run; `facts` are `Facts`, or None if it failed."""
        self.made[row.status] += 1
        if facts is not None:
            sums = self.formats.setdefault(facts.container or facts.decoder, Counter())
            sums["files"] += 1
            sums["audio_s"] += facts.duration_s
            sums["decode_s"] += facts.decode_s
            sums["resample_s"] += facts.resample_s

    @property
    def limit(self):
        """What kept the job from being faster, in words."""
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
        name = max(shares, key=shares.get)
        return f"{name} (busy {100 * shares[name]:.0f} % of the time)"

    def record(self):
        """Return everything as plain data for JSON."""
        return {
            "n_listed": self.n_listed,
            "n_repeated": self.n_repeated,
            "n_changed": self.n_changed,
            "n_failed": self.n_failed,
            "kept": dict(self.kept),
            "made": dict(self.made),
            "audio_s": self.audio_s,
            "formats": {name: dict(sums) for name, sums in sorted(self.formats.items())},
            "seconds": dict(self.seconds),
            "n_workers": self.n_workers,
            "limit": self.limit,
        }


def part_of(paths, index, n):
    """Yield the part number `index` (from 1) of `n` of a list, by a hash of the path.

    The same paths give the same parts on every machine; `AudioError`s of the search go to
    every part that they name.
    """
    for item in paths:
        name = item.path if isinstance(item, AudioError) else item
        if zlib.crc32(os.fsencode(name)) % n == index - 1:
            yield item


def survey(paths, writer, *, retry_failed=False):
    """Walk the files once: count what stays, and mark rows that are to be made anew.

    Args:
        paths: iterable of paths and of `AudioError`s for folders that cannot be searched.
        writer: from `open_output`.
        retry_failed: make failed rows anew, too.

    Returns:
        `Tally` with `n_listed`, `n_changed` and `kept`.
    """
    tally, folders = Tally(), {}
    writer.begin_walk()
    for item in paths:
        path, _, stamp = _path_name_stamp(item, folders)
        if writer.is_repeated(path):
            tally.n_repeated += 1
            continue
        tally.n_listed += 1
        if (found := writer.find(path)) is None:
            continue
        status, then = found
        failed = status not in WITH_VECTOR
        changed = stamp not in (then, NO_FILE)
        if changed or (failed and (retry_failed or not writer.keeps_failed)):
            writer.mark_stale(path)
            tally.n_changed += changed
        else:
            tally.kept[status] += 1
    for path in writer.failed_and_not_named():
        if os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK):
            writer.mark_stale(path)  # a folder that could not be searched then, and can now
    writer.drop_stale()
    return tally


def run(paths, writer, extractor, tally, *, make_source=Source, hop_s=None, on_row=None):
    """Walk the files again, and make the rows that are missing.

    Args:
        paths, writer: as for `survey`.
        extractor: `Extractor` or `ClusterExtractor`.
        tally: `Tally` of the survey, which is added to.
        make_source: function from a path to a `Source`.
        hop_s: keep segments apart, which begin so many seconds after one another; None
            gives their mean.
        on_row: called with each `Row` once it is kept.
    """
    waiting = {}  # number of a source -> (place in the list, stamp, name), if under way
    unsearched = deque()  # found by the decoders' threads, written by this one

    def missing():
        n_sources, folders = 0, {}
        writer.begin_walk()
        for place, item in enumerate(paths):
            path, name, stamp = _path_name_stamp(item, folders)
            if writer.is_repeated(path) or writer.find(path) is not None:
                continue
            if isinstance(item, AudioError):
                unsearched.append((Result(place, path, error=item), stamp, name))
                continue
            waiting[n_sources] = place, stamp, name
            n_sources += 1
            yield make_source(path)

    def keep(result, place, stamp, name):
        starts = ()
        if hop_s and result.embedding is not None:
            first = make_source(result.path).span.offset_s
            starts = [first + n * hop_s for n in range(len(result.embedding))]
        row = Row.from_result(result, stamp, starts, name)
        started = time.perf_counter()
        writer.write(place, row)
        tally.seconds["write"] += time.perf_counter() - started
        tally.count(row, result.facts)
        if on_row:
            on_row(row)

    def keep_unsearched():
        while unsearched:
            result, *rest = unsearched.popleft()
            keep(result, result.index, *rest)

    try:
        if tally.n_missing:
            pool = None if hop_s else "mean"
            results = extractor.results(missing(), pool=pool, n_sources=tally.n_missing)
            with contextlib.closing(results):  # the processes end before the output is closed
                for result in results:
                    keep(result, *waiting.pop(result.index))
                    keep_unsearched()
        keep_unsearched()
    finally:
        for name in ("load", "fetch", "model", "wait", "wall"):
            tally.seconds[name] = extractor.timing[f"{name}_s"]
        tally.n_workers = max(1, min(extractor.n_workers, tally.n_missing))


def _path_name_stamp(
    item: str | AudioError, folders: dict[str, str]
) -> tuple[str, str, tuple[int, int]]:
    """Return (path that stands for a file, its name as given, (size, mtime)).

    Of a URI, whether it has changed could be told only by asking for it; of an error of the
    search, the folder is meant.
    """
    name = os.fsdecode(item.path if isinstance(item, AudioError) else item)
    path = identity(name, folders)
    if isinstance(item, AudioError) or is_uri(item):
        return path, name, NO_FILE
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path, name, NO_FILE
    return path, name, (status.st_size, max(-_LAST_NS, min(status.st_mtime_ns, _LAST_NS)))
