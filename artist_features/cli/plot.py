"""`artist-features plot`: a recording's log-mel, and where it repeats, as a picture."""

import sys

from artist_features.errors import OutputError, display_path
from artist_features.files import check_new_file


def add_parser(commands):
    """Add the command to the parser."""
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
    parser.set_defaults(command=run)


def run(args):
    """Draw, report, and return the exit code."""
    from artist_features.search.plots import save_picture

    _check_output(args.output, args.force)
    found = save_picture(
        args.recording,
        args.output,
        model=args.model,
        offset=args.offset,
        duration=args.duration,
    )
    for code, text in found.flaws:
        print(f"{display_path(args.recording)}: {code}: {text}", file=sys.stderr)
    n_segments = len(found.similarity)
    print(f"{n_segments} segments drawn: {display_path(args.output)}", file=sys.stderr)
    return 0


def _check_output(path, force):
    """Refuse before anything is read what could not be written afterwards."""
    if not path.lower().endswith(".png"):
        raise OutputError("not_writable", "pictures are PNG files; let its name end in .png.", path)
    check_new_file(path, force)
