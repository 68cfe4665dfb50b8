"""Folders and patterns of object stores, web servers and archives: which audio is in them."""

import os

from artist_features.extraction.remote import failure, is_link, open_system, schemes
from artist_features.signal.folders import AUDIO_ENDINGS


def needs_search(uri):
    """Return whether a URI names a folder (it ends in "/") or a pattern (it has a "*")."""
    first = uri.partition("::")[0]
    return first.endswith("/") or "*" in first


def search_uri(uri):
    """Search a folder or pattern for audio files, one listing after the other, sorted.

    Yields:
        URIs of files with one of `AUDIO_ENDINGS`, or an `AudioError` for a folder that
        cannot be listed.
    """
    try:
        system, root = open_system(uri)
    except Exception as error:  # noqa: BLE001 - each store has exceptions of its own
        yield failure(uri, error)
        return
    first, chained, rest = uri.partition("::")
    # the text in front of the path in the store, as `s3://` or `ftp://host`
    prefix = first[: first.rindex(root)] if root and root in first else f"{schemes(uri)[0]}://"

    def named(path):
        return (path if is_link(path) else prefix + path) + chained + rest

    pending, seen = [root], set()
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        try:
            entries = _listing(system, current)
        except Exception as error:  # noqa: BLE001 - as above
            yield failure(named(current), error)
            continue
        folders = []
        for path, kind in entries:
            if kind == "directory":
                folders.append(path)
            elif os.path.splitext(path)[1].lower() in AUDIO_ENDINGS:
                yield named(path)
        pending += reversed(folders)


def _listing(system, path):
    """Return sorted (path, kind) of what is in a folder, or of the files of a pattern."""
    if "*" in path:
        return [(found, "file") for found in sorted(system.glob(path))]
    entries = system.ls(path, detail=True)
    pairs = sorted((entry["name"], entry["type"]) for entry in entries)
    # a store may list the marker of the folder itself
    return [pair for pair in pairs if pair[0].strip("/") != path.strip("/")]
