"""The device a model runs on."""

import contextlib
import os

_CALL_ROWS = 16  # segments in one of several calls at once (benchmarks/README.md)


def configure_devices(dedicated=False):
    """Let GPUs take memory as they need it; return the device the model will run on.

    Args:
        dedicated: TensorFlow does nothing but extract in this process. Where there is no
            GPU, and nobody has set its threads, each operation then gets one, and
            `calls_at_once` keep the other cores busy.
    """
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
    if dedicated and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already
            tf.config.threading.set_intra_op_parallelism_threads(1)
    return f"CPU ({usable_cores()} cores)"


def calls_at_once(batch_size):
    """Return how the model is called for a batch: (calls at once, segments in a call).

    On two cores, two calls of one thread each take 0.7 of the time of one call whose
    operations are shared out among two threads (benchmarks/README.md).

    Args:
        batch_size: segments, 1 or more.
    """
    import tensorflow as tf

    if tf.config.threading.get_intra_op_parallelism_threads() != 1:
        return 1, batch_size  # an operation has the cores, or is on a GPU
    n_calls = min(usable_cores(), -(-batch_size // _CALL_ROWS))
    return (n_calls, _CALL_ROWS) if n_calls > 1 else (1, batch_size)


def usable_cores():
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
