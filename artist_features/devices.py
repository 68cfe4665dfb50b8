"""Set up TensorFlow's devices and threads; check Keras' backend; defer signals, detect forks."""

import contextlib
import importlib.util
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from artist_features.errors import ModelError

_CALL_ROWS = 16  # segments in one of several calls at once (benchmarks/README.md)
_MOST_CALLS = 4  # as many as a batch of 64 has; of more cores several share an operation
# what artist-features installs and artist-features-lite leaves out
_NOT_IN_LITE = ("tensorflow", "keras", "kapre", "h5py", "sklearn", "scipy")
_used_by: int | None = None  # process id of the process that has used a model
_side_by_side = False  # whether `configure_devices` chose the threads of an operation


def configure_devices(dedicated: bool = False) -> str:
    """Let GPUs take memory as they need it, and name the device the model will run on.

    Args:
        dedicated: TensorFlow does nothing but extract in this process. Where there is no
            GPU, and nobody has set its threads, an operation then gets one (more on more
            than four cores), and `calls_at_once` keep the other cores busy.

    Raises:
        RuntimeError: see `refuse_fork`.
    """
    global _side_by_side, _used_by
    refuse_fork()
    _used_by = os.getpid()
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


def refuse_fork() -> None:
    """Raise in a forked child of a process that has used TensorFlow, which would hang there.

    Raises:
        RuntimeError: with what to do.
    """
    if _used_by not in (None, os.getpid()):
        raise RuntimeError(
            f"process {os.getpid()} was forked from {_used_by}, which has used TensorFlow; it "
            "hangs in such a child. Start processes by 'spawn': "
            "multiprocessing.get_context('spawn')."
        )


def _note_fork() -> None:
    """Remember, in a forked child, that its parent's TensorFlow has run: its threads are gone."""
    global _used_by
    context = sys.modules.get("tensorflow.python.eager.context")
    running = getattr(getattr(context, "_context", None), "_initialized", False)
    if running and _used_by is None:
        _used_by = os.getppid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Context in which a Python signal handler is not called; it is called at its end.

    A handler runs wherever the main thread is, also where TensorFlow's C++ code calls Python, and
    that code does not survive the exception of a handler (`KeyboardInterrupt` for one): it fails
    with SystemError, or goes on with a damaged heap and aborts some calls later.

    Only in the main thread, the one in which Python calls handlers. A second signal calls the
    handler at once: a call that never returns can be ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    before = {int(number): signal.getsignal(number) for number in signal.valid_signals()}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}

    def receive(number: int, frame: FrameType | None) -> None:
        received.append((number, frame))
        if len(received) > 1:
            handlers[number](number, frame)

    try:
        for number in handlers:
            signal.signal(number, receive)
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in received[:1]:
            handlers[number](number, frame)


def _no_word_of_its_cache(record: logging.LogRecord) -> bool:
    """Filter out that Matplotlib, which Keras imports, finds no home for its cache."""
    text = record.getMessage()
    return "cache directory" not in text and "mkdir -p failed" not in text


def may_use_gpu() -> bool:
    """Return whether TensorFlow is installed and the system shows a graphics card for it.

    Known without TensorFlow: by the device files of NVIDIA's driver, of AMD's, and of WSL 2.
    """
    if importlib.util.find_spec("tensorflow") is None:
        return False
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    devices = Path("/dev")
    return any(devices.glob("nvidia[0-9]*")) or any((devices / n).exists() for n in ("kfd", "dxg"))


def explained(error: Exception) -> str:
    """Return an error's text; of a package that the lite distribution leaves out, what to do."""
    name = getattr(error, "name", None) or ""
    if isinstance(error, ImportError) and name.partition(".")[0] in _NOT_IN_LITE:
        return (
            f"{name} is not installed, which artist-features-lite leaves out; "
            "`pip uninstall artist-features-lite`, then `pip install artist-features`."
        )
    return str(error)


def prepare_onnxruntime() -> None:
    """Turn ONNX Runtime's telemetry off before it is imported, if the user has not decided.

    Newer wheels write an identifier of the machine into ~/.cache, look for Microsoft's
    server from a thread of their own, and hang at the end of a forked child, which has no such
    thread.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def prepare_keras() -> None:
    """Check the backend, and hide TensorFlow's start-up lines, before Keras is imported.

    Lines are not hidden where the user has set TensorFlow's log level.

    Raises:
        ImportError: TensorFlow is not installed.
        ModelError: the backend is not TensorFlow; names the variable or file that says so.
    """
    if importlib.util.find_spec("tensorflow") is None:
        missing = ModuleNotFoundError(name="tensorflow")
        raise ModuleNotFoundError(explained(missing), name="tensorflow")
    if "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("matplotlib").addFilter(_no_word_of_its_cache)
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "config"):
        backend, where = keras.config.backend(), "Keras, which is imported already"
    elif "KERAS_BACKEND" in os.environ:
        backend, where = os.environ["KERAS_BACKEND"], "the variable KERAS_BACKEND"
    else:
        home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
        where = os.path.join(home, "keras.json")
        try:
            with open(where, encoding="utf-8") as file:
                backend = json.load(file).get("backend", "tensorflow")
        except (OSError, ValueError, AttributeError):
            return  # Keras reports a file that it cannot read
    if backend and backend != "tensorflow":
        raise ModelError(
            f"{where} says backend {str(backend)[:40]!r}; these models need 'tensorflow'. Set "
            "KERAS_BACKEND=tensorflow before Keras is imported."
        )


def calls_at_once(batch_size: int) -> tuple[int, int]:
    """Return how a batch is divided among calls of the model: (calls at once, segments in each).

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


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
