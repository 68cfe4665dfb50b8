"""Devices, distribution strategies and precision of training."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

DEVICES = ("auto", "cpu", "gpu")
STRATEGIES = ("none", "mirrored", "multiworker")
PRECISIONS = ("float32", "bfloat16", "float16")


def choose_device(device: str) -> None:
    """Limit TensorFlow to a kind of device, before it has started.

    Args:
        device: "auto" (a GPU where there is one), "cpu" or "gpu".

    Raises:
        ValueError: "gpu" and there is none, or TensorFlow runs already.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise ValueError(
            "--device gpu: TensorFlow sees no GPU. Install `tensorflow[and-cuda]` and check "
            "`nvidia-smi`, or use --device auto."
        )
    if device == "cpu" and gpus:
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            raise ValueError("--device cpu: TensorFlow has started on a GPU already.") from None


def make_strategy(name: str) -> "tf.distribute.Strategy":
    """Return the `tf.distribute.Strategy` of a name.

    Args:
        name: "none": one device; "mirrored": all visible devices of this machine;
            "multiworker": all processes that the variable `TF_CONFIG` names.
    """
    import tensorflow as tf

    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    raise ValueError(f"strategy {name!r}; allowed are {', '.join(STRATEGIES)}.")


def is_chief(strategy: "tf.distribute.Strategy") -> bool:
    """Return whether this process is the one that writes files."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    if resolver.task_type == "chief":
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "worker" and resolver.task_id == 0 and not has_chief


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """Build layers under a dtype policy; the policy before comes back at the end.

    Args:
        name: "float32", "bfloat16" or "float16", the type of the convolutions;
            variables and the front end stay float32.
    """
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
