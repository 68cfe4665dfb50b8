"""Check a manifest before training: files, doubles, artists' names, splits."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
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


def check_manifest(
    tracks: Sequence[Track], path: str | Path = "manifest"
) -> tuple[list[str], bool]:
    """Report on a manifest's files, artists' names and splits; nothing is changed or merged.

    Files are compared by size first and by sha256 where sizes agree, so that few are read.

    Args:
        tracks: list of `Track`, as `read_manifest` returns them.
        path: of the manifest, for messages.

    Returns:
        (lines, faulty): lines of text without line ends: missing files, files with the same
        bytes, spellings of one artist, names that differ by little or begin or end with another,
        artists with one track, which can give no positive pair, and what splits share; whether
        training must not begin, as files are missing or splits share music.

    Raises:
        ManifestError: a `split` that is none.
    """
    splits = column_of_splits(tracks, path)
    n_tracks_of = Counter(track.artist for track in tracks if track.artist)
    single = sorted(name for name, n in n_tracks_of.items() if n == 1)
    n_several = len(n_tracks_of) - len(single)
    same, missing = _same_music(tracks)
    leaks = [group for group in same if splits and len({splits[row] for row in group}) > 1]
    lines = [
        f"{len(tracks)} tracks of {len(n_tracks_of)} artists ({n_several} with two or more "
        f"tracks), {len(tracks) - n_tracks_of.total()} without artist"
    ]
    if splits:
        counts = ", ".join(f"{split} {n}" for split, n in sorted(Counter(splits).items()))
        lines += [f"splits: {counts}"]
    lines += _section("missing files", [_place(track, path) for track in missing])
    for title, groups in (("recordings in two splits", leaks), ("files with the same bytes", same)):
        places = [[_place(tracks[row], path) for row in group] for group in groups]
        lines += _section(title, map(" = ".join, places))
    lines += _section("spellings of one artist", _names(spelling_variants(n_tracks_of)))
    perhaps = [*close_names(n_tracks_of), *contained_names(n_tracks_of)]
    lines += _section("names that are close, perhaps one artist", _names(perhaps))
    if splits:
        shared = _shared_artists(tracks, splits)
        # in a split by track nearly every artist is in all splits, and should be
        if 2 * len(shared) > n_several:
            lines += [f"artists in two splits: {len(shared)} (a split by track)"]
        else:
            lines += _section("artists in two splits", _names(shared))
    lines += _section("artists with one track", map(display_path, single))
    return lines, bool(missing or leaks)


def _section(title: str, entries: Iterable[str]) -> list[str]:
    rows = [f"  {entry}" for entry in entries]
    return [f"{title}: {len(rows)}", *rows]


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
