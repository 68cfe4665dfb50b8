"""`artist-features similar`: the tracks, or artists, of an index nearest to a recording."""

import json
import os
from pathlib import Path

from artist_features.cli.progress import write_line
from artist_features.errors import display_path
from artist_features.files import check_new_file


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "similar",
        help="recordings of an index that sound like one",
        description="Print the K recordings of an index whose embeddings are nearest to that of "
        "TRACK, by cosine: rank, similarity, artist and title, path, parted by tabs. A file that "
        "is not in the index is extracted first. TRACK itself is never among them.",
    )
    add_query_arguments(parser)
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
    parser.add_argument("--m3u", metavar="OUT.m3u8", help="write a playlist of them, in UTF-8")
    parser.add_argument("--force", action="store_true", help="replace an existing OUT.m3u8")
    parser.set_defaults(command=run)


def add_query_arguments(parser):
    """Add what `similar` and `who` have in common."""
    parser.add_argument("track", metavar="TRACK", help="file or URI, in the index or not")
    parser.add_argument("--index", required=True, help="file of `artist-features index build`")
    parser.add_argument("-k", type=int, default=10, metavar="K", help="how many (default: 10)")
    parser.add_argument(
        "--model",
        help="the index's model as a folder or hf://owner/name, if it is not a bundled one",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args):
    """Search, print, write the playlist, and return the exit code."""
    _check_options(args)
    index, query = open_query(args)
    if args.by == "artist":
        return _run_by_artist(args, index, query)
    artists = [query.track.artist] if args.exclude_artist else []
    if artists == [""]:
        raise ValueError(
            f"artist of {display_path(args.track)} is not known to the index or the file's tags; "
            "--exclude-artist needs it."
        )
    matches = index.query(
        query.vector, args.k, exclude_rows=query.own_rows, exclude_artists=artists
    )
    if args.m3u:
        _write_playlist(args.m3u, [match.track for match in matches])
    records = [
        {
            "rank": rank,
            "similarity": match.similarity,
            "artist": match.track.artist,
            "title": match.track.title,
            "path": _valid(match.track.path),
            "duration_s": match.track.duration_s,
            **({"columns": match.track.extra} if match.track.extra else {}),
        }
        for rank, match in enumerate(matches, start=1)
    ]
    lines = [(f"{m.similarity:.4f}", m.track.label, m.track.path) for m in matches]
    tell(args, index, query, records, lines)
    return 0


def _run_by_artist(args, index, query):
    artist = query.track.artist
    known = bool(len(index.rows_of_artist(artist)))
    vector = index.artist_vector(artist) if known else query.vector
    if known and not vector.any():
        text = f"the tracks of {artist!r} cancel out, so that their mean has no direction"
        raise ValueError(f"{text}; search by track.")
    matches = index.query_artists(vector, args.k, exclude_artists=[artist])
    tell_artists(args, index, query, matches)
    return 0


def open_query(args):
    """Return (`Index`, `Query`) of the command line; say what is wrong with the recording."""
    from artist_features.search import Index
    from artist_features.search.lookup import find_query

    if args.k < 1:
        raise ValueError(f"-k is {args.k}; allowed is 1 or more.")
    index = Index.load(args.index)

    def say_loaded(device):
        write_line(f"not in the index; extracted with {index.made_with['model']} on {device}")

    query = find_query(index, args.track, model=args.model, on_loaded=say_loaded)
    for code, text in query.flaws:
        write_line(f"{display_path(args.track)}: {code}: {text}")
    return index, query


def tell_artists(args, index, query, matches):
    """Print artists that were found."""
    records = [
        {"rank": rank, "similarity": m.similarity, "artist": m.artist, "n_tracks": m.n_tracks}
        for rank, m in enumerate(matches, start=1)
    ]
    lines = [(f"{m.similarity:.4f}", m.artist, f"{m.n_tracks} tracks") for m in matches]
    tell(args, index, query, records, lines)


def tell(args, index, query, records, lines):
    """Print results to standard output: JSON, or a line for each."""
    if 0 < len(records) < args.k:
        write_line(f"-k is {args.k}; the index has no more than {len(records)} to compare with")
    if args.json:
        record = {
            "query": {
                "path": _valid(query.track.path),
                "artist": query.track.artist,
                "title": query.track.title,
                "in_index": query.row is not None,
            },
            "index": _valid(os.path.abspath(args.index)),
            "model": index.made_with["model"],
            "weights_sha256": index.made_with["weights_sha256"],
            "results": records,
        }
        print(json.dumps(record, indent=2))
        return
    for rank, fields in enumerate(lines, start=1):
        print(rank, *map(display_path, fields), sep="\t")
    if not lines:
        text = "nothing else in the index to compare with"
        if not any(artist for artist in index.artists):
            text += (
                "; no recording of it has an artist: build it with --manifest, or from tagged files"
            )
        write_line(text)


def _check_options(args):
    """Refuse what would be ignored, before anything is read."""
    if args.by == "artist":
        for_tracks = {"--m3u": args.m3u, "--exclude-artist": args.exclude_artist}
        if given := [name for name, value in for_tracks.items() if value]:
            text = "goes with recordings; leave it out or leave out --by artist."
            raise ValueError(f"{given[0]} {text}")
    if args.m3u:
        _check_playlist(args)


def _check_playlist(args):
    from artist_features.search.playlist import ENDINGS

    if Path(args.m3u).suffix.lower() not in ENDINGS:
        raise ValueError(
            f"--m3u {display_path(args.m3u)}; allowed endings are {' and '.join(ENDINGS)}."
        )
    check_new_file(args.m3u, args.force)


def _write_playlist(path, tracks):
    from artist_features.files import write_atomically
    from artist_features.search.playlist import playlist

    text, left_out = playlist(tracks, os.path.dirname(os.path.abspath(path)))
    for track in left_out:
        write_line(f"{display_path(track.path)}: no playlist can name this path; left out")
    write_atomically(Path(path), text.encode())
    write_line(f"playlist written to {display_path(path)}")


def _valid(path):
    """A path as valid UTF-8: a byte of a file name that is none is shown as an escape."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
