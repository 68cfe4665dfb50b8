"""Essentia's MusiCNN path: `MonoLoader` at 16 kHz, then the network, as its manual has it.

The network's file is a download. Without it, or the one that `freeze_musicnn.py` writes, in
the environment variable ESSENTIA_MUSICNN, decoding, resampling and log-mel are run alone.
"""

import os

import essentia
import essentia.standard as es

SAMPLE_RATE, FRAME, HOP = 16000, 512, 256
PATCH_FRAMES = 187  # 3 s; no overlap, as in this package and in musicnn
RESAMPLE_QUALITY = 4  # the fastest, which Essentia's examples take

essentia.log.infoActive = False


def load():
    """Return (function of a path, what it is)."""
    graph = os.environ.get("ESSENTIA_MUSICNN")
    about = "essentia " + essentia.__version__
    if graph:
        # the wheel's graph has a second input: whether it is being trained
        predict = es.TensorflowPredictMusiCNN(
            graphFilename=graph, isTrainingName="model/Placeholder_1", patchHopSize=PATCH_FRAMES
        )
        return lambda path: predict(_samples(path)), about + "; MSD_musicnn, segments of 3 s"
    log_mel = es.TensorflowInputMusiCNN()

    def front_end(path):
        frames = es.FrameGenerator(_samples(path), frameSize=FRAME, hopSize=HOP)
        return [log_mel(frame) for frame in frames]

    return front_end, about + "; decoding, resampling and log-mel alone, without a network"


def _samples(path):
    loader = es.MonoLoader(filename=path, sampleRate=SAMPLE_RATE, resampleQuality=RESAMPLE_QUALITY)
    return loader()
