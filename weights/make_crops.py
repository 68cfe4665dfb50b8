"""Make a distillation set: stress crops, their log-mel, and two teachers' vectors of them.

    artist-features import-authors model_siamese_10000.h5 authors
    pip download --no-deps musicnn
    python weights/make_crops.py MANIFEST [MORE...] --authors authors --musicnn musicnn.whl \
        --split train --n 200000 --out crops/train

What a crop is stands in stress_crops.py, the format in
artist_features/training/distillation_set.py. Crops of
`train` are of the tracks that training may hear; those of `valid` (6 % of the artists) choose
the best step of a run; those of `test` are the artists that no run hears, and the sources in
domains.csv, which are held out to measure agreement per domain (weights/agreement.py). Killed at
any moment, the same command goes on. Needs the extras [evaluate] and [onnx].
"""

import argparse
import csv
import hashlib
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from stress_crops import StressCrop, StressCrops
from tqdm import tqdm

from artist_features.config import LEVEL_DB, FrontEnd
from artist_features.datasets.names import artist_groups
from artist_features.datasets.tracks import Track
from artist_features.training.cache import AudioCache
from artist_features.training.distillation_set import DistillationSet
from artist_features.training.inputs import read_splits

HERE = Path(__file__).resolve().parent
N_SAMPLE = 128  # patches that decide which of musicnn's filters answer at all


def main() -> None:
    args = parse_args()
    front_end = FrontEnd()
    tracks, sources, domains = select(args.manifests, args.split)
    cache = AudioCache.build([t.path for t in tracks], args.cache, front_end.sample_rate)
    usable = np.flatnonzero(cache.lengths >= front_end.segment_samples)
    facts = {
        "n_crops": args.n,
        "seed": args.seed,
        "split": args.split,
        "level_db": LEVEL_DB,
        "authors_sha256": _sha256(args.authors / "model.weights.h5"),
        "musicnn_sha256": _sha256(args.musicnn),
        "hours": round(float(cache.lengths[usable].sum()) / cache.sample_rate / 3600, 2),
        "tracks": [
            {"artist": t.artist, "title": t.title, "source": source, "domain": domain}
            for t, source, domain in ((tracks[n], sources[n], domains[n]) for n in usable)
        ],
    }
    shape = (front_end.segment_frames, front_end.n_mels)
    crops = DistillationSet.create(args.out, facts, shape, {"authors": 256, "musicnn": 753})
    missing = crops.missing()
    print(f"{args.out}: {len(usable)} tracks, {facts['hours']} h; {len(missing)} blocks to make")
    # unknown artists count by where the music is from
    artists = [t.artist or s for t, s in zip(tracks, sources, strict=True)]
    paths = [tracks[row].path for row in usable]
    work = (paths, [artists[row] for row in usable], args)
    context = multiprocessing.get_context("spawn")
    # not `multiprocessing.Pool`, which starts a process that cannot begin again and again
    with ProcessPoolExecutor(args.processes, context, _start, work) as pool:
        for _ in tqdm(pool.map(_make, missing), "crops", len(missing), unit="block"):
            pass
    print(f"{args.out}: {crops.n} crops")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST")
    parser.add_argument("--authors", type=Path, required=True, help="model folder")
    parser.add_argument("--musicnn", type=Path, required=True, help="musicnn's wheel")
    parser.add_argument("--out", type=Path, required=True, help="folder of the set")
    parser.add_argument("--split", default="train", choices=("train", "valid", "test"))
    parser.add_argument("--n", type=int, default=200_000, help="number of crops")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, required=True, help="prepared audio")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    return parser.parse_args()


def select(manifests: list[Path], split: str) -> tuple[list[Track], list[str], list[str]]:
    """Return the tracks of a split, their sources, and their domains ("" where unnamed)."""
    with open(HERE / "domains.csv", encoding="utf-8", newline="") as lines:
        domains = {(row["source"], row["artist"]): row["domain"] for row in csv.DictReader(lines)}
    listed = read_splits(manifests)
    tracks = listed.tracks
    sources = [track.extra.get("source", "") for track in tracks]
    named = [
        domains.get((source, track.artist), domains.get((source, ""), ""))
        for track, source in zip(tracks, sources, strict=True)
    ]
    group = artist_groups(tracks)
    held = {group[t.artist] for t, domain in zip(tracks, named, strict=True) if domain and t.artist}
    found = []
    for track, own, source, domain in zip(tracks, listed.splits, sources, named, strict=True):
        if domain:
            own = "test"
        elif own == "train" and track.artist and group[track.artist] in held:
            own = "left out"
        if own == split:
            found.append((track, source, domain))
    return tuple(map(list, zip(*found, strict=True)))


def _start(paths: list[Path], artists: list[str], args: argparse.Namespace) -> None:
    """Prepare a process that makes blocks; it maps the audio anew, so that nothing is copied."""
    global _source, _crops, _hear
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import tensorflow as tf
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)  # the processes share the cores already
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    cache = AudioCache.build(paths, args.cache, FrontEnd().sample_rate)
    _source = StressCrops(cache, np.arange(len(paths)), artists, args.seed)
    _crops = DistillationSet(args.out, "r+")
    _hear = Teachers(args.authors, args.musicnn)
    _hear.musicnn.prune(np.concatenate([_patches(_source, n) for n in range(N_SAMPLE)]))


def _make(block: int) -> None:
    rows = _crops.rows(block)
    crops = [_source.crop(number) for number in rows]
    arrays = _hear(crops)
    for name in ("track", "low_pass_hz", "mix_db"):
        arrays[name] = np.array([getattr(crop, name) for crop in crops])
    _crops.write(block, arrays)


def _patches(source: StressCrops, number: int) -> np.ndarray:
    import musicnn

    samples = source.crop(number, (musicnn.SAMPLE_RATE,)).samples[musicnn.SAMPLE_RATE]
    return musicnn.log_mel(samples)[None, : musicnn.PATCH_FRAMES]


class Teachers:
    """The student's log-mel and both teachers' vectors of crops.

    Args:
        authors: model folder of the authors' weights.
        wheel: musicnn's.
    """

    def __init__(self, authors: Path, wheel: Path) -> None:
        import keras
        import musicnn
        import tensorflow as tf

        from artist_features import load_model

        model = load_model(authors)
        mel = model.get_layer("log_mel").output
        self._front_end = FrontEnd()
        self._front = tf.function(keras.Model(model.input, mel).__call__)
        self._authors = tf.function(keras.Model(mel, model.output).__call__)
        self._log_mel, self._frames = musicnn.log_mel, musicnn.PATCH_FRAMES
        self._rate = musicnn.SAMPLE_RATE
        self.musicnn = musicnn.Musicnn(wheel, n_threads=1)

    def __call__(self, crops: list[StressCrop]) -> dict[str, np.ndarray]:
        """Return {"log_mel", "authors", "musicnn": rows} of `StressCrop`s."""
        n_samples = self._front_end.segment_samples
        waveforms = np.stack([c.samples[self._front_end.sample_rate][:n_samples] for c in crops])
        log_mel = self._front(waveforms[..., None]).numpy().astype(np.float16)
        authors = self._authors(log_mel.astype(np.float32), training=False).numpy()
        patches = [self._log_mel(crop.samples[self._rate])[: self._frames] for crop in crops]
        return {"log_mel": log_mel, "authors": authors, "musicnn": self.musicnn(np.stack(patches))}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
