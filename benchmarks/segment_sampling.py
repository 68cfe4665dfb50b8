"""`--segments N`: how much faster it is on whole tracks, and how near its vectors come."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jobs import run_job
from measure import Figure, at_least, interleaved, n_cores, progress
from steadiness import linked
from throughput import decode_pool

from artist_features.evaluation.artists import evaluate_artists, select_tracks
from artist_features.extraction.decode import ReadingOptions, Source, decode_segments
from artist_features.extraction.extractor import Extractor

N_SEGMENTS = 10
_LIMIT_FASTER = 4.0
_FEWER = 3  # of a recording of a minute, about the share that 10 are of 4 minutes


def decode_to_segments(path, front_end, n_segments):
    """Decode, mix, resample and cut one file; keep nothing; return the number of segments."""
    source = Source(path, reading=ReadingOptions(n_segments=n_segments))
    stream = decode_segments(source, front_end)
    return sum(len(segments) for segments in stream)


def speed(paths, model, repeats, n_names):
    """Measure jobs and decoding alone with some segments against all of them.

    Args:
        paths: whole tracks.
        model: name or folder.
        repeats: rounds.
        n_names: each file takes part under so many names, so that starting the decoders
            weighs as little as in a long job.

    Returns:
        list of `Figure`.
    """
    n_workers = n_cores()
    extractor = Extractor(model, n_workers=n_workers, isolated=True)
    variants = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        names = linked(paths, Path(folder), n_names)
        pool = stack.enter_context(decode_pool("processes", n_workers))
        for kind, n_segments in (("all", None), ("some", N_SEGMENTS)):
            columns = [extractor.front_end] * len(names), [n_segments] * len(names)
            variants[f"job, {kind}"] = lambda n_segments=n_segments: run_job(
                names, extractor, n_segments=n_segments
            )
            variants[f"decode, {kind}"] = lambda columns=columns: list(
                pool.map(decode_to_segments, names, *columns)
            )
        rounds = interleaved(variants, repeats)

    def row(what):
        each_ms = [1000 * rounds.median_s(f"{what}, {k}") / len(names) for k in ("all", "some")]
        detail = (
            f"{each_ms[0]:.1f} / {each_ms[1]:.1f} ms a file, {len(names)} files ({len(paths)}, "
            f"each under {n_names} names); {rounds.remark()}"
        )
        return rounds.ratio(f"{what}, all", f"{what}, some"), "x", detail

    whole, unit, detail = row("job")
    alone, _, detail_alone = row("decode")
    return [
        at_least(
            f"4-minute mp3s, whole job, all segments / `--segments {N_SEGMENTS}`",
            whole,
            unit,
            _LIMIT_FASTER,
            detail,
        ),
        Figure(
            f"4-minute mp3s, decoding alone, all / {N_SEGMENTS} segments",
            alone,
            unit,
            detail=detail_alone,
        ),
    ]


def likeness(paths, model):
    """Compare the vectors of some segments of whole tracks with those of all segments.

    Returns:
        list of `Figure`.
    """
    extractor = Extractor(model)
    some = extractor.extract(paths, n_segments=N_SEGMENTS)
    found = cosines(extractor.extract(paths), some)
    return [
        Figure(
            f"whole tracks, cosine of {N_SEGMENTS} segments to all, mean",
            float(found.mean()),
            "",
            detail=f"least {found.min():.4f}, median {np.median(found):.4f}, {len(paths)} tracks",
        )
    ]


def artist_retrieval(library, model, most_artists=None):
    """Score artist retrieval with vectors of all segments and of some.

    Args:
        library: `recordings.Library`.
        model: name or folder.
        most_artists: take only so many.

    Returns:
        list of `Figure`; one without a value where no manifest names the artists.
    """
    name = "artist retrieval, MAP"
    if library.tracks is None:
        return [Figure(name, None, "not measured", detail="needs a manifest with artists")]
    tracks = select_tracks(library.tracks, library.name, limit_artists=most_artists)
    readable = {recording.path: recording.seconds for recording in library.recordings}
    tracks = [track for track in tracks if str(track.path) in readable]
    tracks = select_tracks(tracks)  # an artist may have lost a track
    artists = [track.artist for track in tracks]
    if len(set(artists)) < 2:
        return [Figure(name, None, "not measured", detail="needs two artists with two tracks")]
    paths = [str(track.path) for track in tracks]
    extractor = Extractor(model)
    vectors = {"all": extractor.extract(paths)}
    for n_segments in (N_SEGMENTS, _FEWER):
        progress(f"  {len(paths)} recordings, {n_segments} segments")
        vectors[str(n_segments)] = extractor.extract(paths, n_segments=n_segments)
    seconds = np.array([readable[path] for path in paths])
    about = (
        f"{len(paths)} recordings of {len(set(artists))} artists, median length "
        f"{np.median(seconds):.0f} s"
    )
    figures = []
    for scores in evaluate_artists(vectors, artists):
        detail = about
        if scores.difference is not None:
            gap, found = scores.difference, cosines(vectors["all"], vectors[scores.name])
            detail = (
                f"{gap.estimate:+.4f} to all segments, 95 % interval {gap.low:+.4f} to "
                f"{gap.high:+.4f}; cosine to all segments {found.mean():.4f}, least "
                f"{found.min():.4f}; {about}"
            )
        value = scores.mean_average_precision.estimate
        figures.append(Figure(f"{name}, {scores.name} segments", value, "", detail=detail))
    return figures


def cosines(rows, others):
    """Return the cosine of each row of `(n, dim)` to that of the other, `(n,)`."""
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    return np.sum(rows * others, axis=1) / norms
