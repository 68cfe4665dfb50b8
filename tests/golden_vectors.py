"""Embeddings of one synthetic clip, kept so that every environment gives the same numbers.

    python tests/golden_vectors.py            # greatest difference of each bundled model, JSON
    python tests/golden_vectors.py --write    # after new weights only

The clip is made of sines and a linear congruential generator, so that it does not depend on
the random numbers of a version of NumPy. It goes the whole way: stereo at 44,100 Hz, mixed,
resampled, two segments, mean.
"""

import argparse
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().with_suffix(".json")
TOLERANCE = 1e-4  # largest difference allowed in any of the 256 numbers
SAMPLE_RATE = 44100
_PACKAGES = ("tensorflow", "keras", "kapre", "numpy", "soxr")


def clip():
    """Return float32 `(308700, 2)`: 7 s of decaying notes over soft noise."""
    n_samples = 7 * SAMPLE_RATE
    t = np.arange(n_samples) / SAMPLE_RATE
    wave = np.zeros((n_samples, 2))
    for number in range(14):
        onset_s = 0.5 * number
        pitch_hz = 110.0 * 2 ** ((7 * number % 25) / 12)
        envelope = np.where(t >= onset_s, np.exp(-4 * np.maximum(t - onset_s, 0)), 0)
        for partial in (1, 2, 3):
            tone = envelope * np.sin(2 * np.pi * partial * pitch_hz * t) / partial
            wave += 0.1 * tone[:, None] * (1.0, 0.6 + 0.1 * partial)
    return (wave + 0.01 * _noise(2 * n_samples).reshape(-1, 2)).astype(np.float32)


def _noise(n_values):
    """Return float64 `(n_values,)` in [-1, 1). Multiplier: Knuth's MMIX."""
    state, values = 1, np.empty(n_values)
    for index in range(n_values):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        values[index] = state / (1 << 63) - 1
    return values


def embeddings(runtime="tensorflow"):
    """Return {name: (sha256 of the weights, float32 `(256,)`)} of the bundled models."""
    from artist_features import extract, list_models

    audio = clip()
    return {
        name: (card.weights_sha256, extract(audio, SAMPLE_RATE, model=name, runtime=runtime))
        for name, card in list_models().items()
    }


def differences(runtime="tensorflow"):
    """Return {name: greatest absolute difference to the file} of the bundled models."""
    golden = json.loads(FILE.read_text(encoding="utf-8"))["models"]
    found = embeddings(runtime)
    if {name: sha256 for name, (sha256, _) in found.items()} != {
        name: model["weights_sha256"] for name, model in golden.items()
    }:
        raise ValueError(
            f"{FILE.name} holds {sorted(golden)} of other weights than the bundled "
            f"{sorted(found)}; write it anew with --write, in the commit of the weights."
        )
    return {
        name: float(np.max(np.abs(vector - golden[name]["embedding"])))
        for name, (_, vector) in found.items()
    }


def write():
    """Write the file of vectors."""
    models = {
        name: {"weights_sha256": sha256, "embedding": [round(float(x), 7) for x in vector]}
        for name, (sha256, vector) in embeddings().items()
    }
    record = {"made_with": {name: version(name) for name in _PACKAGES}, "models": models}
    FILE.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the file")
    if parser.parse_args().write:
        write()
    print(json.dumps(differences()))
