"""Many short texts as two arrays, found without decoding them all."""

import os

import numpy as np

from artist_features.search.container import StoredArray, damaged


class Texts:
    """A list of texts, in memory or in a mapped file; each is decoded when asked for.

    File names that are not UTF-8 survive, in `os.fsdecode` form.

    Args:
        data: `StoredArray` uint8: a zero byte, then each text and a zero byte.
        starts: `StoredArray` int64 `(n + 1,)`: where each text begins, and the end.
        path: of the file, for messages.

    Raises:
        SearchIndexError: `damaged`: places outside the data.
    """

    def __init__(self, data, starts, path=None):
        places = starts.all()
        whole = starts.dtype == np.int64 and data.dtype == np.uint8 and places.ndim == 1
        whole = whole and len(places) > 0 and places[0] == 1 and places[-1] == len(data)
        if not (whole and (np.diff(places) >= 1).all()):
            raise damaged("texts have no place", path)
        self.data, self.starts, self._places = data, starts, places

    @classmethod
    def of(cls, texts):
        """Store a list of `str`.

        Raises:
            ValueError: a text with a zero byte in it.
        """
        parts = [encoded(text) for text in texts]
        for row, part in enumerate(parts):
            if b"\0" in part:
                raise ValueError(f"text {row} has a zero byte in it; leave that out.")
        data = np.frombuffer(b"\0" + b"".join(part + b"\0" for part in parts), np.uint8)
        starts = np.cumsum([1, *(len(part) + 1 for part in parts)], dtype=np.int64)
        return cls(StoredArray(data), StoredArray(starts))

    def __len__(self):
        return len(self._places) - 1

    def __getitem__(self, row):
        start, end = int(self._places[row]), int(self._places[row + 1])
        return self.data.rows(start, end - 1).tobytes().decode("utf-8", "surrogateescape")

    def find(self, text):
        """Return the first row that holds exactly this text, or None."""
        part = encoded(text)
        if b"\0" in part:
            return None
        place = self.data.all().tobytes().find(b"\0" + part + b"\0")
        if place < 0:
            return None
        row = int(np.searchsorted(self._places, place + 1))
        return row if self._places[row] == place + 1 and self[row] == text else None

    def list(self):
        """Return all texts as a list."""
        return [self[row] for row in range(len(self))]


def encoded(text):
    """Return the bytes of a text; those of a file name are the ones that the disk has."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair, which no file name gives
        return os.fsencode(text.encode("utf-8", "backslashreplace").decode())
