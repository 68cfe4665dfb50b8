"""`artist-features manifest`: a folder of tagged audio to a manifest, or check one."""

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from artist_features.cli import Commands, add_root_option, check_output
from artist_features.errors import OutputError, display_path

if TYPE_CHECKING:
    from artist_features.datasets.tracks import Track

logger = logging.getLogger(__name__)


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "manifest",
        help="a folder of tagged audio to a manifest for training, or check one",
        description="List the audio files under FOLDER with artist and title from their tags "
        "(needs the extra [tags]). With --check, report missing and double files, spellings "
        "of artists, and music in two splits: exit code 1 if files are missing or splits "
        "share music.",
    )
    parser.add_argument("path", metavar="FOLDER|M.csv", help="folder, or a manifest to check")
    parser.add_argument(
        "-o",
        "--output",
        metavar="M.csv",
        help="manifest to write; outside FOLDER its paths are absolute",
    )
    parser.add_argument(
        "--split", choices=("artist", "track"), help="add a column that says train, valid or test"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the split (default 0)")
    parser.add_argument(
        "--msd",
        metavar="SPLIT.pkl",
        help="the paper's Million Song Dataset split: a pickle of 'audio_id/artist/song' strings; "
        "FOLDER holds the audio. Gives the artist indices and the paper's split",
    )
    parser.add_argument(
        "--pattern",
        default="{audio_id}.mp3",
        help="of the audio files of --msd, with audio_id, artist_index and song_index in braces",
    )
    add_root_option(parser)
    parser.add_argument("--check", action="store_true", help="print a report of the manifest")
    parser.add_argument("--force", action="store_true", help="write over an existing manifest")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Write, check, report, and return the exit code."""
    if os.path.isdir(args.path):
        return _write(args)
    if not args.check:
        raise ValueError(
            f"{display_path(args.path)} is not a folder; give a folder and -o, or --check and a "
            "manifest."
        )
    if args.output is not None or args.split is not None or args.msd is not None:
        raise ValueError("-o, --split and --msd belong to a folder; --check M.csv only reads.")
    return _check(args.path, args.root)


def _write(args: argparse.Namespace) -> int:
    from artist_features.datasets.manifest import write_manifest
    from artist_features.datasets.splits import splits_of

    output = _checked_output(args)
    tracks, problems = _found(args)
    for problem in problems:
        logger.info(problem)
    if not tracks:
        logger.info("artist-features: no audio under %s", display_path(args.path))
        return 1 if problems else 2
    if args.split:
        splits = splits_of(tracks, output, by=args.split, seed=args.seed)
        tracks = [
            replace(track, extra=track.extra | {"split": split})
            for track, split in zip(tracks, splits, strict=True)
        ]
    write_manifest(output, tracks)
    n_artists = len({track.artist for track in tracks} - {""})
    n_unlabelled = sum(not track.artist for track in tracks)
    logger.info(
        f"{len(tracks)} tracks of {n_artists} artists, {n_unlabelled} without artist, "
        f"{len(problems)} left out; written to {display_path(output)}"
    )
    code = _check(output, None) if args.check else 0
    return max(code, int(bool(problems)))


def _found(args: argparse.Namespace) -> "tuple[list[Track], list[str]]":
    """Return the tracks, and why others are left out."""
    if args.msd is None:
        from artist_features.datasets.tags import scan_folder

        found, problems = scan_folder(args.path)
        return found, [str(problem) for problem in problems]
    if args.split:
        raise ValueError("--msd brings the paper's own split; leave --split out.")
    from artist_features.datasets.msd import msd_tracks

    tracks, missing = msd_tracks(args.msd, args.path, args.pattern)
    return tracks, [f"{display_path(path)}: no such file" for path in missing]


def _checked_output(args: argparse.Namespace) -> Path:
    """Return the manifest's path; raise before anything is searched."""
    if args.output is None:
        raise ValueError("a folder needs -o M.csv, the manifest to write.")
    output = Path(os.path.abspath(args.output))
    if os.path.lexists(output) and not args.force:
        text = "exists already; choose another name, or --force to write over it."
        raise OutputError("not_writable", text, args.output)
    check_output(args.output, True, [args.msd] if args.msd else [])
    return output


def _check(path: str | Path, root: str | None) -> int:
    from artist_features.datasets.checks import check_manifest
    from artist_features.datasets.manifest import read_manifest

    lines, faulty = check_manifest(read_manifest(path, root), path)
    print("\n".join(lines))
    return int(faulty)
