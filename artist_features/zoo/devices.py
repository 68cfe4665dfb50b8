"""The device a model runs on."""

import contextlib
import os

_CALL_ROWS = 16  # segments in one of several calls at once (benchmarks/README.md)
_MOST_CALLS = 4  # as many as a batch of 64 has; of more cores several share an operation
_side_by_side = False  # whether `configure_devices` chose the threads of an operation


def configure_devices(dedicated=False):
    """Let GPUs take memory as they need it; return the device the model will run on.

    Args:
        dedicated: TensorFlow does nothing but extract in this process. Where there is no
            GPU, and nobody has set its threads, an operation then gets one (more on more
            than four cores), and `calls_at_once` keep the other cores busy.
    """
    global _side_by_side
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
    threads = tf.config.threading
    chosen = "TF_NUM_INTRAOP_THREADS" in os.environ or threads.get_intra_op_parallelism_threads()
    if dedicated and not chosen:
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already
            threads.set_intra_op_parallelism_threads(-(-usable_cores() // _MOST_CALLS))
            _side_by_side = True
    return f"CPU ({usable_cores()} cores)"


def calls_at_once(batch_size):
    """Return how the model is called for a batch: (calls at once, segments in a call).

    On two cores, two calls of one thread each take 0.8 of the time of one call whose
    operations are shared out among two threads (benchmarks/README.md).

    Args:
        batch_size: segments at once at most, 1 or more.
    """
    import tensorflow as tf

    if not _side_by_side:
        return 1, batch_size  # an operation has the cores, or is on a GPU
    n_threads = tf.config.threading.get_intra_op_parallelism_threads()
    n_calls = min(-(-usable_cores() // n_threads), batch_size // _CALL_ROWS)
    return (n_calls, _CALL_ROWS) if n_calls > 1 else (1, batch_size)


def usable_cores():
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
