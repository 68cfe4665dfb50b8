"""`artist-features extract`: files and folders to a table of embeddings."""

import argparse
import dataclasses
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from artist_features.cli import Commands
from artist_features.cli.progress import Progress, check_report_path, write_line, write_report
from artist_features.cli.stopping import OrderlyStop, Stopped
from artist_features.errors import ModelError, OutputError, display_path

if TYPE_CHECKING:  # NumPy and TensorFlow are imported when a job begins
    from artist_features.config import ModelCard
    from artist_features.extraction.extractor import Extractor
    from artist_features.library.cluster import ClusterExtractor
    from artist_features.library.job import Tally


def add_parser(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "extract",
        help="audio files to embeddings",
        description="Extract one embedding per recording. A file that cannot be read costs "
        "itself alone: it keeps a row with the reason, and the exit code is 1. The same "
        "command again goes on where it stopped.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="file, folder to search, URI (s3://bucket/a.mp3, extra [remote]; one that ends in "
        "'/' or has a '*' is searched), or @list.txt of those",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help=".npz, .parquet, or a folder of Parquet shards (both need the extra [parquet]); "
        "without it, JSON lines on standard output",
    )
    parser.add_argument(
        "--model", default="siamese", help="name, folder or hf://owner/name[@revision]"
    )
    # `dest` of an argument that says how a file is read is its field of `ReadingOptions`
    seconds: dict[str, Any] = {"type": float, "metavar": "S"}
    text = "seconds to skip in each file"
    parser.add_argument("--offset", dest="offset_s", default=0.0, help=text, **seconds)
    text = "seconds to use of each file"
    parser.add_argument("--duration", dest="duration_s", help=text, **seconds)
    parser.add_argument(
        "--segments",
        dest="n_segments",
        type=int,
        metavar="N",
        help="read only N segments of each file, spread over it, by seeking: faster on whole "
        "tracks, and another vector",
    )
    text = "segments per model call; on a CPU at most so many at once"
    parser.add_argument("--batch-size", type=int, default=64, help=text)
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="decode processes (default: CPU cores); with --ray, of each actor",
    )
    parser.add_argument(
        "--ray",
        nargs="?",
        const="local",
        type=_address,
        metavar="ADDRESS",
        help="run on Ray Data (extra [ray]): on a cluster on this machine, or on the one at "
        "ADDRESS ('auto', host:port, ray://host:port); name it after the paths",
    )
    parser.add_argument(
        "--decoder",
        default="auto",
        choices=("auto", "soundfile", "av", "tfio"),
        help="auto: libsndfile, then FFmpeg where the extra [av] is installed",
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=("auto", "tensorflow", "onnx"),
        help="onnx: ONNX Runtime, on the CPU, for a bundled model; tensorflow: any model, on a "
        "graphics card where there is one; auto: onnx for a bundled model where there is no "
        "graphics card, else tensorflow",
    )
    parser.add_argument(
        "--force", action="store_true", help="start an existing .npz or .parquet anew"
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="read files again that failed before"
    )
    text = "remove rows of OUT whose file is gone from disk, wherever it was; URIs stay"
    parser.add_argument("--prune", action="store_true", help=text)
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="only part I of N of the files, by a hash of the path below the named folder; for N "
        "machines, each with an output of its own",
    )
    parser.add_argument(
        "--per-segment",
        action="store_true",
        help="a row for each segment of 2.995 s, with its start in seconds, not their mean",
    )
    parser.add_argument(
        "--content-hash", action="store_true", help="note the sha256 of each file's bytes"
    )
    parser.add_argument("--report", metavar="OUT.json", help="write what was done, and how fast")
    loud = parser.add_mutually_exclusive_group()
    text = "times and formats at the end, also of fewer than 20 files"
    loud.add_argument("-v", "--verbose", action="store_true", help=text)
    text = "on standard error only what fails"
    loud.add_argument("-q", "--quiet", action="store_true", help=text)
    parser.set_defaults(command=run)


def _address(text: str) -> str:
    host, _, port = text.removeprefix("ray://").rpartition(":")
    if text in ("local", "auto") or (host and "/" not in host and port.isdecimal()):
        return text
    raise argparse.ArgumentTypeError(
        f"{text!r}; allowed are local, auto, host:port and ray://host:port. A path goes in front "
        "of --ray."
    )


def _shard(text: str) -> tuple[int, int]:
    index, _, n = text.partition("/")
    if not (index.isdecimal() and n.isdecimal() and 1 <= int(index) <= int(n)):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed is I/N with 1 <= I <= N, as in 2/8")
    return int(index), int(n)


