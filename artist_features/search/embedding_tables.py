"""Read tables that `extract` wrote; join artists and titles from a manifest or from tags."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from artist_features.errors import AudioError, ManifestError, OutputError, counted
from artist_features.extraction.decode import ReadingOptions
from artist_features.extraction.remote import identity, is_uri
from artist_features.library import tables
from artist_features.library.inputs import stamp_of
from artist_features.library.shards import JOURNAL_FILE
from artist_features.optional import require
from artist_features.progress import progress_bar
from artist_features.search.ranking import Floats
from artist_features.search.tracks import IndexedTrack

_NOT_OF_THE_VECTORS = ("content_hash",)  # options that change other columns only


@dataclass
class Embeddings:
    """Rows of one or more tables.

    Attributes:
        vectors: float32 `(n, dim)`; segments that were kept apart are averaged.
        tracks: list of n `IndexedTrack`.
        made_with: dict of what decides the vectors.
        n_failed: recordings without a vector.
        n_repeated: rows of a path that had one before, which stays.
        no_direction: paths whose vector is all zeros or not finite.
        unfinished: folders in which a job has not come to its end.
    """

    vectors: Floats
    tracks: list[IndexedTrack] = field(default_factory=list)
    made_with: dict[str, Any] = field(default_factory=dict)
    n_failed: int = 0
    n_repeated: int = 0
    no_direction: list[str] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)


def read_embeddings(
    paths: Sequence[str | Path], made_with: Mapping[str, Any] | None = None
) -> Embeddings:
    """Read tables that `artist-features extract` wrote.

    Args:
        paths: list of `.npz`, `.parquet` or folders of shards, made in the same way.
        made_with: of the vectors beside which these are to stand; None for no others.

    Raises:
        OutputError: a table that cannot be read, has no vectors, or was made with another
            model or other options than the first, or than `made_with`.
    """
    found = Embeddings(np.empty((0, 0), np.float32), made_with=dict(made_with or {}))
    blocks: list[Floats] = []
    seen: set[str] = set()
    for path in map(Path, paths):
        if (path / JOURNAL_FILE).exists():
            found.unfinished.append(path)
        for table in table_files(path):
            reader = tables.from_npz if table.suffix.lower() == ".npz" else tables.from_parquet
            rows, record = tables.read_table(table, reader)
            _check_same(found, json.loads(record), table)
            try:
                reading = ReadingOptions.from_record(found.made_with)
            except (TypeError, ValueError) as error:
                text = f"made with options that this version does not know: {error}"
                raise OutputError("mismatch", text, table) from None
            if vectors := list(_vectors(found, rows, seen, reading)):
                blocks.append(np.stack(vectors))
    if not blocks:
        named = ", ".join(map(str, paths))
        text = (
            f"no vectors in it ({counted(found.n_failed, 'recording')} failed); extract some first."
        )
        raise OutputError("mismatch", text, named)
    found.vectors = np.concatenate(blocks)
    return found


def table_files(path: str | Path) -> list[Path]:
    """Return the files of a table, or of a folder of shards.

    Raises:
        OutputError: a path that is neither.
    """
    path = Path(path)
    if path.is_dir():
        shards = sorted(path.glob("part-*.parquet"))
        if not shards:
            text = "holds no part-*.parquet of `extract`; of music make vectors first: "
            text += "`artist-features extract FOLDER -o vectors`."
            raise OutputError("mismatch", text, path)
        return shards
    if path.suffix.lower() not in (".npz", ".parquet"):
        if not path.exists():
            raise OutputError("not_writable", "no such file or folder.", path)
        text = f"ending {path.suffix!r}; allowed are .npz, .parquet, or a folder of shards."
        raise OutputError("mismatch", text, path)
    return [path]


def _check_same(found: Embeddings, made_with: dict[str, Any], path: Path) -> None:
    found.made_with = found.made_with or made_with
    for name in sorted((made_with.keys() | found.made_with.keys()) - {*_NOT_OF_THE_VECTORS}):
        if made_with.get(name) != found.made_with.get(name):
            models = [record.get("model") for record in (made_with, found.made_with)]
            if models[0] != models[1]:
                text = f"of model {models[0]!r}, the others of {models[1]!r}; keep them apart."
                raise OutputError("mismatch", text, path)
            raise OutputError(
                "mismatch",
                f"made with {name} = {str(made_with.get(name))[:16]}, the others with "
                f"{str(found.made_with.get(name))[:16]}; keep them apart.",
                path,
            )


def _vectors(
    found: Embeddings, rows: Iterable[tables.Row], seen: set[str], reading: ReadingOptions
) -> Iterator[Floats]:
    """Yield the vectors of usable rows; note their tracks, count the other rows."""
    for row in rows:
        if row.failed:
            found.n_failed += 1
        elif row.path in seen:
            found.n_repeated += 1
        else:
            seen.add(row.path)
            vector: Any = row.embedding
            vector = vector if vector.ndim == 1 else vector.mean(axis=0)
            if not np.isfinite(vector).all() or not vector.any():
                found.no_direction.append(row.path)
                continue
            duration_s = float(row.duration_s) if reading.whole else 0.0  # of a part
            track = IndexedTrack(row.path, duration_s=duration_s, mtime_ns=row.mtime_ns)
            found.tracks.append(track)
            yield vector


def is_changed(track: IndexedTrack) -> bool:
    """Return whether a file has another modification time than when it was extracted.

    One that is gone, a URI, and a track of which no time is known are not.
    """
    mtime_ns = stamp_of(track.path)[1] if track.mtime_ns >= 0 else -1
    return mtime_ns not in (-1, track.mtime_ns)


def join_manifest(
    tracks: Sequence[IndexedTrack], manifest: str | Path, root: str | Path | None = None
) -> tuple[list[IndexedTrack], int]:
    """Give tracks the artist, title and further columns of a manifest, by path.

    Where its artist or title is empty, the track's own stays.

    Args:
        tracks: list of `IndexedTrack`.
        manifest: path of a CSV (`file`, `artist`, `title`, then any).
        root: folder of its relative files; None means its own.

    Returns:
        (list of `IndexedTrack`, number of those that the manifest lists).

    Raises:
        ManifestError: it cannot be used, or lists none of the tracks.
    """
    from artist_features.datasets.manifest import read_manifest

    known = {identity(track.path): track for track in read_manifest(manifest, root)}
    joined, n_listed = [], 0
    for track in tracks:
        found = known.get(track.path)
        if found is not None:
            n_listed += 1
            artist, title = found.artist or track.artist, found.title or track.title
            track = replace(track, artist=artist, title=title, extra=found.extra)
        joined.append(track)
    if not n_listed:
        raise ManifestError(
            f"lists none of {counted(len(tracks), 'recording')}; the first is {tracks[0].path}. "
            "Relative files are taken from the manifest's own folder, or from --root.",
            manifest,
        )
    return joined, n_listed


def read_tags(
    tracks: Iterable[IndexedTrack], *, progress: bool = False
) -> tuple[list[IndexedTrack], list[AudioError]]:
    """Fill in artist, title and album from the files' tags; blank tags change nothing.

    Args:
        tracks: `IndexedTrack`s; URIs are left as they are.
        progress: show a bar on standard error, if that is a terminal.

    Returns:
        (list of `IndexedTrack`, list of `AudioError`, one for each file that cannot be read).

    Raises:
        ImportError: mutagen, the extra `[tags]`, is not installed.
    """
    from artist_features.datasets.tags import read_tags

    mutagen = require("mutagen", "reading tags", "tags")
    tagged, problems = [], []
    for track in progress_bar(tracks, "tags", unit="file", shown=progress):
        if not is_uri(track.path):
            try:
                tags = read_tags(track.path, mutagen)
            except AudioError as error:
                problems.append(error)
            else:
                artist, title = tags["artist"] or track.artist, tags["title"] or track.title
                extra = track.extra | ({"album": tags["album"]} if tags["album"] else {})
                track = replace(track, artist=artist, title=title, extra=extra)
        tagged.append(track)
    return tagged, problems
