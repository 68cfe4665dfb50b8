"""Small data sets for the tests of training: artists that can be told apart."""

import csv
import os
import signal

import numpy as np
from conftest import write_audio


class Deaf:
    """Gets a signal where Python loses the exception that it raises."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def artist_track(artist, track, seconds=5.0, sample_rate=22050):
    """Return a few notes in the register and the timbre of an artist, float32 `(n,)`."""
    rng = np.random.default_rng([artist, track])
    t = np.arange(int(seconds * sample_rate)) / sample_rate
    wave = 0.02 * rng.standard_normal(len(t))
    for onset in np.arange(0, seconds, 0.4):
        pitch_hz = 80 * 1.35**artist * 2 ** (rng.integers(0, 7) / 12)
        envelope = np.where(t >= onset, np.exp(-5 * np.maximum(t - onset, 0)), 0)
        for harmonic in range(1, 3 + artist % 3):
            wave += 0.2 / harmonic * envelope * np.sin(2 * np.pi * harmonic * pitch_hz * t)
    return np.clip(wave, -1, 1).astype(np.float32)


def write_data_set(folder, n_artists=6, n_tracks=3, seconds=5.0, splits=None, unlabelled=2):
    """Write tracks and their manifest; return the path of `manifest.csv`.

    `splits` gives each artist's split by number, or None for no such column.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = ["file", "artist", "title"] + (["split"] if splits else [])
    rows = []
    for artist in range(n_artists):
        for track in range(n_tracks):
            name = f"{artist}_{track}.wav"
            write_audio(folder / name, artist_track(artist, track, seconds), 22050)
            row = [name, f"Band {'ABCDEFGHIJKLMNOPQRST'[artist] * 3}", f"Tune {track}"]
            rows.append(row + ([splits[artist]] if splits else []))
    for number in range(unlabelled):
        name = f"unlabelled_{number}.wav"
        write_audio(folder / name, artist_track(number, 99, seconds), 22050)
        rows.append([name, "", "", *(["train"] if splits else [])])
    with open(folder / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "manifest.csv"


# four artists to train on, two to check with
SPLITS = ["train", "train", "train", "train", "valid", "valid"]
