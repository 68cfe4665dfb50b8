"""`duplicates` on made copies of real tracks: recall by kind, false groups, time and memory.

    python benchmarks/duplicates.py WORK FOLDER...            # needs ffmpeg; keeps files in WORK
    python benchmarks/duplicates.py WORK FOLDER... --fpcalc   # beside chromaprint's fpcalc
    python benchmarks/duplicates.py WORK --rows 1000000       # candidate step, synthetic vectors

Groups that hold several tracks are printed: hear whether they are the same performance.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measure import device, n_cores, progress
from search import peak_mb

from artist_features.audio.formats import AUDIO_ENDINGS
from artist_features.search.duplicates import (
    LEAST_AGREEMENT,
    MOST_SHIFT_S,
    Duplicates,
    _agreement,
    _read,
    candidate_pairs,
    find_duplicates,
)
from artist_features.search.embedding_tables import Embeddings, read_embeddings
from artist_features.search.index import Index
from artist_features.search.lookup import indexed_query
from artist_features.search.result_filter import ResultFilter

DIM = 256
_CD = ["-ar", "44100", "-ac", "2"]
_BER_LAGS = 85  # of fpcalc's 0.124 s: 10.5 s


def kinds(random_):
    """Return {kind: (ffmpeg options before the input, after it, ending)}."""
    starts = [
        ["-ss", f"{random_.uniform(*range_):.3f}"] for range_ in ((0.5, 5), (0.5, 5), (5, 10))
    ]
    return {
        "FLAC 44.1 kHz": ([], [*_CD, "-c:a", "flac"], "flac"),
        "mp3 64k": ([], [*_CD, "-c:a", "libmp3lame", "-b:a", "64k"], "mp3"),
        "mp3 128k": ([], [*_CD, "-c:a", "libmp3lame", "-b:a", "128k"], "mp3"),
        "ogg q1": ([], [*_CD, "-c:a", "libvorbis", "-q:a", "1"], "ogg"),
        "aac 96k": ([], [*_CD, "-c:a", "aac", "-b:a", "96k"], "m4a"),
        "-9 dB": ([], ["-af", "volume=-9dB", "-c:a", "flac"], "flac"),
        "+6 dB, clipped": (
            *([], ["-af", "volume=6dB", "-sample_fmt", "s16", "-c:a", "flac"], "flac"),
        ),
        "starts 0.5-5 s later": (starts[0], [*_CD, "-c:a", "flac"], "flac"),
        "the same, mp3 96k": (starts[1], [*_CD, "-c:a", "libmp3lame", "-b:a", "96k"], "mp3"),
        "starts 5-10 s later": (starts[2], [*_CD, "-c:a", "flac"], "flac"),
        "2 s of silence first": (
            *([], ["-af", "adelay=2130:all=1", *_CD, "-c:a", "libmp3lame", "-b:a", "128k"], "mp3"),
        ),
        "16 kHz": ([], ["-ar", "16000", "-c:a", "flac"], "flac"),
    }


def main():
    args = parse_args()
    if args.rows:
        print(f"{device()}\n\n{synthetic(args.rows)}")
        return
    tracks = sorted(p for f in args.folders for p in f.rglob("*") if p.suffix in AUDIO_ENDINGS)
    chosen = random.Random(args.seed).sample(range(len(tracks)), args.copied)
    with ThreadPoolExecutor(n_cores()) as pool:
        made = pool.map(lambda number: copy(number, tracks[number], args.work), chosen)
        copies = dict(itertools.chain.from_iterable(made))
    table = vectors(args.work, tracks, list(copies))
    paths = [track.path for track in table.tracks]
    origin = {str(path.resolve()): n for n, path in enumerate(tracks)}
    origin |= {str(path.resolve()): n for path, (n, _) in copies.items()}
    kind_of = {str(path.resolve()): kind for path, (_, kind) in copies.items()}
    before_mb, started = peak_mb(), time.perf_counter()
    found = find_duplicates(table.vectors, table.tracks)
    seconds = time.perf_counter() - started
    print(f"{device()}; {len(tracks)} tracks, {len(copies)} copies of {len(chosen)} of them\n")
    print(
        f"{seconds:.0f} s, {found.n_compared} pairs compared, {len(found.unreadable)} unreadable, "
        f"memory grew from {before_mb:.0f} MB to {peak_mb():.0f} MB\n"
    )
    report_recall(found, table, origin, kind_of)
    compare(args, table, paths, origin, kind_of)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, metavar="WORK", help="folder for copies and vectors")
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER", help="of tracks")
    parser.add_argument("--copied", type=int, default=30, help="tracks that are copied")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of those tracks")
    parser.add_argument("--fpcalc", action="store_true", help="fpcalc is on the PATH")
    parser.add_argument("--rows", type=int, default=0)
    return parser.parse_args()


def copy(number, track, work):
    """Make the copies of a track; return [(path, (number, kind))]."""
    folder = work / "copies" / f"{number:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for kind, (before, after, ending) in kinds(random.Random(number)).items():
        path = folder / f"{kind}.{ending}"
        if not path.exists():
            partial = folder.parent / f"partial {number}.{ending}"
            command = ["ffmpeg", "-v", "error", "-y", *before, "-i", track, *after, partial]
            subprocess.run(command, check=True)
            partial.rename(path)
        made.append((path, (number, kind)))
    return made


def vectors(work, tracks, copies):
    """Return the `Embeddings` of all files, which are kept."""
    for name, files in (("tracks", tracks), ("copies", copies)):
        if not (work / f"{name}.npz").exists():
            (work / f"{name}.txt").write_text("\n".join(map(str, files)))
            command = ["artist-features", "extract", f"@{work / name}.txt"]
            subprocess.run([*command, "-o", str(work / f"{name}.npz")], check=True)
    return read_embeddings([work / "tracks.npz", work / "copies.npz"])


def report_recall(
    found: Duplicates, table: Embeddings, origin: dict[str, int], kind_of: dict[str, str]
) -> None:
    """Print how many copies each command knows, by kind; then the groups of several tracks."""
    paths = [track.path for track in table.tracks]
    index = Index.build(table.vectors, table.tracks, table.made_with)
    group_of = {copy.path: n for n, group in enumerate(found.groups) for copy in group}
    track_of = {origin[path]: path for path in paths if path not in kind_of}
    grouped, left_out = defaultdict(list), defaultdict(list)
    for path, kind in kind_of.items():
        track, number = track_of[origin[path]], group_of.get(path)
        grouped[kind].append(number is not None and number == group_of.get(track))
        query = indexed_query(index, index.row_of(track))
        left_out[kind].append(ResultFilter(index, [query], files=False)(index.row_of(path)))
    for hits in (grouped, left_out):
        hits["all"] = [*itertools.chain(*hits.values())]
    print("| copy | of | `duplicates` groups it | `similar` leaves it out |\n|---|---|---|---|")
    for kind, hits in grouped.items():
        print(f"| {kind} | {len(hits)} | {sum(hits)} | {sum(left_out[kind])} |")
    print("\nGroups of several tracks:")
    for group in found.groups:
        if len({origin[copy.path] for copy in group}) > 1:
            print([(copy.path, copy.similarity) for copy in group if copy.path not in kind_of])


def compare(args, table, paths, origin, kind_of):
    """Print agreement of copies with their tracks, and of candidates that are other tracks."""
    rows = {path: row for row, path in enumerate(paths)}
    track_of = {origin[path]: path for path in paths if path not in kind_of}
    own = [(rows[track_of[origin[path]]], rows[path]) for path in kind_of]
    lengths_s = np.array([track.duration_s for track in table.tracks])
    candidates = candidate_pairs(table.vectors, lengths_s, 1 + MOST_SHIFT_S)
    pairs = [pair for _, found in candidates for pair in found]
    other = [pair for pair in pairs if origin[paths[pair[0]]] != origin[paths[pair[1]]]]
    n_far = len({frozenset(pair) for pair in own} - {frozenset(pair) for pair in pairs})
    print(f"\n{n_far} copies are no candidates with their track")
    tracks = table.tracks
    columns = "fingerprint", "s of CPU a file", "copies: least", "1 %", "median", "others: most"
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    methods = {"ours": (lambda row: _read(tracks[row]), lambda a, b: _agreement(a, b, 1.0)[0])}
    if args.fpcalc:
        methods["fpcalc"] = (lambda row: fpcalc(paths[row]), agreement_of_fpcalc)
    for name, (read, agree) in methods.items():
        started = time.process_time() + children_s()
        prints = {row: read(row) for row in sorted({row for pair in own + other for row in pair})}
        cpu_s = (time.process_time() + children_s() - started) / len(prints)
        copied = np.array([agree(prints[a], prints[b]) for a, b in own])
        others = sorted((float(agree(prints[a], prints[b])), a, b) for a, b in other)[::-1]
        low, one, median = np.quantile(copied, [0, 0.01, 0.5])
        most = ", ".join(f"{value:.3f}" for value, _, _ in others[:8])
        print(f"| {name} | {cpu_s:.3f} | {low:.3f} | {one:.3f} | {median:.3f} | {most} |")
        for value, a, b in others[:8]:
            progress(f"{name} {value:.3f} {paths[a]} {paths[b]}")
    print(f"\n{len(own)} copies, {len(other)} pairs of others; {LEAST_AGREEMENT} makes a copy.")


def children_s():
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fpcalc(path):
    """Return chromaprint's fingerprint: uint32 `(n,)`, one each 0.124 s."""
    command = ["fpcalc", "-raw", "-json", "-length", "120", path]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return np.array(json.loads(text)["fingerprint"], np.uint32)


