"""Parent's handle of a decode process: restart on crash, kill on timeout."""

import contextlib
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from artist_features.config import FrontEnd
from artist_features.errors import AnyPath, AudioError, DecoderError
from artist_features.extraction.decode import Facts, Source
from artist_features.extraction.decode_worker import (
    HEADER,
    N_SLOTS,
    Ring,
    encode_request,
    open_ring,
)

ATTEMPTS = 2  # at a file, and at starting
_SILENCE_LIMIT_S = 60.0  # a process that starts or decodes without a word for so long hangs
# waiting allowed for one file: so much, for each second of audio, and for each byte, as some
# formats are read whole before the first sample comes (a slow disk gives 1 MB/s)
_PATIENCE_S, _PATIENCE_PER_AUDIO_S, _PATIENCE_PER_BYTE_S = 10.0, 0.2, 1e-6
_MOST_FOR_BYTES_S = 540.0
_ENVIRONMENT = {
    # as many threads as there are decoders, and none besides
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc: blocks that come and go stay with the process, 8 % of a job's time
    **dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(32 << 20)),
}
# The child finds this package where the parent found it, and nothing in the working directory
# can take a module's place. It skips the imports of the package's __init__: 0.1 s of CPU.
_PACKAGE = str(Path(__file__).parents[1])
_PROGRAM = """\
import sys, types
sys.path[:] = {path!r}
sys.modules["artist_features"] = package = types.ModuleType("artist_features")
package.__path__ = {package!r}
from artist_features.extraction.decode_worker import main
main({ring!r})
"""
_PIPE_BYTES = 1 << 20
_LONGEST_RECORD = 16 << 20  # bytes of facts or of an error; a longer one is no word of ours


