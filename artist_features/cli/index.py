"""`artist-features index`: embeddings to one file that can be searched; what is in one."""

import json
import os

from artist_features.cli import add_root_option
from artist_features.cli.progress import write_line
from artist_features.errors import display_path
from artist_features.files import check_new_file


def add_parser(commands):
    """Add the command and its parts to the parser."""
    parser = commands.add_parser(
        "index",
        help="make a search index of embeddings, or say what is in one",
        description="Make a search index of embeddings, or say what is in one.",
    )
    parts = parser.add_subparsers(title="parts", required=True, metavar="PART")
    build = parts.add_parser(
        "build",
        help="embeddings to an index",
        description="Put what `artist-features extract` wrote into one file for `similar` and "
        "`who`. Artist and title come from the manifest, or else from the files' tags (extra "
        "[tags]). Recordings that failed are left out and counted.",
    )
    build.add_argument(
        "embeddings",
        nargs="+",
        metavar="EMBEDDINGS",
        help=".npz, .parquet or a folder of shards; several, if one model made them",
    )
    build.add_argument("-o", "--output", required=True, metavar="INDEX", help="file to write")
    names = build.add_mutually_exclusive_group()
    names.add_argument(
        "--manifest", metavar="CSV", help="file, artist, title, ...: joined by the files' paths"
    )
    add_root_option(build)
    names.add_argument("--no-tags", action="store_true", help="do not read the files' tags")
    build.add_argument(
        "--method",
        default="auto",
        choices=("auto", "exact", "approximate"),
        help="auto: exact below 100,000 recordings, approximate (extra [search]) from there",
    )
    build.add_argument("--force", action="store_true", help="replace an existing INDEX")
    build.set_defaults(command=run_build)
    info = parts.add_parser("info", help="what is in an index")
    info.add_argument("index", metavar="INDEX")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(command=run_info)


def run_build(args):
    """Read, join, build, write, and return the exit code."""
    from artist_features.search import Index
    from artist_features.search.lists import APPROXIMATE_FROM, require_faiss
    from artist_features.search.sources import read_embeddings

    check_new_file(args.output, args.force)
    if args.method == "approximate":
        require_faiss()
    found = read_embeddings(args.embeddings)
    if args.method == "auto" and len(found.tracks) >= APPROXIMATE_FROM:
        require_faiss()  # now, not after all tags are read
    _tell_left_out(found)
    tracks = _named(found.tracks, args)
    index = Index.build(found.vectors, tracks, found.made_with, method=args.method)
    index.save(args.output)
    method = "approximate" if index.approximate else "exact"
    write_line(
        f"{len(index)} recordings of {len(index.artists)} artists ({index.n_unlabelled} without "
        f"artist), {method} search; written to {display_path(args.output)}"
    )
    return 0


def _tell_left_out(found):
    if found.n_failed:
        write_line(f"{found.n_failed} recordings that failed are left out")
    if found.n_repeated:
        write_line(f"{found.n_repeated} further rows of a path are left out: the first one stays")
    for path in found.no_direction:
        write_line(f"{display_path(path)}: left out, its vector is all zeros or not finite")
    for folder in found.unfinished:
        text = "a job is not at its end here; its last rows are missing until it has run through"
        write_line(f"{display_path(folder)}: {text}")


def _named(tracks, args):
    """Return the tracks with artist and title, as far as they are known."""
    from artist_features.search.sources import join_manifest, read_tags

    if args.no_tags:
        return tracks
    if args.manifest:
        tracks, n_listed = join_manifest(tracks, args.manifest, args.root)
        write_line(f"the manifest lists {n_listed} of {len(tracks)} recordings")
        return tracks
    try:
        tracks, problems = read_tags(tracks, progress=True)
    except ImportError as error:
        write_line(f"no artists and titles: {error}")
        return tracks
    if problems:
        write_line(f"tags of {len(problems)} files cannot be read; the first: {problems[0]}")
    return tracks


def run_info(args):
    """Print what is in an index, and return the exit code."""
    from artist_features.search import Index

    index = Index.load(args.index)
    record = {
        "recordings": len(index),
        "artists": len(index.artists),
        "without artist": index.n_unlabelled,
        "dimension": index.dim,
        "search": "approximate" if index.approximate else "exact",
        "model": index.made_with["model"],
        "weights sha256": index.made_with["weights_sha256"],
        "extraction": {
            name: value
            for name, value in index.made_with.items()
            if name not in ("model", "weights_sha256")
        },
        "columns": index.columns,
        "package version": index.package_version,
        "created": index.created,
        "bytes": os.path.getsize(args.index),
    }
    if args.json:
        print(json.dumps(record, indent=2))
        return 0
    for name, value in record.items():
        value = json.dumps(value) if isinstance(value, (dict, list)) else value
        print(f"{name:16s} {display_path(str(value))}")
    return 0
