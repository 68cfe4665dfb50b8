"""Exported models beside Keras: size, time, likeness on real recordings; a Markdown table.

python benchmarks/export.py MANIFEST_OR_FOLDER      # below a minute on 2 quiet cores
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measure import device, interleaved, progress
from recordings import Library

from artist_features.export import FORMATS, export_model
from artist_features.export.check import compare
from artist_features.export.formats import run_onnx, run_saved_model, run_tflite
from artist_features.extraction.batching import inference_function
from artist_features.extraction.decode import ReadingOptions, Source, decode_segments
from artist_features.zoo.registry import load_model, read_model

_BATCHES = (1, 64)
_PER_CALL = 16  # segments at once where likeness is measured
_FROM_EACH_S = 6.1  # two segments


def real_segments(place, front_end, n_recordings):
    """Return segments float32 `(n, n_samples)` of the middles of recordings of all artists."""
    artists = Library.open(place).artists
    longest = [recording for group in zip(*artists, strict=False) for recording in group]
    longest += [recording for group in artists for recording in group]
    chosen = list(dict.fromkeys(longest))[:n_recordings]
    segments = []
    for recording in chosen:
        start = max(0.0, recording.seconds / 2 - _FROM_EACH_S)
        source = Source(recording.path, reading=ReadingOptions(start, _FROM_EACH_S))
        segments += decode_segments(source, front_end)
    return np.concatenate(segments), len(chosen)


def runners(model, folder):
    """Export a model in all formats and precisions; return {name: (function, bytes)}."""
    found = {}
    for name, (ending, precisions) in FORMATS.items():
        for precision in precisions:
            progress(f"  {name} {precision}")
            path = Path(folder) / f"{name}_{precision}{ending}"
            done = export_model(model, path, format=name, precision=precision)
            if name == "saved_model":
                run = run_saved_model(path)
            else:
                run = {"onnx": run_onnx, "tflite": run_tflite}[name](path.read_bytes())
            found[f"{name} {precision}"] = run, done.n_bytes
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", metavar="MANIFEST_OR_FOLDER")
    parser.add_argument("--model", default="siamese")
    parser.add_argument("--recordings", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    args = parser.parse_args()
    card, _ = read_model(args.model)
    segments, n_recordings = real_segments(args.place, card.front_end, args.recordings)
    keras_model = inference_function(load_model(args.model))
    with tempfile.TemporaryDirectory() as folder:
        programs = runners(args.model, folder)
        expected = in_parts(lambda x: keras_model(x).numpy(), segments)
        likeness = {
            name: compare(expected, in_parts(run, segments)) for name, (run, _) in programs.items()
        }
        calls = {"keras": lambda x: keras_model(x).numpy()}
        calls |= {name: run for name, (run, _) in programs.items()}
        batches = {n: np.resize(segments, (n, segments.shape[1])) for n in _BATCHES}
        rounds = interleaved(
            {
                (name, n): lambda run=run, n=n: [run(batches[n]) for _ in range(64 // n)]
                for name, run in calls.items()
                for n in _BATCHES
            },
            args.repeats,
        )
    print(f"{device()}; model {args.model}; {len(segments)} segments of {n_recordings} recordings")
    print(f"{rounds.remark()}\n")
    print("| | MB | ms a segment, batch 1 | batch 64 | cosine to Keras: least | mean |")
    print("|---|---|---|---|---|---|")
    for name in calls:
        each_ms = " | ".join(f"{1000 * rounds.median_s((name, n)) / 64:.2f}" for n in _BATCHES)
        if name == "keras":
            print(f"| Keras, as a `tf.function` | | {each_ms} | | |")
            continue
        cosines = likeness[name].cosines
        print(
            f"| {name} | {programs[name][1] / 1e6:.2f} | {each_ms} | {cosines.min():.7f} | "
            f"{cosines.mean():.7f} |"
        )


def in_parts(run, segments):
    """Run all segments, some at a time."""
    starts = range(0, len(segments), _PER_CALL)
    return np.concatenate([run(segments[start : start + _PER_CALL]) for start in starts])


if __name__ == "__main__":
    main()
