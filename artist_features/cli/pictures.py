"""`artist-features map` and `plot`: pictures of a library, and of one recording."""

import argparse
from pathlib import Path

from artist_features.cli import Commands, add_root_option, check_output
from artist_features.cli.progress import write_line
from artist_features.errors import OutputError, counted, display_path


def add_parser(commands: Commands) -> None:
    """Add the commands to the parser."""
    _add_map(commands)
    _add_plot(commands)


def _add_map(commands: Commands) -> None:
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


def _add_plot(commands: Commands) -> None:
    parser = commands.add_parser(
        "plot",
        help="a picture of a recording: its log-mel, and where it repeats",
        description="Draw a recording's log-mel beside the similarity (cosine) of its segments "
        "of 3 s: squares away from the diagonal are parts that come back. Needs the extra [plot].",
    )
    parser.add_argument("recording", metavar="FILE")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.png")
    parser.add_argument(
        "--model",
        default="siamese",
        help="name, folder or hf://owner/name[@revision] (default: siamese)",
    )
    parser.add_argument("--offset", type=float, default=0.0, metavar="S", help="seconds to skip")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds to use (default: all)")
    parser.add_argument("--force", action="store_true", help="replace an existing OUT.png")
    parser.set_defaults(command=run_plot)


def run_map(args: argparse.Namespace) -> int:
    """Draw the map and return the exit code."""
    from artist_features.maps.map import write_map

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
        progress=True,
    )
    if n_failed:
        are = "is" if n_failed == 1 else "are"
        write_line(f"{counted(n_failed, 'recording')} without an embedding {are} left out")
    write_line(f"written to {display_path(args.out)}; open it in a browser")
    return 0


def run_plot(args: argparse.Namespace) -> int:
    """Draw the recording, report its flaws, and return the exit code."""
    from artist_features.maps.plots import Listener, write_picture

    if not args.output.lower().endswith(".png"):
        text = "pictures are PNG files; let its name end in .png."
        raise OutputError("not_writable", text, args.output)
    check_output(args.output, args.force)
    listener = Listener(args.model)
    found = listener.listen(args.recording, offset=args.offset, duration=args.duration)
    write_picture(found, Path(display_path(args.recording)).name, args.output)
    for code, text in found.flaws:
        write_line(f"{display_path(args.recording)}: {code}: {text}")
    drawn = counted(len(found.similarity), "segment")
    write_line(f"{drawn} drawn: {display_path(args.output)}")
    return 0
