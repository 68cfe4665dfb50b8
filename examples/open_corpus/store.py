"""Store clips as mono Ogg Vorbis and list them in a manifest."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 22050  # Hz, of every stored file
COLUMNS = ("file", "artist", "title", "seconds", "licence", "source", "kind")


def write_clip(path, samples, sample_rate, *, peak=None):
    """Write a clip as mono 22,050 Hz Ogg Vorbis and return its length in seconds.

    Args:
        path: of the file; folders are made. It appears whole or not at all.
        samples: float array `(n_samples,)` or `(n_samples, n_channels)`.
        sample_rate: of `samples`, Hz.
        peak: If given, scale the clip to this absolute maximum; else only clip at 1.
    """
    samples = np.asarray(samples, "float32")
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if sample_rate != SAMPLE_RATE:
        samples = soxr.resample(samples, sample_rate, SAMPLE_RATE)
    loudest = float(np.abs(samples).max(initial=0))
    if peak and loudest:
        samples = samples * (peak / loudest)
    samples = np.clip(samples, -0.99, 0.99)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    form = {"format": "OGG", "subtype": "VORBIS"}
    with soundfile.SoundFile(partial, "w", SAMPLE_RATE, 1, **form) as sound:
        for first in range(0, len(samples), SAMPLE_RATE):  # one long write overflows its stack
            sound.write(samples[first : first + SAMPLE_RATE])
    os.replace(partial, path)
    return len(samples) / SAMPLE_RATE


def read_rows(path):
    """Read a manifest's rows as dicts; an absent manifest has none."""
    if not Path(path).is_file():
        return []
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def write_rows(path, rows):
    """Write a manifest atomically, rows in the order of their files."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(sorted(rows, key=lambda row: row["file"]))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f"{path}.part")
    partial.write_text(text.getvalue(), encoding="utf-8")
    os.replace(partial, path)


def add_rows(path, rows):
    """Add rows to a manifest; a row replaces the older one of the same file."""
    merged = {row["file"]: row for row in read_rows(path)}
    merged.update((row["file"], row) for row in rows)
    write_rows(path, merged.values())
