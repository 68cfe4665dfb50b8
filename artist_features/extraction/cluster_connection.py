"""A Ray cluster: how this process gets to it, and how it is shared out among actors."""

import contextlib
import logging
import os
import signal
import socket
import threading

from artist_features.errors import ClusterError, without_secrets

LOCAL = "local"
_ANSWER_LIMIT_S = 10  # Ray itself knocks for more than five minutes
_CPUS_PER_ACTOR = 8  # at most, where no GPU decides
_SETTINGS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else `uv run` would have it send the folder around
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Plan:
    """Decoders and CPUs and GPUs of an actor, and how many actors there may be."""

    def __init__(self, n_workers, n_cpus, n_gpus, n_actors):
        self.n_workers, self.n_cpus, self.n_gpus = n_workers, n_cpus, n_gpus
        self.n_actors = n_actors


def plan_actors(nodes, n_workers=None):
    """Share out a cluster: an actor per GPU, or per some CPUs where there is none.

    Args:
        nodes: as `ray.nodes()` gives them.
        n_workers: decoders of an actor, or None for as many as it has CPUs.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    with_gpus = [have for have in resources if have.get("GPU", 0) >= 1]
    if with_gpus:
        n_cpus = min(int(have.get("CPU", 0) // have["GPU"]) for have in with_gpus)
        n_actors = sum(int(have["GPU"]) for have in with_gpus)
        n_cpus = max(1, min(n_cpus, n_workers or n_cpus))
        return Plan(n_workers or n_cpus, n_cpus, 1, n_actors)
    cpus = [int(have["CPU"]) for have in resources if have.get("CPU", 0) >= 1]
    n_cpus = min([*cpus, n_workers or _CPUS_PER_ACTOR])
    n_actors = max(1, sum(n // n_cpus for n in cpus))
    return Plan(n_workers or n_cpus, n_cpus, 0, n_actors)


def import_ray():
    """Return the package `ray` with `ray.data`.

    Raises:
        ImportError: it is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        with _signals_kept():
            import ray
            import ray.data
    except ImportError as error:
        raise ImportError(
            f"a cluster needs Ray Data ({error}); install it with "
            "`pip install 'artist-features[ray]'`."
        ) from None
    return ray


@contextlib.contextmanager
def connected(address):
    """Connect to a cluster, unless this process is already, and disconnect if we did.

    Args:
        address: "local" for one that is started and ended here, "auto", "host:port" or
            "ray://host:port".

    Yields:
        the package `ray`.

    Raises:
        ClusterError: there is no cluster at that address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    _check_port(address)
    options = {"include_dashboard": False} if address == LOCAL else {}
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        with _signals_kept():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:  # Ray raises plain `Exception`, too
        told = without_secrets(f"{type(error).__name__}: {error}")
        raise ClusterError(f"no Ray cluster at {address!r} ({told}).") from error
    try:
        for handler in logging.getLogger("ray.data").handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.CRITICAL)  # its log file keeps everything
        yield ray
    finally:
        ray.shutdown()


def _check_port(address):
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_LIMIT_S).close()
    except OSError as error:
        text = f"no Ray cluster at {address!r} ({error}); start one or name another address."
        raise ClusterError(text) from None


@contextlib.contextmanager
def _signals_kept():
    """Keep the handlers that Ray would replace: a job ends in order."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
