"""Lay recorded and synthetic speech over rendered bands.

    python mix.py OUT --n 60 --seed 1

Takes the speech and bands that OUT/manifest.csv lists, and writes OUT/mixes. Mix i depends
on the seed, i and that manifest.
"""

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import soundfile
from store import SAMPLE_RATE, add_rows, read_rows, write_clip


def reverberate(samples, rng):
    """Add a room: decaying noise, mixed in at random."""
    length = rng.uniform(0.2, 1.5)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(int(length * SAMPLE_RATE))
    room = noise * np.exp(-6.9 * np.arange(len(noise)) / len(noise))
    size = 1 << (len(samples) + len(room)).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(room, size), size)[: len(samples)]
    return samples + wet * rng.uniform(0.05, 0.5) * level(samples) / (level(wet) + 1e-9)


def level(samples):
    """RMS of the parts that sound."""
    loud = samples[np.abs(samples) > 0.02 * np.abs(samples).max(initial=0)]
    return float(np.sqrt(np.mean(loud**2))) if len(loud) else 0.0


def lay_over(voice, backing, rng):
    """Mix a voice over a backing at a random level, in a random room."""
    voice = np.pad(voice, (0, max(0, len(backing) - len(voice))))[: len(backing)]
    voice = reverberate(voice, rng)
    gain = 10 ** (rng.uniform(-4, 9) / 20) * level(backing) / (level(voice) + 1e-9)
    return backing + gain * voice


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the corpus folder, its manifest joined")
    parser.add_argument("--n", type=int, default=60, help="number of mixes")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    rows = read_rows(args.out / "manifest.csv")
    voices = [row for row in rows if row["kind"] == "speech"]
    bands = [row for row in rows if row["kind"] == "band"]
    if not voices or not bands:
        raise SystemExit(f"{args.out / 'manifest.csv'} lists no speech or no band; see README.md.")
    for index in range(args.n):
        rng = random.Random(f"mix:{args.seed}:{index}")
        voice, band = rng.choice(voices), rng.choice(bands)
        name = f"{args.seed}-{index:04d}.ogg"
        if (args.out / "mixes" / name).exists():
            continue
        parts = [soundfile.read(args.out / row["file"])[0] for row in (voice, band)]
        samples = lay_over(*parts, rng)
        peak = rng.uniform(0.4, 0.95)
        seconds = write_clip(args.out / "mixes" / name, samples, SAMPLE_RATE, peak=peak)
        row = {"file": name, "artist": "", "title": f"{band['title']}, {voice['title']}"}
        row |= {"seconds": f"{seconds:.1f}", "kind": "mix"}
        row |= {key: f"{band[key]} + {voice[key]}" for key in ("licence", "source")}
        add_rows(args.out / "mixes" / "manifest.csv", [row])
    print(f"{args.n} mixes in {args.out / 'mixes'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
