"""Folders: which files in them are audio by their names, in an order that stays."""

import os

from artist_features.errors import AudioError

AUDIO_ENDINGS = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff"),
    *(".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".m4a", ".m4b", ".mp4", ".aac"),
    *(".wma", ".asf", ".mka", ".webm"),
)


def search_folder(folder):
    """Walk a folder in sorted order; end in spite of links that lead in circles.

    Links are followed, each real folder is searched once, and a link to a file that the
    search finds by itself is left out.

    Yields:
        paths of files with one of `AUDIO_ENDINGS`, or an `AudioError` for a folder that
        may not be read.
    """
    root = os.path.realpath(folder)
    seen = set()
    pending = [folder]
    while pending:
        current = pending.pop()
        try:
            status = os.stat(current)
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                files, folders = _names(entries, root)  # an entry itself takes 0.7 kB
        except OSError as error:
            text = f"folder cannot be searched ({error.strerror}); change its mode or owner."
            yield AudioError("no_permission", text, current)
            continue
        for name in files:
            yield os.path.join(current, name)
        pending += [os.path.join(current, name) for name in reversed(folders)]


def _names(entries, root):
    """Return the names of audio files and of folders, each sorted."""
    files, folders = [], []
    for entry in entries:
        if _is_folder(entry):
            folders.append(entry.name)
        elif os.path.splitext(entry.name)[1].lower() in AUDIO_ENDINGS and not (
            entry.is_symlink() and _is_within(os.path.realpath(entry.path), root)
        ):
            files.append(entry.name)
    return sorted(files), sorted(folders)


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a dangling or circular link: the reader will say so
        return False


def _is_within(path, root):
    """True if a link's target is an existing file that the search finds by itself."""
    ending = os.path.splitext(path)[1].lower()
    return path.startswith(root + os.sep) and os.path.isfile(path) and ending in AUDIO_ENDINGS
