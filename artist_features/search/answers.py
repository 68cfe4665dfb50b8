"""Answers of a search index to a player's parameters, as objects for JSON.

Parameters and fields are those of

- OpenSubsonic's extensions `sonicSimilarity` and `formPost`, version 1, and its answers
  `sonicMatch`, `Child` and `error` (https://opensubsonic.netlify.app/docs/);
- AudioMuse-AI (`app_ivf.py`, `app_path.py`, `app_artist_similarity.py` of
  https://github.com/NeptuneHub/AudioMuse-AI), as far as its Navidrome plugin asks for them
  (`main.go`, `audiomuse_api.go` of https://github.com/NeptuneHub/AudioMuse-AI-NV-plugin).
  `radius_similarity`, `mood_pct` and `path_fix_size` steer that program's own search: not used.
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

from artist_features.errors import shortened, valid_utf8
from artist_features.search.index import Index, Skip
from artist_features.search.lookup import indexed_query
from artist_features.search.playlist import find_path
from artist_features.search.ranking import PrunedSearch, top_k_kept
from artist_features.search.result_filter import ResultFilter, may_be_copies
from artist_features.version import VERSION

Params: TypeAlias = Mapping[str, str]
Record: TypeAlias = dict[str, Any]

MAX_N, MAX_PATH = 500, 100  # results of one request
_N_SONGS = 3  # of an artist, as AudioMuse-AI's `artist_gmm_manager.py` gives
# codes of https://opensubsonic.netlify.app/docs/responses/error/
GENERIC, _MISSING, NOT_FOUND = 0, 10, 70


class Refusal(Exception):
    """Error response of a request: OpenSubsonic's code and a message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Answers:
    """Answers of an index to parameters, as objects for JSON; `Refusal` for wrong ones.

    A track's id is its text in the index's column `id`, else its path; an artist's is that in
    the column `artist_id`, else the name.
    """

    def __init__(self, index: Index) -> None:
        self._index, self._pruned = index, PrunedSearch(index.vectors)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._artist_ids: dict[str, str] = {}
        for row in range(len(index)):
            track = index.track(row)
            path = valid_utf8(track.path)
            self._ids.append(track.extra.get("id") or path)
            self._rows.setdefault(path, row)
            self._rows.setdefault(self._ids[row], row)
            if track.artist:
                number = track.extra.get("artist_id") or track.artist
                self._artist_ids.setdefault(track.artist, number)
        self._artists = {number: artist for artist, number in self._artist_ids.items()}

    def similar(self, params: Params) -> Record:
        """Return the nearest tracks in this package's own record format."""
        return {"results": [self._plain(*found) for found in self._similar(params, "id", "n")]}

    def path(self, params: Params) -> Record:
        """Return a path, plain."""
        found = self._path(params, "start", "end", "n")
        return {"results": [self._plain(*step) for step in found]}

    def similar_tracks(self, params: Params) -> list[Record]:
        """Return the nearest tracks as AudioMuse-AI does."""
        return [self._audiomuse(*found) for found in self._similar(params, "item_id", "n")]

    def find_path(self, params: Params) -> Record:
        """Return a path as AudioMuse-AI does."""
        found = self._path(params, "start_song_id", "end_song_id", "max_steps")
        return {"path": [self._audiomuse(*step) for step in found]}

    def similar_artists(self, params: Params) -> list[Record]:
        """Return the nearest artists as AudioMuse-AI does: by name or id, with songs if asked."""
        given = _required(params, "artist")
        artist = self._artists.get(given, given)
        if artist not in self._artist_ids:
            raise Refusal(NOT_FOUND, f"artist {shortened(given)!r} has no track in the index.")
        vector, n = self._index.artist_vector(artist), _number(params, "n", 10)
        if not vector.any():
            raise Refusal(NOT_FOUND, "the artist's tracks cancel out: no mean direction.")
        with_songs = params.get("include_component_matches") == "true"
        records = []
        for match in self._index.query_artists(vector, n, exclude_artists=[artist]):
            record = {
                "artist": match.artist,
                "artist_id": self._artist_ids[match.artist],
                "divergence": round(1 - match.similarity, 6),
            }
            if with_songs:
                pair = enumerate((artist, match.artist), start=1)
                songs = {f"artist{i}_representative_songs": self._songs(name) for i, name in pair}
                record["component_matches"] = [songs]
            records.append(record)
        return records

    def subsonic(self, params: Params) -> Record:
        """Return the answer to a method of OpenSubsonic, in its envelope, failures too."""
        status, content = "ok", {}
        try:
            content = self._subsonic(params["method"].removesuffix(".view"), params)
        except Refusal as refusal:
            status, content = "failed", {"error": {"code": refusal.code, "message": str(refusal)}}
        envelope = {"status": status, "version": "1.16.1", "openSubsonic": True}
        envelope |= {"type": "artist-features", "serverVersion": VERSION}
        return {"subsonic-response": envelope | content}

    def _subsonic(self, method: str, params: Params) -> Record:
        if params.get("f") != "json":
            raise Refusal(GENERIC, "answers are JSON only; ask with f=json.")
        if method == "ping":
            return {}
        if method == "getOpenSubsonicExtensions":
            names = ("sonicSimilarity", "formPost")
            return {"openSubsonicExtensions": [{"name": name, "versions": [1]} for name in names]}
        if method == "getSonicSimilarTracks":
            found = self._similar(params, "id", "count")
        elif method == "findSonicPath":
            found = self._path(params, "startSongId", "endSongId", "count")
        else:
            raise Refusal(GENERIC, f"{shortened(method, 50)!r} is not answered; see /docs.")
        return {"sonicMatch": [self._sonic_match(*step) for step in found]}

    def _similar(self, params: Params, id_name: str, n_name: str) -> list[tuple[int, float]]:
        """Return (row, cosine) of the tracks nearest to one, without copies."""
        row, n = self._row(params, id_name), _number(params, n_name, 10)
        rows, cosines = self._pruned.query(row, n)
        # milliseconds: copies are looked for one by one only where two of them are alike at all
        if may_be_copies(self._index, [row, *rows]):
            rows, cosines = top_k_kept(partial(self._pruned.query, row), n, self._copies_of(row))
        return list(zip(rows.tolist(), cosines.tolist(), strict=True))

    def _path(self, params: Params, start: str, end: str, n_name: str) -> list[tuple[int, float]]:
        """Return (row, cosine to the first) of the tracks of a path, both ends included."""
        ends = self._row(params, start), self._row(params, end)
        if ends[0] == ends[1]:
            raise Refusal(GENERIC, f"{start} and {end} are one track; a path needs two.")
        n = _number(params, n_name, 25, 2, MAX_PATH)
        vector = self._index.vector(ends[0])
        rows = find_path(self._index, *ends, n, skip=self._copies_of(*ends))
        return [(row, round(float(self._index.vector(row) @ vector), 6)) for row in rows]

    def _copies_of(self, *rows: int) -> Skip:
        """Return the filter of copies. Files are not looked for."""
        index = self._index
        return ResultFilter(index, [indexed_query(index, row) for row in rows], files=False)

    def _songs(self, artist: str) -> list[Record]:
        """Return the tracks of an artist that are nearest to their mean."""
        mean = self._index.artist_vector(artist)
        rows = self._index.rows_of_artist(artist).tolist()
        rows.sort(key=lambda row: -float(self._index.vector(row) @ mean))
        songs = [self._audiomuse(row, 0) for row in rows[:_N_SONGS]]
        return [{name: song[name] for name in ("item_id", "title")} for song in songs]

    def _row(self, params: Params, name: str) -> int:
        given = _required(params, name)
        if given not in self._rows:
            text = f"{name} {shortened(given)!r} is not in the index; give an id or path of it."
            raise Refusal(NOT_FOUND, text)
        return self._rows[given]

    def _plain(self, row: int, similarity: float) -> Record:
        track = self._index.track(row)
        return {
            "id": self._ids[row],
            "similarity": similarity,
            "artist": track.artist,
            "title": valid_utf8(track.name),
            "album": track.extra.get("album", ""),
            "path": valid_utf8(track.path),
            "duration_s": track.duration_s,
        }

    def _audiomuse(self, row: int, similarity: float) -> Record:
        plain = self._plain(row, similarity)
        names = {"item_id": "id", "title": "title", "author": "artist", "album": "album"}
        record = {name: plain[ours] for name, ours in names.items()}
        return {**record, "distance": round(1 - similarity, 6)}

    def _sonic_match(self, row: int, similarity: float) -> Record:
        plain = self._plain(row, similarity)
        entry = {name: plain[name] for name in ("id", "title", "artist", "album", "path")}
        entry |= {"suffix": os.path.splitext(plain["path"])[1][1:], "type": "music"}
        entry |= {"artistId": self._artist_ids.get(plain["artist"])}
        entry |= {"duration": round(plain["duration_s"])}
        known = {name: value for name, value in entry.items() if value}
        # normalised: 0 is most different, below which a cosine may lie
        return {"entry": {**known, "isDir": False}, "similarity": max(0.0, similarity)}


def _required(params: Params, name: str) -> str:
    if name not in params:
        raise Refusal(_MISSING, f"parameter {name} is missing.")
    return params[name]


def _number(params: Params, name: str, default: int, least: int = 1, most: int = MAX_N) -> int:
    value = params.get(name, str(default))
    if not (
        value.isascii() and value.isdecimal() and len(value) < 6 and least <= int(value) <= most
    ):
        text = f"{name} is {shortened(value, 50)!r}; allowed is {least} to {most}."
        raise Refusal(GENERIC, text)
    return int(value)