def run(args: argparse.Namespace) -> int:
    """Extract, report, and return the exit code."""
    try:
        with OrderlyStop() as stop:
            return _run_job(args, stop)
    except Stopped as stopped:
        write_line(f"stopped by {stopped}; the same command goes on from here")
        return stopped.exit_code


def _run_job(args: argparse.Namespace, stop: OrderlyStop) -> int:
    _check_options(args)
    if args.report is not None:
        check_report_path(args.report, args.output)
    from artist_features.extraction.decode import ReadingOptions, Source
    from artist_features.library import job
    from artist_features.library.inputs import (
        NamedPaths,
        find_audio,
        part_of,
        require_named,
        unless_empty,
    )
    from artist_features.library.outputs import open_output
    from artist_features.library.tables import made_with_of

    require_named(args.paths)  # before TensorFlow is loaded
    names = [option.name for option in dataclasses.fields(ReadingOptions)]
    reading = ReadingOptions(**{name: getattr(args, name) for name in names})
    tally = job.Tally()
    extractor = _make_extractor(args, tally)
    found = unless_empty(find_audio(args.paths, tally.passed))
    if found is None:
        places = ", ".join(display_path(path) for path in args.paths)
        write_line(f"artist-features: no audio under {places}")
        return 2
    if args.shard:
        found = unless_empty(part_of(found, args.paths, *args.shard))
        if found is None:
            write_line(f"no files fall into part {args.shard[0]} of {args.shard[1]}")
            return 0
    made_with = made_with_of(
        cast("ModelCard", extractor.card),  # of a model given by name
        reading,
        per_segment=args.per_segment,
        content_hash=args.content_hash,
    )
    with NamedPaths(repeats=args.output is None) as named:
        output = open_output(
            args.output, named, dim=extractor.embedding_dim, made_with=made_with, force=args.force
        )
        complete, reported = False, True
        try:
            job.find_missing(
                found, output, named, tally, retry_failed=args.retry_failed, prune=args.prune
            )
            complete = True
            with Progress(tally, args.quiet) as progress:
                job.run(
                    named,
                    output,
                    extractor,
                    tally,
                    make_source=functools.partial(
                        Source, reading=reading, hashed=args.content_hash
                    ),
                    per_segment=args.per_segment,
                    on_row=progress.update,
                    steps=stop.steps,
                )
        except ModelError:
            complete = reported = tally.made.total() > 0
            raise
        finally:
            output.close(complete=complete)  # what is finished is kept
            if reported:
                write_report(
                    tally, args.output, args.report, verbose=args.verbose, quiet=args.quiet
                )
    return int(tally.n_failed > 0)


def _make_extractor(args: argparse.Namespace, tally: "Tally") -> "Extractor | ClusterExtractor":
    """Return the extractor; it is loaded once the tally knows how many files are missing."""

    def print_device(device: str) -> None:
        if args.verbose or not (args.quiet or tally.n_missing == 1):  # one file has one line
            write_line(f"model {args.model} on {device}")

    options = {
        "batch_size": args.batch_size,
        "n_workers": args.workers,
        "decoder": args.decoder,
        "on_loaded": print_device,
    }
    if args.ray is not None:
        from artist_features.library.cluster import ClusterExtractor

        if args.runtime == "onnx":
            raise ValueError("--runtime onnx with --ray; on a cluster allowed is tensorflow.")
        return ClusterExtractor(args.model, address=args.ray, **options)
    from artist_features.extraction.extractor import Extractor

    return Extractor(args.model, isolated=True, dedicated=True, runtime=args.runtime, **options)


def _check_options(args: argparse.Namespace) -> None:
    """Validate the options before anything is loaded."""
    if args.n_segments is not None:
        if args.n_segments < 1:
            raise ValueError(f"--segments is {args.n_segments}; allowed is 1 or more.")
        if args.per_segment or args.offset_s or args.duration_s:
            text = "--segments spreads over whole files and gives their mean; leave out"
            raise ValueError(f"{text} --per-segment, --offset and --duration.")
    if args.force and Path(args.output or "").suffix.lower() not in (".npz", ".parquet"):
        text = "--force starts a single .npz or .parquet anew; leave it out"
        raise ValueError(f"{text}, or remove the folder yourself and give the command again.")
    if args.output is None and sys.stdout is None:
        raise OutputError("not_writable", "standard output is closed; name an output by -o.")
