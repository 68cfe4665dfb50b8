"""Where the time of one file goes, stage by stage, on one core.

Each stage is the difference of two runs that share all stages before it, so that only
public functions of the package are timed and nothing is measured out of its place. CPU
time of one core, so that other programs on the machine change little.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
from measure import interleaved, progress

STAGES = ("decode", "mix, check", "resample", "segment", "model")


def table(files, model, repeats):
    """Measure on one core, in a process of its own, because TensorFlow counts cores once.

    Args:
        files: {encoding: paths}.
        model: for `Extractor`.
        repeats: rounds.

    Returns:
        {encoding: {stage: milliseconds of one file}}.
    """
    groups = {name: [str(path) for path in paths] for name, paths in files.items()}
    command = [sys.executable, __file__, "--model", str(model), "--repeats", str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command,
        input=json.dumps(groups),
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _measure(groups, model, repeats):
    from artist_features.extraction.batching import inference_function
    from artist_features.extraction.extractor import Extractor

    extractor = Extractor(model)
    embed = inference_function(extractor.model)
    stages = {}
    for name, paths in groups.items():
        progress(f" {name}")
        variants = _variants(paths, extractor, embed)
        rounds = interleaved(variants, repeats, time.process_time)
        n_files = len(paths)
        each_ms = {key: 1000 * rounds.median_s(key) / n_files for key in variants}
        values = [each_ms[key] for key in ("decode", "mix", "resample", "segment")]
        differences = [values[0], *np.diff(values), each_ms["model"]]
        stages[name] = dict(zip(STAGES, map(float, differences), strict=True))
    return stages


def _variants(paths, extractor, embed):
    from artist_features.audio.containers import identify
    from artist_features.audio.decoders import WHOLE, SoundFileDecoder
    from artist_features.audio.stream import open_file
    from artist_features.extraction.decode import Source, decode_segments

    front_end = extractor.front_end
    rates, segments = {}, {}
    for path in paths:
        with open_file(path, target_rate=front_end.sample_rate) as stream:
            rates[path] = stream.sample_rate
        segments[path] = np.concatenate(list(decode_segments(Source(path), front_end)))
    # one batch of many files, as the pipeline does it
    rows = np.concatenate(list(segments.values()))
    batches = [
        rows[start : start + extractor.batch_size]
        for start in range(0, len(rows), extractor.batch_size)
    ]

    def decode():
        for path in paths:
            fd = os.open(path, os.O_RDONLY)
            container = identify(fd, os.fstat(fd).st_size, path)
            for _ in SoundFileDecoder(fd, container, path).blocks(WHOLE):
                continue
            os.close(fd)

    def read(target_rate):
        for path in paths:
            for _ in open_file(path, target_rate=target_rate or rates[path]):
                continue

    def segment():
        for path in paths:
            for _ in decode_segments(Source(path), front_end):
                continue

    def run_model():
        for batch in batches:
            embed(batch).numpy()

    return {
        "decode": decode,
        "mix": lambda: read(None),
        "resample": lambda: read(front_end.sample_rate),
        "segment": segment,
        "model": run_model,
    }


def main():
    """Read {encoding: paths} as JSON from standard input; write {encoding: {stage: ms}}."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--repeats", type=int, required=True)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(_measure(json.load(sys.stdin), args.model, args.repeats)))


if __name__ == "__main__":
    main()
