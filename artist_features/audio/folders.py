"""Folder search: audio files by their names, in a stable order."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from artist_features.audio.formats import AUDIO_ENDINGS
from artist_features.errors import AnyPath, AudioError

# endings of audio and video that a folder search passes over and counts
OTHER_ENDINGS = (
    *(".dsf", ".dff", ".tak", ".mpc", ".shn", ".ra", ".amr"),
    *(".mkv", ".mov", ".avi", ".mpg", ".mpeg", ".ts", ".3gp", ".flv"),
)
# companion files of desktops, servers and archivers; their `._song.mp3` is no recording
_COMPANION_FOLDERS = {
    *(".appledouble", "__macosx", "@eadir", "#recycle", "$recycle.bin", ".trashes", ".trash"),
    *("system volume information", "lost+found", ".spotlight-v100", ".fseventsd"),
    *(".recycle", ".stversions", ".stfolder", ".sync", ".dropbox.cache"),
}
COMPANIONS = "companion files and folders of the system"


def search_folder(
    folder: AnyPath, passed: Counter[str] | None = None
) -> Iterator[str | AudioError]:
    """Yield the audio files of a folder in sorted order, each real folder searched once.

    Links are followed, each real folder is searched once, and a link to a file that the
    search finds by itself is left out. So are companion files of desktops (`._song.mp3`,
    `.AppleDouble`, `@eaDir`, trash), unless the folder itself is named.

    Args:
        folder: path.
        passed: counts of what was passed over are added: `COMPANIONS`, or one of
            `OTHER_ENDINGS`.

    Yields:
        paths of files with one of `AUDIO_ENDINGS`, or an `AudioError` for a folder that
        may not be read.
    """
    root = os.path.realpath(os.fsdecode(folder))
    passed = Counter() if passed is None else passed
    seen = set()
    pending: list[Any] = [folder]
    while pending:
        current = pending.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                files, folders = _names(entries, root, passed)  # an entry itself takes 0.7 kB
        except OSError as error:
            text = f"folder cannot be searched ({error.strerror}); change its mode or owner."
            yield AudioError("no_permission", text, current)
            continue
        for name in files:
            yield os.path.join(current, name)
        pending += [os.path.join(current, name) for name in reversed(folders)]


def _names(
    entries: Iterable["os.DirEntry[str]"], root: str, passed: Counter[str]
) -> tuple[list[str], list[str]]:
    """Return the names of audio files and of folders, each sorted."""
    files, folders = [], []
    for entry in entries:
        ending = os.path.splitext(entry.name)[1].lower()
        if _is_folder(entry):
            if _is_companion_folder(entry.name):
                passed[COMPANIONS] += 1
            else:
                folders.append(entry.name)
        elif ending in AUDIO_ENDINGS:
            if entry.name.startswith("._"):
                passed[COMPANIONS] += 1
            elif not (entry.is_symlink() and _is_within(os.path.realpath(entry.path), root)):
                files.append(entry.name)
        elif ending in OTHER_ENDINGS:
            passed[ending] += 1
    return sorted(files), sorted(folders)


def _is_companion_folder(name: str) -> bool:
    return name.lower() in _COMPANION_FOLDERS or name.lower().startswith(".trash-")


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a dangling or circular link: the reader will say so
        return False


def _is_within(path: str, root: str) -> bool:
    """Return whether a link's target is an existing file that the search finds by itself."""
    if not path.startswith(root + os.sep) or not os.path.isfile(path):
        return False
    *folders, name = path[len(root) + 1 :].split(os.sep)
    found = os.path.splitext(name)[1].lower() in AUDIO_ENDINGS and not name.startswith("._")
    return found and not any(map(_is_companion_folder, folders))
