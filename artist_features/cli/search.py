"""`artist-features similar` and `who`: ask a search index."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artist_features.cli import Commands, check_output
from artist_features.cli.progress import write_line
from artist_features.errors import counted, display_path, valid_utf8
from artist_features.files import write_atomically

if TYPE_CHECKING:  # NumPy is imported when a command runs
    from artist_features.search import ArtistMatch, Index, IndexedTrack
    from artist_features.search.lookup import Query
    from artist_features.search.result_filter import ResultFilter


def add_parser(commands: Commands) -> None:
    """Add the commands to the parser."""
    _add_similar(commands)
    _add_who(commands)


def _add_similar(commands: Commands) -> None:
    parser = commands.add_parser(
        "similar",
        help="recordings of an index that sound like one",
        description="Print the K recordings of an index whose embeddings are nearest to that of "
        "TRACK, by cosine: rank, similarity, percentage of the index's random pairs that are less "
        "similar, artist and title, path, parted by tabs. A file that is not in the index is "
        "extracted first. TRACK itself is never among them; copies of it, further copies of one "
        "that is listed, and files that are gone are so with --all.",
    )
    _add_query_arguments(parser)
    parser.add_argument(
        "--by",
        default="track",
        choices=("track", "artist"),
        help="artist: artists whose mean is nearest to that of TRACK's artist, or to TRACK itself "
        "if the index does not have that artist",
    )
    parser.add_argument(
        "--exclude-artist",
        action="store_true",
        help="no other recordings of TRACK's artist, which the index or the file's tags must name",
    )
    add_list_options(parser)
    parser.set_defaults(command=run_similar)


def _add_who(commands: Commands) -> None:
    parser = commands.add_parser(
        "who",
        help="the artists of an index that a recording is most likely by",
        description="Print the K artists of an index whose mean embedding is nearest to that of "
        "TRACK, by cosine: rank, similarity, artist, recordings compared, parted by tabs. The "
        "first line ends in 'likely', or in 'closest, not identified'. TRACK itself does not count "
        "for its artist; an artist with no other recording is no candidate.",
    )
    _add_query_arguments(parser)
    parser.set_defaults(command=run_who)


def _add_query_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `similar` and `who` share."""
    parser.add_argument("track", metavar="TRACK", help="file or URI, in the index or not")
    parser.add_argument("--index", required=True, help="file of `artist-features index build`")
    parser.add_argument("-k", type=int, default=10, metavar="K", help="how many (default: 10)")
    parser.add_argument(
        "--model",
        help="the index's model as a folder or hf://owner/name, if it is not a bundled one",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add `--all`, `--m3u` and `--force`."""
    text = "also files that are gone from disk, and copies of the recordings asked with or listed"
    parser.add_argument("--all", action="store_true", help=text)
    parser.add_argument("--m3u", metavar="OUT.m3u8", help="write a playlist of them, in UTF-8")
    parser.add_argument("--force", action="store_true", help="replace an existing OUT.m3u8")


def run_similar(args: argparse.Namespace) -> int:
    """Search, print, write the playlist, and return the exit code."""
    _check_options(args)
    index, query = _open_query(args)
    if args.by == "artist":
        return _run_by_artist(args, index, query)
    artists = [query.track.artist] if args.exclude_artist else []
    if artists == [""]:
        raise ValueError(
            f"artist of {display_path(args.track)} is not known to the index or the file's tags; "
            "--exclude-artist needs it."
        )
    result_filter = open_filter(args, index, [query])
    matches = index.query(
        query.vector,
        args.k,
        exclude_rows=query.own_rows,
        exclude_artists=artists,
        skip=result_filter,
    )
    report_left_out(result_filter)
    if args.m3u:
        write_m3u(args.m3u, [match.track for match in matches])
    records = [
        {"similarity": m.similarity, "percentile": m.percentile, **track_record(m.track)}
        for m in matches
    ]
    lines = [
        (f"{m.similarity:.4f}", f"{m.percentile:.1f}", m.track.label, m.track.path) for m in matches
    ]
    _print_results(args, index, query, records, lines)
    return 0


def _run_by_artist(args: argparse.Namespace, index: "Index", query: "Query") -> int:
    artist = query.track.artist
    known = bool(len(index.rows_of_artist(artist)))
    vector = index.artist_vector(artist) if known else query.vector
    if known and not vector.any():
        text = f"the tracks of {artist!r} cancel out, so that their mean has no direction"
        raise ValueError(f"{text}; search by track.")
    matches = index.query_artists(vector, args.k, exclude_artists=[artist])
    _print_artists(args, index, query, matches)
    return 0


def run_who(args: argparse.Namespace) -> int:
    """Search, print, and return the exit code."""
    from artist_features.search.lookup import is_identified
    from artist_features.search.result_filter import ResultFilter

    index, query = _open_query(args)
    # two at least: the first is judged by its distance to the second
    matches = index.query_artists(query.vector, max(2, args.k), exclude_rows=query.own_rows)
    is_copy = ResultFilter(index, [], files=False)
    rows = index.rows_of_artist(matches[0].artist).tolist() if matches else []
    n_tracks = sum(not is_copy(row) for row in rows if row not in query.own_rows)
    _print_artists(args, index, query, matches[: args.k], is_identified(matches, n_tracks))
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuse conflicting options and unwritable outputs before anything is read."""
    options = {"--m3u": args.m3u, "--exclude-artist": args.exclude_artist, "--all": args.all}
    for name, value in options.items():
        if args.by == "artist" and value:
            text = "goes with recordings; leave it out or leave out --by artist."
            raise ValueError(f"{name} {text}")
    check_m3u(args)


def check_m3u(args: argparse.Namespace) -> None:
    """Refuse a playlist of another ending, or that cannot be written, before anything is read."""
    from artist_features.search.playlist import M3U_ENDINGS

    if args.m3u:
        if Path(args.m3u).suffix.lower() not in M3U_ENDINGS:
            text = f"allowed endings are {' and '.join(M3U_ENDINGS)}."
            raise ValueError(f"--m3u {display_path(args.m3u)}; {text}")
        check_output(args.m3u, args.force)


def _open_query(args: argparse.Namespace) -> tuple["Index", "Query"]:
    """Return the index and the query of the command line."""
    from artist_features.search import Index

    if args.k < 1:
        raise ValueError(f"-k is {args.k}; allowed is 1 or more.")
    index = Index.load(args.index)
    return index, open_query(args, index, args.track)


def open_query(args: argparse.Namespace, index: "Index", name: str) -> "Query":
    """Return the query of a file or URI; say whether it is extracted, and its flaws."""
    from artist_features.search.lookup import find_query

    def report(device: str) -> None:
        write_line(f"not in the index; extracted with {index.made_with['model']} on {device}")

    query = find_query(index, name, model=args.model, on_loaded=report)
    for code, text in query.flaws:
        write_line(f"{display_path(name)}: {code}: {text}")
    return query


def _print_artists(
    args: argparse.Namespace,
    index: "Index",
    query: "Query",
    matches: Sequence["ArtistMatch"],
    identified: bool | None = None,
) -> None:
    """Print artists; the first one with whether it is `identified`, unless that is None."""
    records: list[dict[str, Any]] = [
        {"similarity": m.similarity, "artist": m.artist, "n_tracks": m.n_tracks} for m in matches
    ]
    lines: list[tuple[str, ...]] = [
        (f"{m.similarity:.4f}", m.artist, counted(m.n_tracks, "track")) for m in matches
    ]
    if matches and identified is not None:
        records[0]["identified"] = identified
        lines[0] = (*lines[0], "likely" if identified else "closest, not identified")
    _print_results(args, index, query, records, lines, of_artists=True)


def _print_results(
    args: argparse.Namespace,
    index: "Index",
    query: "Query",
    records: Sequence[dict[str, Any]],
    lines: Sequence[tuple[str, ...]],
    of_artists: bool = False,
) -> None:
    """Print tracks or artists to standard output with their ranks: JSON, or a line for each."""
    if 0 < len(records) < args.k:
        write_line(f"-k is {args.k}; the index has no more than {len(records)} to compare with")
    if args.json:
        record = {
            "query": {
                "path": valid_utf8(query.track.path),
                "artist": query.track.artist,
                "title": query.track.title,
                "in_index": query.row is not None,
            },
            "index": valid_utf8(os.path.abspath(args.index)),
            "model": index.made_with["model"],
            "weights_sha256": index.made_with["weights_sha256"],
            "results": [{"rank": rank, **found} for rank, found in enumerate(records, start=1)],
        }
        print(json.dumps(record, indent=2))
        return
    for rank, fields in enumerate(lines, start=1):
        print(rank, *map(display_path, fields), sep="\t")
    if not lines:
        text = "nothing else in the index to compare with"
        if of_artists and index.n_unlabelled == len(index):
            text += "; no recording of it has an artist: build it with --manifest, or from tagged"
            text += " files"
        write_line(text)


def open_filter(
    args: argparse.Namespace, index: "Index", queries: Sequence["Query"]
) -> "ResultFilter | None":
    """Return the filter of copies and missing files, or None with `--all`."""
    from artist_features.search.result_filter import ResultFilter

    return None if args.all else ResultFilter(index, queries)


def report_left_out(result_filter: "ResultFilter | None") -> None:
    """Report how many tracks the filter left out, on standard error."""
    if result_filter is None:
        return
    for rows, what in [(result_filter.copies, "copies"), (result_filter.gone, "gone")]:
        if rows:
            write_line(f"{len(rows)} left out ({what}); --all lists them, too")


def track_record(track: "IndexedTrack") -> dict[str, Any]:
    """Return a track as a dict for JSON."""
    return {
        "artist": track.artist,
        "title": track.title,
        "path": valid_utf8(track.path),
        "duration_s": track.duration_s,
        **({"columns": track.extra} if track.extra else {}),
    }


def write_m3u(path: str, tracks: list["IndexedTrack"]) -> None:
    """Write a playlist; a track whose path it cannot name is left out and reported."""
    from artist_features.search.playlist import to_m3u

    text, left_out = to_m3u(tracks, os.path.dirname(os.path.abspath(path)))
    for track in left_out:
        write_line(f"{display_path(track.path)}: no playlist can name this path; left out")
    write_atomically(Path(path), text.encode())
    write_line(f"playlist written to {display_path(path)}")
