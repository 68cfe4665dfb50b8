"""Check a manifest before training: files, doubles, artists' names, splits."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from artist_features.datasets.manifest import file_name
from artist_features.datasets.names import (
    artist_groups,
    close_names,
    contained_names,
    spelling_variants,
)
from artist_features.datasets.splits import column_of_splits
from artist_features.datasets.tracks import Track
from artist_features.errors import display_path
from artist_features.files import file_sha256


@dataclass
class Report:
    """Findings of `check_manifest`; nothing in the manifest has been changed or merged.

    Attributes:
        n_tracks: in the manifest.
        n_unlabelled: tracks without an artist.
        n_artists: distinct artist names, as they are spelt.
        missing: `Track`s whose file is not there or cannot be read.
        duplicates: lists of `Track`s whose files hold the same bytes.
        single: artists with one track, which can give no positive pair.
        variants: lists of names that are one artist spelt differently.
        close: pairs of names that differ by little: one artist, or two.
        contained: pairs of a name and a longer one that begins or ends with it.
        split_counts: dict of split to number of tracks; empty without a split column.
        leaks: lists of `Track`s in several splits that hold the same bytes.
        shared_artists: lists of names of one artist with tracks in several splits.
    """

    n_tracks: int = 0
    n_unlabelled: int = 0
    n_artists: int = 0
    missing: list[Track] = field(default_factory=list)
    duplicates: list[list[Track]] = field(default_factory=list)
    single: list[str] = field(default_factory=list)
    variants: list[list[str]] = field(default_factory=list)
    close: list[tuple[str, str]] = field(default_factory=list)
    contained: list[tuple[str, str]] = field(default_factory=list)
    split_counts: dict[str, int] = field(default_factory=dict)
    leaks: list[list[Track]] = field(default_factory=list)
    shared_artists: list[list[str]] = field(default_factory=list)

    @property
    def faulty(self) -> bool:
        """True if training must not begin: files are missing, or splits share music."""
        return bool(self.missing or self.leaks)


def check_manifest(tracks: Sequence[Track], path: str | Path = "manifest") -> Report:
    """Check a manifest's files, names and splits.

    Files are compared by size first and by sha256 where sizes agree, so that few are read.

    Args:
        tracks: list of `Track`, as `read_manifest` returns them.
        path: of the manifest, for messages.

    Returns:
        `Report`.

    Raises:
        ManifestError: a `split` that is none.
    """
    splits = column_of_splits(tracks, path) or [""] * len(tracks)
    n_tracks_of = Counter(track.artist for track in tracks if track.artist)
    report = Report(
        n_tracks=len(tracks),
        n_unlabelled=len(tracks) - n_tracks_of.total(),
        n_artists=len(n_tracks_of),
        single=sorted(name for name, n in n_tracks_of.items() if n == 1),
        variants=spelling_variants(n_tracks_of),
        close=close_names(n_tracks_of),
        contained=contained_names(n_tracks_of),
        split_counts=dict(Counter(split for split in splits if split)),
        shared_artists=_shared_artists(tracks, splits) if any(splits) else [],
    )
    same, report.missing = _same_music(tracks)
    report.duplicates = [[tracks[i] for i in group] for group in same]
    leaking = [group for group in same if len({splits[i] for i in group}) > 1]
    report.leaks = [[tracks[i] for i in group] for group in leaking]
    return report


def report_lines(report: Report, path: str | Path = "manifest") -> list[str]:
    """Format a report as lines of text, without line ends."""
    n_several = report.n_artists - len(report.single)
    lines = [
        f"{report.n_tracks} tracks of {report.n_artists} artists ({n_several} with two or more "
        f"tracks), {report.n_unlabelled} without artist"
    ]
    if report.split_counts:
        counts = ", ".join(f"{split} {n}" for split, n in sorted(report.split_counts.items()))
        lines += [f"splits: {counts}"]
    lines += _section("missing files", [_place(track, path) for track in report.missing])
    for title, groups in (
        ("recordings in two splits", report.leaks),
        ("files with the same bytes", report.duplicates),
    ):
        lines += _section(title, [" = ".join(_place(t, path) for t in group) for group in groups])
    lines += _section("spellings of one artist", _names(report.variants))
    perhaps = [*report.close, *report.contained]
    lines += _section("names that are close, perhaps one artist", _names(perhaps))
    # in a split by track nearly every artist is in all splits, and should be
    if report.split_counts and 2 * len(report.shared_artists) > n_several:
        lines += [f"artists in two splits: {len(report.shared_artists)} (a split by track)"]
    elif report.split_counts:
        lines += _section("artists in two splits", _names(report.shared_artists))
    return lines + _section("artists with one track", [display_path(n) for n in report.single])


def _section(title: str, entries: Sequence[str]) -> list[str]:
    return [f"{title}: {len(entries)}", *(f"  {entry}" for entry in entries)]


def _names(groups: Iterable[Sequence[str]]) -> list[str]:
    return [" | ".join(map(display_path, group)) for group in groups]


def _place(track: Track, path: str | Path) -> str:
    return ("" if track.line is None else f"line {track.line} ") + file_name(track, path)


def _shared_artists(tracks: Sequence[Track], splits: Sequence[str]) -> list[list[str]]:
    first_name = artist_groups(tracks)
    found: dict[str, set[str]] = defaultdict(set)
    names: dict[str, set[str]] = defaultdict(set)
    for track, split in zip(tracks, splits, strict=True):
        if track.artist:
            found[first_name[track.artist]].add(split)
            names[first_name[track.artist]].add(track.artist)
    return [sorted(names[first]) for first in sorted(found) if len(found[first]) > 1]


def _same_music(tracks: Sequence[Track]) -> tuple[list[list[int]], list[Track]]:
    """Group the positions of tracks by their files' bytes; list the tracks without.

    Returns:
        (groups, missing): lists of positions, two or more each; list of `Track`. Empty
        files are alike and are no music, so they are in neither.
    """
    by_size: dict[int, list[int]] = defaultdict(list)
    missing: list[Track] = []
    for position, track in enumerate(tracks):
        if not os.path.isfile(track.path):
            missing.append(track)
        elif size := os.path.getsize(track.path):
            by_size[size].append(position)
    by_content: dict[str, list[int]] = defaultdict(list)
    for positions in by_size.values():
        for position in positions if len(positions) > 1 else ():
            try:
                by_content[file_sha256(tracks[position].path)].append(position)
            except OSError:
                missing.append(tracks[position])
    return sorted(group for group in by_content.values() if len(group) > 1), missing
