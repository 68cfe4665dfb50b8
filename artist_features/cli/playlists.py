"""`artist-features path` and `playlist`: playlists from a search index."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from artist_features.cli import Commands
from artist_features.cli.progress import write_line
from artist_features.cli.search import (
    add_list_options,
    check_m3u,
    open_filter,
    open_query,
    report_left_out,
    track_record,
    write_m3u,
)
from artist_features.errors import display_path

if TYPE_CHECKING:  # NumPy is imported when a command runs
    from artist_features.search import Index
    from artist_features.search.lookup import Query


def add_parser(commands: Commands) -> None:
    """Add the commands to the parser."""
    path = commands.add_parser(
        "path",
        help="a playlist that moves from one recording to another in even steps",
        description="Print N recordings of an index that lead from A to B in even steps: rank, "
        "similarity to the one before, artist and title, path, parted by tabs.",
    )
    path.add_argument("start", metavar="A", help="file or URI of the index")
    path.add_argument("end", metavar="B", help="file or URI of the index")
    _add_common_options(path, n=10)
    path.set_defaults(command=run_path, model=None)  # both ends are in the index
    playlist = commands.add_parser(
        "playlist",
        help="a playlist of recordings like some and unlike others",
        description="Print N recordings of an index that are nearest to the mean of some: rank, "
        "artist and title, path, parted by tabs. A file that is not in the index is extracted "
        "first.",
    )
    playlist.add_argument("--like", nargs="+", required=True, metavar="TRACK")
    text = "leave out what is nearer to one of these than to the mean of --like"
    playlist.add_argument("--unlike", nargs="+", default=[], metavar="TRACK", help=text)
    text = "recordings of others between two of one artist (default: 0)"
    playlist.add_argument("--no-repeat-artist", type=int, default=0, metavar="K", help=text)
    text = "draw N of the 3 N nearest, in another order for each number (default: the N nearest)"
    playlist.add_argument("--seed", type=int, help=text)
    text = "the index's model as a folder or hf://owner/name, if it is not a bundled one"
    playlist.add_argument("--model", help=text)
    _add_common_options(playlist, n=50)
    playlist.set_defaults(command=run_playlist)


def _add_common_options(parser: argparse.ArgumentParser, n: int) -> None:
    text = f"recordings in the playlist (default: {n})"
    parser.add_argument("-n", type=int, default=n, metavar="N", help=text)
    parser.add_argument("--index", required=True, help="file of `artist-features index build`")
    add_list_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def run_path(args: argparse.Namespace) -> int:
    """Find the path, print it, and return the exit code."""
    from artist_features.search import Index
    from artist_features.search.playlist import find_path

    check_m3u(args)
    index = Index.load(args.index)
    ends = [_indexed(args, index, name) for name in (args.start, args.end)]
    result_filter = open_filter(args, index, ends)
    start, end = (query.own_rows[0] for query in ends)
    if start == end:
        raise ValueError(f"A and B are both {display_path(ends[0].track.path)}; a path needs two.")
    rows = find_path(index, start, end, args.n, skip=result_filter)
    report_left_out(result_filter)
    vectors = index.vectors[rows]
    steps = (vectors[:-1] * vectors[1:]).sum(axis=1).astype(float).round(6).tolist()
    _print(args, index, rows, [{"similarity": step} for step in (None, *steps)])
    return 0


def _indexed(args: argparse.Namespace, index: "Index", name: str) -> "Query":
    from artist_features.search.lookup import find_row

    if find_row(index, name) is None:
        text = "is not in the index; extract it and add it by `artist-features index update`."
        raise ValueError(f"{display_path(name)} {text}")
    return open_query(args, index, name)


def run_playlist(args: argparse.Namespace) -> int:
    """Choose the recordings, print them, and return the exit code."""
    from artist_features.search import Index
    from artist_features.search.playlist import playlist

    check_m3u(args)
    index = Index.load(args.index)
    like, unlike = (
        [open_query(args, index, name) for name in names] for names in (args.like, args.unlike)
    )
    for query in unlike:
        if query.track.path in {liked.track.path for liked in like}:
            text = "is in --like and in --unlike; leave one out."
            raise ValueError(f"{display_path(query.track.path)} {text}")
    result_filter = open_filter(args, index, like)
    rows = playlist(
        index,
        [query.vector for query in like],
        [query.vector for query in unlike] or None,
        args.n,
        no_repeat_artist=args.no_repeat_artist,
        seed=args.seed,
        exclude_rows=[row for query in (*like, *unlike) for row in query.own_rows],
        skip=result_filter,
    )
    report_left_out(result_filter)
    _print(args, index, rows, [{} for _ in rows])
    return 0


def _print(
    args: argparse.Namespace, index: "Index", rows: list[int], scores: list[dict[str, Any]]
) -> None:
    """Print the tracks of some rows, JSON or a line for each, and write the playlist."""
    if len(rows) < args.n:
        write_line(f"-n is {args.n}; the index has no more than {len(rows)} that fit")
    tracks = [index.track(row) for row in rows]
    if args.m3u:
        write_m3u(args.m3u, tracks)
    ranked = list(enumerate(zip(scores, tracks, strict=True), start=1))
    if args.json:
        records = [
            {"rank": rank, **score, **track_record(track)} for rank, (score, track) in ranked
        ]
        print(json.dumps({"model": index.made_with["model"], "results": records}, indent=2))
        return
    for rank, (score, track) in ranked:
        values = ["" if value is None else f"{value:.4f}" for value in score.values()]
        print(rank, *values, display_path(track.label), display_path(track.path), sep="\t")