class DecodeProcess:
    """One decode process, started when needed and again after it died.

    Args:
        front_end: `FrontEnd`.

    Attributes:
        facts: `Facts` of the source that was decoded last, once its last segment was taken.

    Raises:
        DecoderError: no process can be started.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self.facts: Facts | None = None
        self._front_end = front_end
        self._patience = _Patience()
        self._timed_out = ""  # what it had not done in time
        self._n_false_starts = 0
        self._start()

    def _start(self) -> None:
        self._ring: Ring | None
        self._ring, inherited = open_ring(self._front_end.segment_samples)
        ring = (*inherited, self._front_end.segment_samples) if inherited else None
        program = _PROGRAM.format(path=sys.path, package=[_PACKAGE], ring=ring)
        try:
            self._process = process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,  # Ctrl-C reaches the parent alone
                pass_fds=inherited,
            )
        except OSError as error:
            text = f"no decode process can be started ({error.strerror or error}); free memory or"
            raise DecoderError(f"{text} processes, then the same command goes on.") from None
        finally:
            for descriptor in inherited:
                os.close(descriptor)
        # unbuffered
        self._requests, self._answers = cast(Any, process.stdin), cast(Any, process.stdout)
        self._ready = False
        if self._ring is None:
            _enlarge_pipe(self._answers)

    def decode(self, source: Source) -> Iterator[tuple[Any, Callable[[], None] | None]]:
        """Yield the segments of a source as `decode_segments` does, then set `facts`.

        Yields:
            (rows of float32 `(segment_samples,)`, function or None): where there is a function,
            the rows are views of memory that the process fills again after it was called.

        Raises:
            AudioError: what the process says of the source, or `crashed` or `timeout`.
            DecoderError: the process ends before it is ready, twice.
        """
        self.facts = None
        if self._process.poll() is not None:
            self.close()
            self._start()
        self._timed_out = ""
        try:
            self._request(source)
            while True:
                if self._ring:
                    self._ring.wait()  # in the model's time, not in the decoder's
                kind, size = HEADER.unpack(self._read(bytearray(HEADER.size)))
                if size > (N_SLOTS if kind == b"M" else _LONGEST_RECORD):
                    self.kill()  # impossible length: its memory is corrupted
                    raise EOFError
                if kind == b"M" and self._ring:
                    yield self._ring.take(size), functools.partial(self._ring.release, size)
                    self._patience.add(size * self._front_end.segment_hop_s)
                elif kind == b"S":
                    segment = np.empty((1, self._front_end.segment_samples), np.float32)
                    yield self._read(segment), None
                    self._patience.add(self._front_end.segment_hop_s)
                else:
                    record = json.loads(bytes(self._read(bytearray(size))))
                    if kind == b"E":
                        raise AudioError.from_record(record, source.path)
                    self.facts = Facts.from_record(record)
                    return
        except (EOFError, BrokenPipeError):
            raise self._death(source) from None

    def _request(self, source: Source) -> None:
        """Ask for a source, once the process is ready; start the clock."""
        self._requests.write(encode_request(source, self._front_end))
        self._patience = _Patience()
        if not self._ready:
            self._read(bytearray(HEADER.size))
            self._ready, self._n_false_starts = True, 0
        self._patience = _Patience(source)

    def _read(self, buffer: Any) -> Any:
        """Fill a buffer from the process, and return it."""
        view = memoryview(buffer).cast("B")
        with self._patience:
            while view:
                count = self._answers.readinto(view)
                if not count:
                    raise EOFError
                view = view[count:]
        return buffer

    def _death(self, source: Source) -> AudioError:
        """Return the `AudioError` for a crashed decode process."""
        code = self._process.wait()
        self.close()
        if not self._ready:
            self._n_false_starts += 1
            if self._n_false_starts < ATTEMPTS:
                return AudioError("crashed", "the decode process did not start.", source.path)
            raise DecoderError(
                f"decode processes end with status {code} before they are ready, or take longer "
                "than a minute; is memory full, or was this package changed meanwhile? "
                "`python -c 'import artist_features.extraction.decode_worker'` says more. The same "
                "command goes on."
            )
        if self._timed_out:
            text = f"the decoder sent {self._timed_out}, and was stopped."
            return AudioError("timeout", text, source.path)
        if code < 0:
            text = (
                f"the decoder process died of signal {-code} ({_signal_name(-code)}), twice. "
                "The file is damaged or hostile."
            )
        else:
            text = (
                f"the decoder process ended with status {code}, twice: a fault of this package. "
                "Please report it with the file."
            )
        return AudioError("crashed", text, source.path)

    def kill_if_late(self) -> None:
        """Stop the process if it was waited for longer than is allowed."""
        if late := self._patience.exceeded():
            self._timed_out = late
            self.kill()

    def kill(self) -> None:
        """Stop the process at once."""
        process, ring = self._process, self._ring
        process.kill()
        if ring:
            ring.close()

    def close(self) -> None:
        """Let the process end, then free it."""
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._ring:
            self._ring.close()


class _Patience:
    """Decoding timeout of one source; only the time spent waiting for its process counts.

    Args:
        source: what it decodes, or None while it starts.
    """

    def __init__(self, source: Source | None = None) -> None:
        self._allowed_s, self._for_bytes_s = math.inf, 0.0
        if source is not None:
            self._for_bytes_s = min(_MOST_FOR_BYTES_S, _PATIENCE_PER_BYTE_S * _size(source.path))
            self._allowed_s = _PATIENCE_S + self._for_bytes_s
            self._allowed_s += _PATIENCE_PER_AUDIO_S * source.reading.offset_s
        self._audio_s = self._waited_s = 0.0
        self._since: float | None = None

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        if self._since is not None:
            self._waited_s += time.monotonic() - self._since
        self._since = None

    def add(self, audio_s: float) -> None:
        """Count seconds of audio that were delivered."""
        self._audio_s += audio_s
        self._allowed_s += _PATIENCE_PER_AUDIO_S * audio_s

    def exceeded(self) -> str:
        """Return which timeout has expired, in words, or ""."""
        since = self._since
        if since is None:
            return ""
        silent_s = time.monotonic() - since
        limit_s = _SILENCE_LIMIT_S + self._for_bytes_s
        if silent_s > limit_s:
            return f"nothing for {limit_s:.0f} s"
        if self._waited_s + silent_s > self._allowed_s:
            return f"{self._audio_s:.0f} s of audio and no more in {self._allowed_s:.0f} s"
        return ""


def _size(path: AnyPath | None) -> int:
    try:
        return os.stat(path or "").st_size
    except (OSError, ValueError):
        return 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _enlarge_pipe(stream: IO[bytes]) -> None:
    """Let a whole segment fit into the pipe, where the system allows it (Linux)."""
    try:
        import fcntl

        fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return  # the default size works too, with more switches
