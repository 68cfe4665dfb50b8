"""Tracks to an extended M3U playlist in UTF-8.

Format: one `#EXTM3U` line, then for each track `#EXTINF:seconds,artist - title` and its
path (the de-facto Winamp format; UTF-8 without byte-order mark, RFC 8216 section 4.1).
"""

import os
from collections.abc import Iterable

from artist_features.extraction.remote import is_uri
from artist_features.search.storage import IndexedTrack

ENDINGS = (".m3u8", ".m3u")


def to_m3u(tracks: Iterable[IndexedTrack], folder: str) -> tuple[str, list[IndexedTrack]]:
    """Return the text of a playlist.

    Args:
        tracks: `IndexedTrack`s, in the order in which they are played.
        folder: absolute path of the folder in which the playlist will lie; a track inside
            it is named relative to it, any other by its absolute path.

    Returns:
        (text, left_out): `str`, and the list of tracks whose path no playlist can name:
        one that is not UTF-8, or has a line break.
    """
    lines, left_out = ["#EXTM3U"], []
    for track in tracks:
        if not _can_be_named(track.path):
            left_out.append(track)
            continue
        seconds = round(track.duration_s) if track.duration_s > 0 else -1  # -1: unknown
        label = track.label.encode("utf-8", "replace").decode()
        label = " ".join("".join(c if c.isprintable() else " " for c in label).split())
        lines += [f"#EXTINF:{seconds},{label}", _location(track.path, folder)]
    return "\n".join(lines) + "\n", left_out


def _can_be_named(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return path.splitlines() == [path] and path == path.strip()


def _location(path: str, folder: str) -> str:
    if is_uri(path):
        return path
    folder = os.path.join(os.path.realpath(folder), "")
    if not path.startswith(folder):
        return path
    path = path.removeprefix(folder)
    plain = path[0].isalnum() and ":" not in path  # else a player may take it for something else
    return path if plain else f"./{path}"
