"""`artist-features duplicates`: recordings of a library that are the same performance."""

import argparse
import csv
import dataclasses
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artist_features.cli import Commands, check_output
from artist_features.cli.index import report_left_out
from artist_features.cli.progress import write_line
from artist_features.errors import counted, display_path, valid_utf8
from artist_features.files import write_atomically

if TYPE_CHECKING:  # NumPy is imported when a command runs
    from artist_features.search.duplicates import Duplicates


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "duplicates",
        help="recordings that are the same performance, the best copy first",
        description="Print groups of recordings that are the same performance: other codec, "
        "bitrate, level, a start up to 10 s later, a clipped master. Vectors choose candidates, "
        "whose files are then read and compared. Lossless copies come first, then by bitrate. "
        "Columns: group, similarity to its first copy (1: the same, 0: by chance), seconds that "
        "it is longer than that, format, kbit/s, path. Nothing is deleted. Exit code 1 if a "
        "file could not be read.",
    )
    parser.add_argument(
        "vectors",
        nargs="+",
        metavar="VECTORS",
        help=".npz, .parquet or folder that extract wrote; several, if one model made them",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="as JSON")
    output.add_argument("--csv", metavar="OUT.csv", help="write a table, a row for each copy")
    parser.add_argument(
        "--within",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds by which lengths may differ, not counting what only one of them has before "
        "the common start (default: 1.0)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing OUT.csv")
    parser.set_defaults(command=run_duplicates)


def run_duplicates(args: argparse.Namespace) -> int:
    """Find, report, and return the exit code."""
    from artist_features.progress import progress_bar
    from artist_features.search.duplicates import find_duplicates
    from artist_features.search.embedding_tables import is_changed, read_embeddings, table_files

    if args.csv:
        inputs = [file for path in args.vectors for file in table_files(path)]
        check_output(args.csv, args.force, inputs)
    table = read_embeddings(args.vectors)
    report_left_out(table)
    if n_changed := sum(map(is_changed, table.tracks)):
        text = "changed after their vectors were made; `extract` these files again if they sound "
        write_line(f"{n_changed} {text}different now")
    n = len(table.tracks)
    with progress_bar(None, "duplicates", n, unit="track") as bar:
        found = find_duplicates(table.vectors, table.tracks, args.within, bar.update)
    for error in found.unreadable:
        write_line(str(error))
    write_line(
        f"{counted(n, 'recording')}, {counted(found.n_compared, 'pair')} compared, "
        f"{counted(len(found.groups), 'group')} of copies, "
        f"{counted(len(found.unreadable), 'file')} could not be read"
    )
    records = [
        {"group": number, **dataclasses.asdict(copy), "path": valid_utf8(copy.path)}
        for number, group in enumerate(found.groups, start=1)
        for copy in group
    ]
    if args.json:
        print(json.dumps(_nested(found, records), indent=2))
    elif args.csv:
        _write_csv(args.csv, records)
    else:
        for r in records:
            numbers = f"{r['similarity']:.3f}", f"{r['length_difference_s']:+.2f}"
            kind = r["container"], r["kbps"], display_path(r["path"])
            print(r["group"], *numbers, *kind, sep="\t")
    return 1 if found.unreadable else 0


def _nested(found: "Duplicates", records: list[dict[str, Any]]) -> dict[str, Any]:
    """Convert groups of duplicates to plain data for JSON."""
    groups: list[list[dict[str, Any]]] = [[] for _ in found.groups]
    for record in records:
        groups[record.pop("group") - 1].append(record)
    errors = [
        {"path": valid_utf8(os.fsdecode(error.path or "")), **error.to_record()}
        for error in found.unreadable
    ]
    return {"groups": groups, "n_compared": found.n_compared, "unreadable": errors}


def _write_csv(path: str, records: list[dict[str, Any]]) -> None:
    from artist_features.search.duplicates import Copy

    text = io.StringIO(newline="")
    fields = ["group", *(field.name for field in dataclasses.fields(Copy))]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    write_atomically(Path(path), text.getvalue().encode())
    write_line(f"written to {display_path(path)}")
