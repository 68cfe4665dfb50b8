"""musicnn as its README calls it; its wheel carries the network's weights."""

import librosa
import musicnn
import tensorflow
from musicnn.extractor import extractor

VERSION = "0.1.0"  # the package does not state it


def load():
    """Return (function of a path, what it is)."""

    def embed(path):
        return extractor(path, model="MSD_musicnn", extract_features=True)

    about = "musicnn " + getattr(musicnn, "__version__", VERSION)
    about += ", TensorFlow " + tensorflow.__version__ + ", librosa " + librosa.__version__
    return embed, about + "; MSD_musicnn, segments of 3 s"
