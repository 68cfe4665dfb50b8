"""`artist-features extract`: files and folders to a table of embeddings."""

import contextlib
import json
import sys
from collections import Counter

import artist_features
from artist_features.errors import AudioError, display_path


def add_parser(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "extract",
        help="audio files to embeddings",
        description="Extract one embedding per recording. A file that cannot be read costs "
        "itself alone: it keeps a row with the reason, and the exit code is 1. The same "
        "command again goes on where it stopped.",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="file, folder to search, or @list.txt"
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
    parser.add_argument(
        "--offset", type=float, default=0.0, metavar="S", help="seconds to skip in each file"
    )
    parser.add_argument("--duration", type=float, metavar="S", help="seconds to use of each file")
    parser.add_argument("--batch-size", type=int, default=64, help="segments per model call")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="decode processes (default: CPU cores)"
    )
    parser.add_argument(
        "--decoder",
        default="auto",
        choices=("auto", "soundfile", "av", "tfio"),
        help="auto: libsndfile, then FFmpeg where the extra [av] is installed",
    )
    parser.add_argument(
        "--force", action="store_true", help="start an existing .npz or .parquet anew"
    )
    parser.set_defaults(command=run)


def run(args):
    """Extract, report, and return the exit code."""
    from artist_features.extraction.extractor import Extractor
    from artist_features.extraction.inputs import find_audio
    from artist_features.signal.decoders import Span

    span = Span(args.offset, args.duration)
    extractor = Extractor(
        args.model,
        batch_size=args.batch_size,
        n_workers=args.workers,
        isolated=True,
        decoder=args.decoder,
        on_loaded=lambda device: _write_line(f"model {args.model} on {device}"),
    )
    found = list(find_audio(args.paths))
    if not found:
        named = ", ".join(display_path(path) for path in args.paths)
        _write_line(f"artist-features: no audio under {named}")
        return 2
    writer = _open_writer(args, extractor, span)
    counts = Counter()
    try:
        _extract_all(found, extractor, span, writer, counts)
    except KeyboardInterrupt:
        kept = f"{counts['embedded']} embedded, {counts['failed']} failed"
        _write_line(f"{kept} before the interrupt; the same command goes on from there")
        raise
    finally:
        writer.close()  # what is finished is kept, also when interrupted
    kept = Counter(writer.done[p] for p in found if isinstance(p, str) and p in writer.done)
    return _report(counts, kept, extractor.timing, args.output)


def _open_writer(args, extractor, span):
    if args.output is None:
        return _JsonLines()
    from artist_features.extraction.outputs import open_output

    made_with = {
        "version": ".".join(artist_features.__version__.split(".")[:2]),
        "weights_sha256": extractor.card.weights_sha256,
        "graph_sha256": extractor.card.graph_sha256,
        "decoder": extractor.decoder,
        "offset_s": span.offset_s,
        "duration_s": span.duration_s,
    }
    return open_output(
        args.output, dim=extractor.embedding_dim, made_with=made_with, force=args.force
    )


def _extract_all(found, extractor, span, writer, counts):
    """Extract what the output does not hold yet; count rows by status."""
    from artist_features.extraction.decode import Source
    from artist_features.extraction.pipeline import Result
    from artist_features.extraction.tables import Row

    files = []
    for index, item in enumerate(found):
        if isinstance(item, AudioError):  # a folder that could not be searched
            _keep(writer, index, Row.from_result(Result(index, item.path, error=item)), counts)
        elif item not in writer.done:
            files.append((index, item))
    if not files:
        return
    sources = [Source(path, None, span, extractor.decoder) for _, path in files]
    with _progress(len(sources)) as bar:
        for result in extractor.results(sources, n_sources=len(sources)):
            _keep(writer, files[result.index][0], Row.from_result(result), counts)
            bar.update()


def _keep(writer, index, row, counts):
    writer.write(index, row)
    counts["failed" if row.failed else "embedded"] += 1
    if row.status != "ok":
        counts[f"status {row.status}"] += 1
        _write_line(f"{display_path(row.path)}: {row.status}: {row.error}")


class _JsonLines:
    """Print each row as it is finished."""

    def __init__(self):
        self.done = {}

    def write(self, index, row):
        embedding = None if row.failed else [float(value) for value in row.embedding]
        record = {"path": row.path, "status": row.status, "error": row.error}
        record |= {"duration_s": row.duration_s, "embedding": embedding}
        print(json.dumps(record), flush=True)

    def close(self):
        """Nothing is held back."""


def _progress(total):
    from tqdm import tqdm

    return tqdm(total=total, unit="file", disable=None, file=sys.stderr)


def _write_line(text):
    from tqdm import tqdm

    # a standard error that was closed must not stop the job
    with contextlib.suppress(OSError, ValueError):
        tqdm.write(text, file=sys.stderr)


def _report(counts, kept, timing, output):
    """Say what was done and where the time went; return the exit code."""
    from artist_features.extraction.tables import WITH_VECTOR

    n_failed_before = sum(n for status, n in kept.items() if status not in WITH_VECTOR)
    line = f"{counts['embedded']} embedded, {counts['failed']} failed"
    if kept:
        line += f", {kept.total()} already there"
        line += f" ({n_failed_before} of them failed)" if n_failed_before else ""
    _write_line(line + (f"; written to {display_path(output)}" if output else ""))
    statuses = {name[7:]: n for name, n in sorted(counts.items()) if name.startswith("status ")}
    if statuses:
        _write_line("  " + ", ".join(f"{name}: {n}" for name, n in statuses.items()))
    if wall_s := timing["wall_s"]:
        _write_line(
            f"  {timing['audio_s'] / 3600:.2f} h of audio in {wall_s:.1f} s "
            f"({timing['audio_s'] / wall_s:.0f} x real time): loading {timing['load_s']:.1f} s, "
            f"waiting for decoders {timing['wait_s']:.1f} s, model {timing['model_s']:.1f} s"
        )
    return int(counts["failed"] + n_failed_before > 0)
