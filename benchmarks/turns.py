"""Programs in processes of their own that work only when it is their turn.

One line of JSON in, one out, so that a program with another interpreter, other cores or other
settings of TensorFlow can be measured in turn with those of this process.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile


@contextlib.contextmanager
def helper(command):
    """Start a program that answers one request after another; end it at the end.

    Args:
        command: list; the program reads requests on standard input and answers on standard
            output.

    Yields:
        `Helper`.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            env=environment,
            text=True,
        ) as process,
    ):
        yield Helper(process, messages)


class Helper:
    """A running program, and the file that holds what it says on standard error."""

    def __init__(self, process, messages):
        self._process, self._messages = process, messages

    def ask(self, request):
        """Send a request; return the answer.

        Raises:
            RuntimeError: the program ended instead; with the end of what it said.
        """
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self._process.wait()
            self._messages.seek(0)
            said = self._messages.read().decode(errors="replace")
            raise RuntimeError(f"{self._process.args} ended: {said[-2000:]}") from None


def answer(work):
    """Serve: call `work(request)` for each line of standard input; print what it returns."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print must not spoil the answers
    for line in sys.stdin:
        out.write(json.dumps(work(json.loads(line))) + "\n")
        out.flush()
