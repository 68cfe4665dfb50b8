"""Artist name normalisation and matching: spellings and names that may be one artist."""

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from artist_features.datasets.tracks import Track

CLOSE_RATIO = 0.88  # own choice: one wrong letter in nine
_MIN_CLOSE_LETTERS = 5  # "Muse" and "Mute" are two artists
_BLOCK_LETTERS = 4

# letters that Unicode does not take apart into a base and a mark
_LETTERS = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ł": "l", "æ": "ae"}
)
_LETTERS |= str.maketrans({"œ": "oe", "þ": "th", "ŧ": "t"})
_FEATURED = re.compile(r"(?<=\S)[\s(\[]+(?:feat|ft|featuring)\b.*", re.DOTALL)


def name_key(name: str) -> str:
    """Normalise an artist name: no case, accents, punctuation, 'the' or featured guests.

    Two names with one key are spellings of one artist. Scripts other than Latin keep
    their letters; a name of marks alone is its own key.

    Example:
        >>> name_key("Beyoncé feat. JAY-Z"), name_key("Simon & Garfunkel")
        ('beyonce', 'simonandgarfunkel')
        >>> name_key("Beatles, The") == name_key("the beatles")
        True
    """
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    text = "".join(c for c in text.translate(_LETTERS) if not "\u0300" <= c <= "\u036f")
    text = _FEATURED.sub("", text).strip()
    text = re.sub(r"^the\s+(?=\S)|,\s*the$", "", text)
    text = re.sub(r"\s&\s", " and ", text)
    # category M: vowel signs of Indic scripts, which are no accents
    kept = "".join(c for c in text if c.isalnum() or unicodedata.category(c)[0] == "M")
    return kept or "".join(text.split()) or name


def spelling_variants(names: Iterable[str]) -> list[list[str]]:
    """Group the names that have one key.

    Args:
        names: artist names, in any order; "" is passed over.

    Returns:
        list of sorted lists, each of two or more distinct names, sorted.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[name_key(name)].add(name)
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def close_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Find similar spellings of artist names (edit distance), for a person to judge.

    Only keys that share their first or last four letters, and all their digits, are
    compared: every pair of 20 000 artists would take an hour.

    Args:
        names: artist names, in any order; "" is passed over.

    Returns:
        sorted list of (name, name); of several spellings with one key the first stands.
    """
    by_key = {name_key(name): name for name in sorted(set(names), reverse=True)}
    blocks: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for key in by_key:
        digits = "".join(c for c in key if c.isdigit())
        if len(key) - len(digits) >= _MIN_CLOSE_LETTERS:
            blocks[digits, "starts", key[:_BLOCK_LETTERS]].add(key)
            blocks[digits, "ends", key[-_BLOCK_LETTERS:]].add(key)
    pairs: set[tuple[str, str]] = set()
    for keys in blocks.values():
        pairs.update(_close_pairs(sorted(keys)))
    found = ((by_key[one], by_key[other]) for one, other in pairs)
    return sorted((min(pair), max(pair)) for pair in found)


def _close_pairs(keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of keys that `difflib` finds alike, the cheap bounds first."""
    for second in range(1, len(keys)):
        matcher = difflib.SequenceMatcher(None, b=keys[second], autojunk=False)
        for first in keys[:second]:
            longest = max(len(first), len(keys[second]))
            if abs(len(first) - len(keys[second])) > 2 * (1 - CLOSE_RATIO) * longest:
                continue
            matcher.set_seq1(first)
            if matcher.quick_ratio() >= CLOSE_RATIO and matcher.ratio() >= CLOSE_RATIO:
                yield first, keys[second]


def contained_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Find names that begin or end with the words of another, as "Bart" and "Bart Kelsey".

    Args:
        names: artist names, in any order; "" is passed over.

    Returns:
        sorted list of (short name, long name).
    """
    by_key = {name_key(name): name for name in sorted(set(names), reverse=True) if name}
    pairs = set()
    for name in by_key.values():
        words = name.split()
        for n_words in range(1, len(words)):
            for part in (words[:n_words], words[n_words:]):
                key = name_key(" ".join(part))
                if key in by_key and key != name_key(name):
                    pairs.add((by_key[key], name))
    return sorted(pairs)


def artist_groups(tracks: Sequence[Track]) -> dict[str, str]:
    """Join the names that may be one artist: same key, close, or one MusicBrainz id.

    Args:
        tracks: list of `Track`.

    Returns:
        dict from artist name to the first name of its group; unlabelled tracks have no
        entry.
    """
    first_name = {track.artist: track.artist for track in tracks if track.artist}

    def root(name: str) -> str:
        while first_name[name] != name:
            name = first_name[name]
        return name

    names = list(first_name)
    for group in [*spelling_variants(names), *close_names(names), *_same_id(tracks)]:
        for other in group[1:]:
            first, last = sorted((root(group[0]), root(other)))
            first_name[last] = first
    return {name: root(name) for name in sorted(names)}


def _same_id(tracks: Sequence[Track]) -> list[list[str]]:
    """Return lists of names that carry one MusicBrainz artist id."""
    names: dict[str, set[str]] = defaultdict(set)
    for track in tracks:
        artist_id = track.extra.get("musicbrainz_artistid", "").strip().lower()
        if artist_id and track.artist:
            names[artist_id].add(track.artist)
    return [sorted(group) for group in names.values()]
