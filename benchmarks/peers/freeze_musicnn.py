"""Write the musicnn wheel's network as one frozen graph that Essentia can run.

    PYTHON37 benchmarks/peers/freeze_musicnn.py musicnn.pb

Runs where musicnn does (TensorFlow 1). Essentia's own model files are downloads; the wheel
carries the same network with the same training (MSD_musicnn).
"""

import os
import sys

import musicnn
import tensorflow as tf
from musicnn import configuration, models

MODEL = "MSD_musicnn"
PATCH_FRAMES = 187  # 3 s, as Essentia cuts them
OUTPUT = "model/Sigmoid"


def main():
    """Restore the checkpoint into the graph, turn variables into constants, write it."""
    tf.compat.v1.disable_eager_execution()
    with tf.compat.v1.name_scope("model"):
        shape = [None, PATCH_FRAMES, configuration.N_MELS]
        log_mel = tf.compat.v1.placeholder(tf.float32, shape)
        is_training = tf.compat.v1.placeholder(tf.bool)
        n_tags = len(configuration.MSD_LABELS)
        logits = models.define_model(log_mel, is_training, MODEL, n_tags)[0]
        tf.nn.sigmoid(logits)
    with tf.compat.v1.Session() as session:
        folder = os.path.join(os.path.dirname(musicnn.__file__), MODEL, "")
        tf.compat.v1.train.Saver().restore(session, folder)
        definition = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, session.graph_def, [OUTPUT]
        )
    with open(sys.argv[1], "wb") as file:
        file.write(definition.SerializeToString())


if __name__ == "__main__":
    main()
