"""A model as a SavedModel folder, with Kapre's own layers, and how it is run."""

import errno
import json
from pathlib import Path

import tensorflow as tf

# SavedModel's place for the files of others
FACTS_FILE = "assets.extra/artist_features.json"


def write_saved_model(folder, model, spec, facts):
    """Write a model as a SavedModel.

    Args:
        folder: path, made if missing.
        model: `keras.Model` from `models.backbone()`.
        spec: `tf.TensorSpec` of a waveform `(batch, n_samples)`.
        facts: {name: text}, written to `assets.extra/artist_features.json`.

    Raises:
        OSError: it cannot be written.
    """
    module = tf.Module(name="artist_features")
    module.weights = [variable.value for variable in model.variables]  # so that tf finds them

    @tf.function(input_signature=[spec])
    def embed(waveform):
        return {"embedding": model(waveform[..., tf.newaxis], training=False)}

    module.serve = embed
    try:
        tf.saved_model.save(module, str(folder), signatures={"serving_default": embed})
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, error.message) from None
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, error.message) from None
    path = Path(folder) / FACTS_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def run_saved_model(folder):
    """Return a function of float32 `(batch, n_samples)` that runs a folder."""
    loaded = tf.saved_model.load(str(folder))
    embed = loaded.signatures["serving_default"]

    def run(waveform, _owner=loaded):  # its variables live as long as it does
        return embed(waveform=tf.constant(waveform))["embedding"].numpy()

    return run
