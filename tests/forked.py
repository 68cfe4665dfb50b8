"""Programs in processes of their own that need not import anew what takes seconds.

They are forked from a process that has made its imports and run nothing, so each can set
up TensorFlow, or read the variables of the Hub's client, for itself.
"""

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile

TENSORFLOW = "import tensorflow"  # which imports Keras
COMMAND = "import sys; from artist_features.cli.main import main; sys.exit(main(sys.argv[1:]))"
SERVER = """
import contextlib, json, os, socket, sys, warnings
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
server = socket.socket(fileno=int(sys.argv[1]))
exec(sys.argv[2])
while True:
    message, descriptors, *_ = socket.recv_fds(server, 1 << 20, 3)
    if not message:
        sys.exit()
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # those that have ended
            pass
    if not os.fork():  # waits for the next one, and tells how it ended
        child = os.fork()
        if not child:
            break
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(descriptors[2], str(code).encode())
        os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
task = json.loads(message)
os.chdir(task["cwd"])
os.environ.clear()
os.environ.update(task["env"])
sys.argv = ["-c", *task["argv"]]
for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), *descriptors[:2])):
    os.dup2(descriptor, number)
for descriptor in (server.detach(), *descriptors):
    os.close(descriptor)
exec(compile(task["code"], "<string>", "exec"), {"__name__": "__main__"})
"""


@functools.cache
def _server(imports):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    number = theirs.fileno()
    words = [sys.executable, "-c", SERVER, str(number), imports]
    options = {"stdin": subprocess.DEVNULL, "pass_fds": [number], "start_new_session": True}
    process = subprocess.Popen(words, **options)
    theirs.close()
    # with all that a failed test left behind
    atexit.register(lambda: (os.killpg(process.pid, signal.SIGKILL), process.wait(), ours.close()))
    return ours


class Forked:
    """A running program, as `python -c code *argv` after some imports."""

    def __init__(self, code, *argv, imports=TENSORFLOW, env=None, cwd="."):
        self._files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        self._ended, status = os.pipe()
        env = {**(os.environ if env is None else env)}
        task = {"code": code, "argv": [*map(str, argv)], "env": env, "cwd": os.path.abspath(cwd)}
        files = [*(file.fileno() for file in self._files), status]
        socket.send_fds(_server(imports), [json.dumps(task).encode()], files)
        os.close(status)

    def finish(self, timeout_s=480):
        """Return its `CompletedProcess`."""
        assert select.select([self._ended], [], [], timeout_s)[0], "it does not end"
        code = int(os.read(self._ended, 9))
        os.close(self._ended)
        texts = []
        for file in self._files:
            with contextlib.closing(file):
                file.seek(0)
                texts.append(file.read())
        return subprocess.CompletedProcess([], code, *texts)


def run(code, *argv, **options):
    return Forked(code, *argv, **options).finish()
