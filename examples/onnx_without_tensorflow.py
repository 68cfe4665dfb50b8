"""The vector of `extract` with NumPy, ONNX Runtime, soundfile and soxr alone.

artist-features export siamese --format onnx -o siamese.onnx      # once, with TensorFlow
python examples/onnx_without_tensorflow.py siamese.onnx song.mp3
"""

import sys

import numpy as np
import onnxruntime
import soundfile
import soxr


def extract(session, path, batch_size=8):
    """Return the embedding of a recording, float32 `(256,)`."""
    facts = session.get_modelmeta().custom_metadata_map
    sample_rate, size = int(facts["sample_rate"]), int(facts["segment_samples"])
    pad, hop = int(facts["pad_samples"]), int(facts["segment_hop_samples"])

    samples, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), file_rate, sample_rate, quality="HQ")
    mono = np.pad(mono, pad, mode="reflect")
    mono = np.pad(mono, (0, max(0, size - len(mono))))  # a short clip gives one segment
    segments = np.lib.stride_tricks.sliding_window_view(mono, size)[::hop]
    vectors = [
        session.run(["embedding"], {"waveform": segments[start : start + batch_size]})[0]
        for start in range(0, len(segments), batch_size)
    ]
    return np.concatenate(vectors).mean(axis=0)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    vector = extract(onnxruntime.InferenceSession(sys.argv[1]), sys.argv[2])
    print(*vector)
