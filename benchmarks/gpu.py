"""Benchmark of a GPU: golden vectors, segments per second, a whole job, a training step.

    python benchmarks/gpu.py               # some minutes; writes docs/gpu.md if there is a card
    python benchmarks/gpu.py --dry-run     # the same on a few segments, on any machine; only prints

Models run on noise of one batch, warmed, compiled by `tf.function` as in extraction. Memory is
TensorFlow's own count of the card's, of the greatest moment. The job is `artist-features extract`
of flac files of 30 s, with as many decoders as cores (16 at most).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soundfile
from measure import device, n_cores, progress

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gpu.md"
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
BATCH_SIZES = (64, 256, 1024, 4096)
N_FILES, FILE_S, MOST_DECODERS = 400, 30, 16


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="few segments; write nothing")
    args = parser.parse_args()
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    if not (cards or args.dry_run):
        print("TensorFlow sees no card here; --dry-run tries the commands.", file=sys.stderr)
        return 1
    names = [tf.config.experimental.get_device_details(card)["device_name"] for card in cards]
    dry = args.dry_run
    parts = [
        "# On a graphics card",
        f"Written by `python benchmarks/gpu.py`. {device()}; {', '.join(names) or 'no card'}.",
        golden(),
        model_speeds(BATCH_SIZES[:1] if dry else BATCH_SIZES, 1 if dry else 20),
        job(4 if dry else N_FILES),
        training(1 if dry else 50),
    ]
    page = "\n\n".join(parts) + "\n"
    print(page)
    if cards and not dry:
        PAGE.write_text(page, encoding="utf-8")
    return 0


def golden() -> str:
    """Compare the bundled models' embeddings of tests/golden_vectors.json."""
    sys.path.insert(0, str(ROOT / "tests"))
    import golden_vectors

    found = golden_vectors.differences()
    text = ", ".join(f"`{name}` {difference:.1e}" for name, difference in found.items())
    return (
        f"Greatest difference to the golden vectors: {text} (allowed {golden_vectors.TOLERANCE:g})."
    )


def model_speeds(batch_sizes: Sequence[int], repeats: int) -> str:
    """Return the table of segments a second by precision and segments in a call."""
    lines = [
        "| precision | segments in a call | segments/s | peak MB | least cosine to float32 |",
        "|---|---|---|---|---|",
    ]
    exact = {}  # by batch size
    for policy in POLICIES:
        for n_rows in batch_sizes:
            progress(f"{policy}, {n_rows} segments in a call")
            rows, seconds, peak = embed_noise(policy, n_rows, repeats)
            lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(
                exact.setdefault(n_rows, rows), axis=1
            )
            cosine = ((rows * exact[n_rows]).sum(1) / lengths).min()
            lines.append(
                f"| {policy} | {n_rows} | {n_rows / seconds:,.0f} | {peak} | {cosine:.5f} |"
            )
    return "\n".join(lines)


def embed_noise(policy: str, n_rows: int, repeats: int) -> tuple[np.ndarray, float, str]:
    """Return (embeddings float32 `(n_rows, dim)`, median seconds of a call, peak MB as text)."""
    import keras
    import tensorflow as tf

    from artist_features import load_model
    from artist_features.extraction.batching import inference_function

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = load_model("siamese")
    finally:
        keras.config.set_dtype_policy(before)
    on_card = bool(tf.config.list_physical_devices("GPU"))
    if on_card:
        tf.config.experimental.reset_memory_stats("GPU:0")
    noise = np.random.default_rng(0).normal(0, 0.1, (n_rows, model.input_shape[1]))
    batch = tf.constant(noise, tf.float32)
    embed, seconds = inference_function(model), []
    rows = embed(batch).numpy()
    for _ in range(repeats):
        started = time.perf_counter()
        rows = embed(batch).numpy()
        seconds.append(time.perf_counter() - started)
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] if on_card else None
    return rows.astype(np.float32), statistics.median(seconds), f"{peak / 1e6:,.0f}" if peak else ""


def job(n_files: int) -> str:
    """Return one sentence on `artist-features extract` of many files, by TensorFlow."""
    n_decoders = min(MOST_DECODERS, n_cores())
    progress(f"a job of {n_files} files with {n_decoders} decoders")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(n_files):
            noise = rng.normal(0, 0.1, (FILE_S * 44100, 2))
            soundfile.write(folder / f"{number}.flac", noise, 44100)
        words = [sys.executable, "-m", "artist_features", "extract", folder, "--quiet"]
        words += ["--runtime", "tensorflow", "--workers", n_decoders, "-o", folder / "out.npz"]
        started = time.perf_counter()
        subprocess.run(list(map(str, words)), check=True, env=dict(os.environ))
        seconds = time.perf_counter() - started
    return (
        f"A job of {n_files} stereo flac files of {FILE_S} s with {n_decoders} decoders, start of "
        f"TensorFlow included: {seconds:.1f} s, {n_files * FILE_S / seconds:,.0f} x real time."
    )


def training(n_steps: int) -> str:
    """Return one sentence on a training step and its input pipeline (benchmarks/training.py)."""
    progress(f"{n_steps} training steps")
    words = [sys.executable, str(Path(__file__).with_name("training.py"))]
    words += ["--steps", str(n_steps), "--rounds", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    name, measured = done.stdout.splitlines()[-1].strip("| ").split(" | ")[:2]
    return f"{name}: {measured}."


if __name__ == "__main__":
    sys.exit(main())
