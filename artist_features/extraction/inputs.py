"""Command-line arguments to audio files: files, URIs, folders to search, @lists."""

import os
import shutil

from artist_features.errors import ManifestError
from artist_features.extraction.remote import is_uri, require_fsspec
from artist_features.extraction.remote_search import needs_search, search_uri
from artist_features.signal.folders import search_folder


def find_audio(arguments, passed=None):
    """Yield the paths that the arguments name, in order, folders searched and sorted.

    A file that is named is yielded as it is, whatever its ending. A folder gives every
    file in it with an audio ending, links followed, each real folder once; a linked file
    inside the same folder is not given twice. A URI (`s3://bucket/a.mp3`) is yielded as it
    is; one that ends in "/" or has a "*" is searched. `@list.txt` gives one path or URI per
    line, relative to the working directory. `passed` counts what folders hold besides, see
    `search_folder`.

    Yields:
        paths as `str` (any file name survives in `os.fsdecode` form), or an `AudioError`
        for a folder that may not be read.

    Raises:
        ImportError: a URI, and the packages are not there that open it.
        ManifestError: a list that cannot be read, or a line that is no path.
    """
    for argument in arguments:
        argument = os.fsdecode(argument)
        if argument.startswith("@") and not os.path.lexists(argument):
            for path in _read_list(argument[1:]):
                yield from _files_of(path, passed)
        else:
            yield from _files_of(argument, passed)


def _files_of(path, passed=None):
    if is_uri(path):
        require_fsspec(path)
        return search_uri(path) if needs_search(path) else [path]
    return search_folder(path, passed) if os.path.isdir(path) else [path]


def spooled(arguments, folder):
    """Return the arguments, with copies in `folder` of lists that can be read only once.

    Such are pipes, as in `@/dev/stdin` or `@<(find ...)`.

    Raises:
        ManifestError: a list cannot be read.
    """
    arguments = [os.fsdecode(argument) for argument in arguments]
    for place, argument in enumerate(arguments):
        if not argument.startswith("@") or os.path.lexists(argument):
            continue
        source = argument[1:]
        if not os.path.exists(source) or os.path.isfile(source) or os.path.isdir(source):
            continue
        copy = os.path.join(folder, f"list-{place}.txt")
        try:
            with open(source, "rb") as pipe, open(copy, "wb") as file:
                shutil.copyfileobj(pipe, file)
        except OSError as error:
            text = f"list cannot be read ({error.strerror})."
            raise ManifestError(text, source) from None
        arguments[place] = f"@{copy}"
    return arguments


def _read_list(path):
    """Yield the paths of a list, line by line: it may be longer than memory."""
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                line = line.rstrip(b"\r\n")
                if b"\0" in line:
                    text = "zero byte in a path; one path per line is needed."
                    raise ManifestError(text, path, number)
                if line.strip():
                    yield os.fsdecode(line)
    except OSError as error:
        raise ManifestError(f"list cannot be read ({error.strerror}).", path) from None
