"""`artist-features index`: build, update and describe a search index of embeddings."""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from artist_features.cli import Commands, add_root_option, check_output
from artist_features.cli.progress import write_line
from artist_features.errors import counted, display_path
from artist_features.files import acquire_lock

if TYPE_CHECKING:  # NumPy is imported when a command runs
    from artist_features.search import Index, IndexedTrack
    from artist_features.search.embedding_tables import Embeddings


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "index",
        help="make or update a search index of embeddings, or say what is in one",
        description="Make or update a search index of embeddings, or say what is in one.",
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
    _add_names(build)
    build.add_argument("--force", action="store_true", help="replace an existing INDEX")
    build.set_defaults(command=run_build)
    update = parts.add_parser(
        "update",
        help="add, replace or drop recordings",
        description="Add recordings to an index. One whose path the index has takes the place of "
        "that, and keeps its artist and title where none are given now. The file is replaced as a "
        "whole, or stays as it was.",
    )
    update.add_argument("index", metavar="INDEX")
    text = "as for `index build`, of the same model and options"
    update.add_argument("embeddings", nargs="*", metavar="EMBEDDINGS", help=text)
    text = "drop recordings whose file is gone from disk; URIs stay"
    update.add_argument("--prune", action="store_true", help=text)
    _add_names(update)
    update.set_defaults(command=run_update)
    info = parts.add_parser("info", help="what is in an index")
    info.add_argument("index", metavar="INDEX")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(command=run_info)


def _add_names(parser: argparse.ArgumentParser) -> None:
    """Add the options for artists and titles: manifest, tags."""
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        "--manifest", metavar="CSV", help="file, artist, title, ...: joined by the files' paths"
    )
    add_root_option(parser)
    names.add_argument("--no-tags", action="store_true", help="do not read the files' tags")


def run_build(args: argparse.Namespace) -> int:
    """Read, join, build, write, and return the exit code."""
    from artist_features.search import Index
    from artist_features.search.embedding_tables import read_embeddings, table_files

    inputs = [file for path in args.embeddings for file in table_files(path)]
    check_output(args.output, args.force, [*inputs, *filter(None, [args.manifest])])
    found = read_embeddings(args.embeddings)
    report_left_out(found)
    index = Index.build(found.vectors, _named(found.tracks, args), found.made_with)
    index.save(args.output)
    write_line(
        f"{counted(len(index), 'recording')} of {counted(len(index.artists), 'artist')} "
        f"({index.n_unlabelled} without artist); written to {display_path(args.output)}"
    )
    return 0


def run_update(args: argparse.Namespace) -> int:
    """Read, join, replace the file, and return the exit code."""
    from artist_features.search import Index

    if not (args.embeddings or args.prune):
        raise ValueError("nothing to do; name EMBEDDINGS to add, or --prune, or both.")
    if args.manifest and not args.embeddings:
        raise ValueError("--manifest names the tracks of EMBEDDINGS; give them, too.")
    path = Path(args.index)
    if path.is_symlink():  # it stays one: what it leads to is replaced
        path = Path(os.path.realpath(path))
    Index.load(path)  # what is no index is refused before a lock is written beside it
    with acquire_lock(path.with_name(f".{path.name}.lock"), path):
        return _update(Index.load(path), path, args)


def _update(index: "Index", path: Path, args: argparse.Namespace) -> int:
    from artist_features.extraction.remote import is_gone
    from artist_features.search.embedding_tables import Embeddings, read_embeddings

    found = Embeddings(index.vectors[:0])
    if args.embeddings:
        found = read_embeddings(args.embeddings, index.made_with)
        report_left_out(found)
    row_of = {path: row for row, path in enumerate(index.paths)}
    gone = [row for path, row in row_of.items() if is_gone(path)] if args.prune else []
    if gone and len(gone) == len(index):
        which = f"none of its {len(index)} files is" if len(index) > 1 else "its only file is not"
        text = f"{which} there; is a drive not mounted? Nothing done."
        raise ValueError(f"{display_path(path)}: {text}")
    there = [
        number
        for number, track in enumerate(found.tracks)
        if not (args.prune and is_gone(track.path))
    ]
    tracks = [found.tracks[number] for number in there]
    rows = [row_of.get(track.path) for track in tracks]
    before = [None if row is None else index.track(row) for row in rows]
    tracks = [
        replace(track, artist=old.artist, title=old.title, extra=old.extra) if old else track
        for track, old in zip(tracks, before, strict=True)
    ]
    tracks = _named(tracks, args) if tracks else []
    updated = index.updated(found.vectors[there], tracks, gone)
    updated.save(path)
    n_added = before.count(None)
    write_line(
        f"{counted(n_added, 'recording')} added, {len(before) - n_added} replaced, {len(gone)} "
        f"dropped; {display_path(path)} has {len(updated)}"
    )
    return 0


def report_left_out(found: "Embeddings") -> None:
    """Report the rows of tables without a usable vector, on standard error."""
    if found.n_failed:
        write_line(f"left out: {counted(found.n_failed, 'recording')} that failed")
    if found.n_repeated:
        text = f"left out: {counted(found.n_repeated, 'further row')} of a path"
        write_line(f"{text}; the first one stays")
    for path in found.no_direction:
        write_line(f"{display_path(path)}: left out, its vector is all zeros or not finite")
    for folder in found.unfinished:
        text = "a job is not at its end here; its last rows are missing until it has run through"
        write_line(f"{display_path(folder)}: {text}")


def _named(tracks: list["IndexedTrack"], args: argparse.Namespace) -> list["IndexedTrack"]:
    """Return the tracks with artist and title, as far as they are known."""
    from artist_features.search.embedding_tables import join_manifest, read_tags

    if args.no_tags:
        return tracks
    if args.manifest:
        tracks, n_listed = join_manifest(tracks, args.manifest, args.root)
        write_line(f"the manifest lists {n_listed} of {counted(len(tracks), 'recording')}")
        return tracks
    try:
        tracks, problems = read_tags(tracks, progress=True)
    except ImportError as error:
        write_line(f"no artists and titles: {error}")
        return tracks
    if problems:
        files = counted(len(problems), "file")
        write_line(f"tags of {files} cannot be read; the first: {problems[0]}")
    return tracks


def run_info(args: argparse.Namespace) -> int:
    """Print the contents of an index, and return the exit code."""
    from artist_features.search import Index

    index = Index.load(args.index)
    extraction = dict(index.made_with)
    record = {
        "recordings": len(index),
        "artists": len(index.artists),
        "without artist": index.n_unlabelled,
        "dimension": index.dim,
        "model": extraction.pop("model"),
        "weights sha256": extraction.pop("weights_sha256"),
        "extraction": extraction,
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
