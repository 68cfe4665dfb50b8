"""Programs in Python processes of their own."""

import subprocess
import sys
import tempfile

COMMAND = "import sys; from artist_features.cli.main import main; sys.exit(main(sys.argv[1:]))"


class Program:
    """A running `python -c code *argv`; its output goes to files: no pipe fills."""

    def __init__(self, code, *argv, env=None, cwd=None):
        self._files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115
        words = [sys.executable, "-c", code, *map(str, argv)]
        stdout, stderr = self._files
        self._process = subprocess.Popen(
            words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
        )

    def finish(self, timeout_s=480):
        """Return its `CompletedProcess`."""
        try:
            code = self._process.wait(timeout_s)
        finally:
            self._process.kill()
        texts = []
        for file in self._files:
            with file:
                file.seek(0)
                texts.append(file.read())
        return subprocess.CompletedProcess(self._process.args, code, *texts)


def run(code, *argv, **options):
    return Program(code, *argv, **options).finish()