def agreement_of_fpcalc(a, b):
    """Return 1 - 2 * bit error rate at the best lag, with 5 s in common."""
    best = 0.0
    for lag in range(-_BER_LAGS, _BER_LAGS + 1):
        first, second = a[max(lag, 0) :], b[max(-lag, 0) :]
        n = min(len(first), len(second))
        if n >= 40:
            different = np.unpackbits((first[:n] ^ second[:n]).view(np.uint8)).mean()
            best = max(best, 1 - 2 * different)
    return best


def synthetic(n):
    """Search candidates among vectors of 2 to 6 minutes; return seconds and memory as text."""
    random_ = np.random.default_rng(0)
    rows = np.empty((n, DIM), np.float32)
    mixing = random_.standard_normal((DIM, DIM), np.float32)
    for start in range(0, n, 50_000):
        block = random_.standard_normal((min(50_000, n - start), DIM), np.float32)
        rows[start : start + len(block)] = np.maximum(block @ mixing, 0)
    lengths_s = random_.uniform(120, 360, n)
    started, done = time.perf_counter(), 0
    for number, (block, _) in enumerate(candidate_pairs(rows, lengths_s, 1 + MOST_SHIFT_S)):
        done += len(block)
        seconds = time.perf_counter() - started
        text = f"{seconds:.0f} s, {peak_mb() - rows.nbytes / 1e6:.0f} MB beside the vectors"
        if number % 20 == 0:
            progress(f"{done} rows, {text}")
    return f"{n} x {DIM}: {text}"


if __name__ == "__main__":
    sys.exit(main())
