"""Run another package on files when asked to: the program that `against_peers.py` starts.

    PYTHON -I benchmarks/peers/serve.py NAME

Runs in the other package's environment, which may be an old Python, so it uses the standard
library alone. NAME.py beside it has `load()`, which returns (function of a path, what it is in
words). Requests: JSON lines with paths; answers: seconds and number of files.
"""

import json
import os
import platform
import runpy
import sys
import time


def main():
    """Load, say what was loaded, then answer."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what packages print must not spoil the answers
    folder = os.path.dirname(os.path.abspath(__file__))
    load = runpy.run_path(os.path.join(folder, sys.argv[1] + ".py"))["load"]
    embed, about = load()
    about = "Python " + platform.python_version() + ", " + about
    for line in sys.stdin:
        paths = json.loads(line)["paths"]
        started = time.perf_counter()
        for path in paths:
            embed(path)
        taken_s = time.perf_counter() - started
        out.write(json.dumps({"seconds": taken_s, "count": len(paths), "about": about}) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
