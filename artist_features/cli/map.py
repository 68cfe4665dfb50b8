"""`artist-features map`: embeddings -> a page on which tracks are points."""

import contextlib
import sys

from artist_features.cli.options import add_root_option
from artist_features.errors import display_path


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "map",
        help="draw tracks as points on a page to search and to listen to",
        description="Draw tracks as points on one self-contained HTML page: tracks that sound "
        "alike lie close together, a click plays one and shows its ten nearest. Needs the extra "
        "[map]. Recordings that failed are left out and counted.",
    )
    parser.add_argument(
        "embeddings", metavar="EMBEDDINGS", help=".npz, .parquet or folder that extract wrote"
    )
    parser.add_argument(
        "-o", "--output", dest="out", required=True, metavar="OUT.html", help="the page"
    )
    parser.add_argument(
        "--manifest",
        metavar="CSV",
        help="file, artist, title, ...; joined by the path of the file",
    )
    add_root_option(parser)
    parser.add_argument(
        "--color",
        metavar="COLUMN",
        help="column of the manifest that decides the colour, as artist (the default) or genre; "
        "or folder: the name of the folder that holds the file. Blank is grey",
    )
    parser.add_argument(
        "--audio-base",
        metavar="URL",
        help="http:, https:, file: or relative URL of the folder that holds the tracks: the "
        "manifest's, else the deepest that holds all (default: the files, seen from the page)",
    )
    parser.add_argument("--title", metavar="TEXT", help="of the page (default: how many tracks)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument("--force", action="store_true", help="replace an existing page")
    parser.set_defaults(command=run_map)


def run_map(args):
    """Draw the map and return the exit code."""
    from artist_features.cli.progress import write_line
    from artist_features.search.map import write_map

    n_failed = write_map(
        args.embeddings,
        args.out,
        manifest=args.manifest,
        root=args.root,
        color=args.color,
        audio_base=args.audio_base,
        title=args.title,
        seed=args.seed,
        force=args.force,
        progress=_bar,
        say=write_line,
    )
    if n_failed:
        write_line(f"{n_failed} recordings without an embedding are left out")
    write_line(f"written to {display_path(args.out)}; open it in a browser")
    return 0


@contextlib.contextmanager
def _bar(name, total):
    from tqdm import tqdm

    with tqdm(total=total, desc=name, disable=None, file=sys.stderr) as bar:
        yield bar.update
