"""The paper's training data: its split of the Million Song Dataset, as published."""

import io
import os
import pickletools
import re
from pathlib import Path

from artist_features.datasets.splits import SPLITS, TRACK_COUNTS
from artist_features.datasets.tracks import Track
from artist_features.errors import AnyPath, ManifestError, display_path

MAX_BYTES = 64 << 20  # own choice: the list of all 351 820 tracks has about 10 MB
MAX_STEPS = 4_000_000  # own choice: that list takes about three for each track

_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # as Python 2 wrote them
_STRINGS |= {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}

_ENTRY = re.compile(r"([0-9]{1,12})/([0-9]{1,6})/([0-9]{1,3})")
_SPLIT_OF_SONG = [split for split, n in zip(SPLITS, TRACK_COUNTS, strict=True) for _ in range(n)]


def msd_tracks(
    path: AnyPath, audio_folder: str | Path, pattern: str = "{audio_id}.mp3"
) -> tuple[list[Track], list[Path]]:
    """Read the published list of tracks, a pickle, and find their audio; nothing in it is run.

    The first 20 N entries are the paper's N artists; of an artist's songs 1 to 15 train, 16 to
    18 are valid, 19 and 20 test. Source: the training code published with Park et al., ISMIR
    2018.

    Args:
        path: of a pickled list of texts `audio_id/artist_index/song_index`: the decimal digits of
            the preview clip at 7digital, the artist from 1, the song from 1 to 20.
        audio_folder: folder that the pattern is relative to.
        pattern: of the file names, with the fields audio_id, artist_index and song_index;
            `{audio_id[0]}` is the first digit, for collections in subfolders.

    Returns:
        (tracks, missing): list of `Track`, in the file's order, whose artist is the index as
        text and whose `split` is the paper's; list of the paths that are not there.

    Raises:
        ManifestError: the file is no such list; names the entry, counted from 1.
        ValueError: `pattern` asks for something else.
    """
    tracks: list[Track] = []
    missing: list[Path] = []
    for number, text in enumerate(read_strings(path), start=1):
        found = _ENTRY.fullmatch(text)
        audio_id, artist, song = (found[1], int(found[2]), int(found[3])) if found else ("", 0, 0)
        if artist < 1 or not 1 <= song <= len(_SPLIT_OF_SONG):
            raise ManifestError(
                f"entry {number} is {text[:60]!r}; needed is 'audio_id/artist_index/song_index', "
                f"in digits, artists from 1, songs 1 to {len(_SPLIT_OF_SONG)}.",
                path,
            )
        fields = {"audio_id": audio_id, "artist_index": artist, "song_index": song}
        file = Path(audio_folder) / _file_name(fields, pattern)
        if not os.path.isfile(file):
            missing.append(file)
            continue
        extra = {"split": _SPLIT_OF_SONG[song - 1], "song_index": str(song)}
        tracks.append(Track(file, str(artist), audio_id, extra))
    return tracks, missing


def _file_name(fields: dict[str, str | int], pattern: str) -> str:
    try:
        return pattern.format(**fields)
    except (LookupError, ValueError, AttributeError, TypeError):
        raise ValueError(
            f"pattern {display_path(pattern)!r} does not fit track {fields['audio_id']}; its "
            f"fields are {', '.join(fields)}, in braces, and `{{audio_id[0]}}` is the first digit."
        ) from None


def read_strings(path: AnyPath) -> list[str]:
    """Read the strings of a pickled list without unpickling; lists inside it are flattened.

    Args:
        path: of a pickle of protocol 0 to 5, written by Python 2 or 3.

    Returns:
        list of `str`; one from Python 2 has a character for each byte.

    Raises:
        ManifestError: the file cannot be read, is too large, is not a whole pickle, or
            holds anything but lists and strings.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot be read ({error.strerror}).", path) from None
    if len(data) > MAX_BYTES:
        text = f"more than {MAX_BYTES} bytes, which no list of tracks has; check the path."
        raise ManifestError(text, path)
    stream = io.BytesIO(data)
    try:
        return _strings(stream, len(data))
    except ValueError as error:  # ours, and those of pickletools
        text = f"before byte {stream.tell()}: {str(error)[:200]}; a pickle of nothing but lists of "
        raise ManifestError(f"{text}strings is needed.", path) from None


def _strings(stream: io.BytesIO, n_bytes: int) -> list[str]:
    """Return the strings in the order in which a pickle pushes them, which is the list's.

    The stack holds kinds only: "(" a mark, "[" a list, "s" a string. A list that is used twice
    is refused, so that the result is no larger than the file.
    """
    strings: list[str] = []
    stack: list[str] = []
    memo: dict[int, str | None] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        name = opcode.name
        if number >= MAX_STEPS:
            raise ValueError(f"more than {MAX_STEPS} instructions")
        if name in _STRINGS:
            strings.append(str(argument))
            stack.append("s")
        elif name in _PUTS:
            place = len(memo) if name == "MEMOIZE" else int(argument or 0)
            memo[place] = strings[-1] if _top(stack) == "s" else None
        elif name in _GETS:
            text = memo.get(int(argument or 0))
            if text is None:
                raise ValueError("a list, or nothing, is used again")
            strings.append(text)
            stack.append("s")
        elif name in ("EMPTY_LIST", "MARK"):
            stack.append("[" if name == "EMPTY_LIST" else "(")
        elif name == "LIST":
            _pop_to_mark(stack)
            stack.append("[")
        elif name in ("APPEND", "APPENDS"):
            if name == "APPENDS":
                _pop_to_mark(stack)
            else:
                _top(stack)
                stack.pop()
            if _top(stack) != "[":
                raise ValueError(f"{name} to a string")
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"instruction {name} is refused")
    if stream.tell() != n_bytes:
        raise ValueError(f"{n_bytes - stream.tell()} bytes follow the end")
    if stack != ["["]:
        raise ValueError("the result is not one list")
    return strings


def _top(stack: list[str]) -> str:
    if not stack or stack[-1] == "(":
        raise ValueError("a value is missing")
    return stack[-1]


def _pop_to_mark(stack: list[str]) -> None:
    while stack:
        if stack.pop() == "(":
            return
    raise ValueError("a mark is missing")
