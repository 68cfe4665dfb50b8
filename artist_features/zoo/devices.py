"""The device a model runs on."""

import os


def configure_devices():
    """Let GPUs take memory as they need it; return the device the model will run on."""
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except (RuntimeError, ValueError):
            break  # TensorFlow runs already, or the GPU is split: its owner has decided
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
        return f"GPU 0 ({name})"
    return f"CPU ({usable_cores()} cores)"


def usable_cores():
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
