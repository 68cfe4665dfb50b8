"""Lay out the whole files of which a corpus holds excerpts, for a distillation set.

    python weights/whole_files.py MANIFEST OUT --packages-dir DEBS --clones CLONES

Each row of MANIFEST names where its excerpt is from in `source`: `debian:PACKAGE`, downloaded into
DEBS, or `github:OWNER/NAME`, of which CLONES/OWNER+NAME is a clone, bare or not. An excerpt is
found in the files of its source by the sound alone: the cross-correlation of both waveforms,
normalised, has a peak near 1 at the place where it was cut. OUT/manifest.csv has a row for each
excerpt with its artist, title, licence and source, and the middle --seconds of the whole file (Ogg
Vorbis, mono, 22,050 Hz), or the excerpt itself where no longer file was found; make_crops.py takes
it in place of MANIFEST.
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import soxr
from scipy.signal import oaconvolve
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "open_corpus"))
import build
import store

SUFFIXES = (".ogg", ".oga", ".mp3", ".wav", ".flac", ".opus")
LOW_RATE = 2756  # Hz at which waveforms are compared: an eighth of the stored rate
LEAST_PEAK = 0.8  # of the correlation; other places of the same piece stay under .5
LEAST_GAIN = 5.0  # seconds by which a file has to be longer than its excerpt


def main() -> None:
    args = parse_args()
    by_source: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in store.read_rows(args.manifest / "manifest.csv"):
        by_source[row["source"]].append(row)
    done = {row["source"] for row in store.read_rows(args.out / "manifest.csv")}
    n_whole, left = 0, []
    for source, rows in tqdm(by_source.items(), "sources", unit="source"):
        if source in done:
            continue
        try:
            # of what was rendered from notes the source has no sound
            recorded = [row for row in rows if row.get("kind") != "rendered"]
            found = whole_files(source, recorded, args) if recorded else {}
        except (build.PackageError, OSError, subprocess.CalledProcessError) as error:
            found = {}
            left.append(f"{source}: {error}")
        n_whole += len(found)
        own = [row | {"file": str((args.manifest / row["file"]).resolve())} for row in rows]
        store.add_rows(
            args.out / "manifest.csv",
            [found.get(row["file"], old) for row, old in zip(rows, own, strict=True)],
        )
    print(f"{args.out}: {n_whole} whole files")
    print(*left, sep="\n", file=sys.stderr)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, help="corpus: a folder with manifest.csv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--packages-dir", type=Path, required=True, metavar="DEBS")
    parser.add_argument("--clones", type=Path, required=True, metavar="CLONES")
    parser.add_argument("--seconds", type=float, default=240.0, help="kept of each file")
    return parser.parse_args()


def whole_files(
    source: str, rows: list[dict[str, str]], args: argparse.Namespace
) -> dict[str, dict[str, str]]:
    """Store the whole files of a source's excerpts; return {excerpt: row of the new manifest}."""
    excerpts = {row["file"]: _low_rate(build.decode(args.manifest / row["file"])) for row in rows}
    by_name = {row["file"]: row for row in rows}
    best: dict[str, tuple[float, str]] = {}  # (peak, path) of an excerpt
    with tempfile.TemporaryDirectory() as folder:
        unpack(source, Path(folder), args)
        paths = (path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
        for path in sorted(paths):
            try:
                whole = _low_rate(build.decode(path))
            except RuntimeError:  # libsndfile's: no audio, damaged, or a format it lacks
                continue
            for name, excerpt in excerpts.items():
                if len(whole) < len(excerpt) + LEAST_GAIN * LOW_RATE:
                    continue
                peak = correlation_peak(whole, excerpt)
                if peak >= LEAST_PEAK and peak > best.get(name, (0.0, ""))[0]:
                    best[name] = (peak, str(path))
        found = {}
        for excerpt, (_, path) in best.items():
            row = by_name[excerpt]
            name = f"{source.partition(':')[2].replace('/', '+')}/{Path(row['file']).stem}.ogg"
            samples = build.decode(Path(path), args.seconds)
            length = store.write_clip(args.out / name, samples, store.SAMPLE_RATE)
            found[excerpt] = row | {"file": name, "seconds": f"{length:.1f}"}
    return found


def unpack(source: str, folder: Path, args: argparse.Namespace) -> None:
    """Write the sound files of a Debian package or of a clone's newest commit to a folder."""
    place, _, name = source.partition(":")
    if place == "debian":
        deb = build.find_package(name, args.packages_dir)
        build.unpack(deb, lambda path: path.lower().endswith(SUFFIXES), folder)
        return
    clone = args.clones / name.replace("/", "+")
    git = ["git", "-C", str(clone)]
    listed = subprocess.run([*git, "ls-tree", "-rz", "HEAD"], capture_output=True, check=True)
    for line in listed.stdout.decode().split("\0"):
        facts, _, path = line.partition("\t")
        if path.lower().endswith(SUFFIXES):
            blob = subprocess.run(
                [*git, "cat-file", "blob", facts.split()[2]], capture_output=True, check=False
            )
            if blob.returncode == 0:  # a partial clone lacks some files
                target = folder / path.replace("/", "__")
                target.write_bytes(blob.stdout)


def correlation_peak(whole: np.ndarray, excerpt: np.ndarray) -> float:
    """Return the largest normalised cross-correlation of an excerpt with places of a waveform."""
    products = oaconvolve(whole, excerpt[::-1], mode="valid")
    sums = np.concatenate([[0.0], np.cumsum(whole.astype(np.float64) ** 2)])
    energy = sums[len(excerpt) :] - sums[: -len(excerpt)]
    loud = energy > 1e-4 * energy.max(initial=0.0)
    norm = np.linalg.norm(excerpt)
    if not norm or not loud.any():
        return 0.0
    return float((products[loud] / np.sqrt(energy[loud])).max() / norm)


def _low_rate(samples: np.ndarray) -> np.ndarray:
    return soxr.resample(samples, store.SAMPLE_RATE, LOW_RATE)


if __name__ == "__main__":
    main()
