"""Command-line arguments to audio files: files, folders to search, @lists."""

import os
import stat

from artist_features.errors import AudioError, ManifestError

AUDIO_ENDINGS = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".aif", ".aiff"),
    *(".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".m4a", ".m4b", ".mp4", ".aac"),
    *(".wma", ".asf", ".mka", ".webm"),
)


def find_audio(arguments):
    """Yield the paths that the arguments name, in order, folders searched and sorted.

    A file that is named is yielded as it is, whatever its ending. A folder gives every
    file in it with an audio ending, links followed, each real folder once; a linked file
    inside the same folder is not given twice. `@list.txt` gives one path per line,
    relative to the working directory.

    Yields:
        paths as `str` (any file name survives in `os.fsdecode` form), or an `AudioError`
        for a folder that may not be read.

    Raises:
        ManifestError: a list that cannot be read, or a line that is no path.
    """
    for argument in arguments:
        argument = os.fsdecode(argument)
        if argument.startswith("@") and not os.path.lexists(argument):
            for path in _read_list(argument[1:]):
                yield from _search(path) if os.path.isdir(path) else [path]
        elif os.path.isdir(argument):
            yield from _search(argument)
        else:
            yield argument


def _read_list(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ManifestError(f"list cannot be read ({error.strerror}).", path) from None
    lines = data.removeprefix(b"\xef\xbb\xbf").splitlines()
    for number, line in enumerate(lines, start=1):
        if b"\0" in line:
            raise ManifestError("zero byte in a path; one path per line is needed.", path, number)
        if line.strip():
            yield os.fsdecode(line)


def _search(folder):
    """Walk a folder in sorted order; end in spite of links that lead in circles."""
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
                entries = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            text = f"folder cannot be searched ({error.strerror}); change its mode or owner."
            yield AudioError("no_permission", text, current)
            continue
        folders = []
        for entry in entries:
            if _is_folder(entry):
                folders.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in AUDIO_ENDINGS:
                inside = entry.is_symlink() and _is_within(os.path.realpath(entry.path), root)
                if not inside:
                    yield entry.path
        pending += reversed(folders)


def _is_folder(entry):
    try:
        return stat.S_ISDIR(entry.stat().st_mode)
    except OSError:  # a dangling or circular link: the reader will say so
        return False


def _is_within(path, root):
    """True if a link's target is an existing file that the search finds by itself."""
    ending = os.path.splitext(path)[1].lower()
    return path.startswith(root + os.sep) and os.path.isfile(path) and ending in AUDIO_ENDINGS
