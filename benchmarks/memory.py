"""Peak memory of a long recording against a short one, in processes of their own."""

import sys
import tempfile
from pathlib import Path

from clips import long_mp3, long_wav
from measure import at_most, peak_memory, progress

_LIMIT_MB = 300.0
_WRITERS = {"mp3": long_mp3, "wav": long_wav}


def growth(model, short_s, long_s, kinds=tuple(_WRITERS)):
    """Measure how much more memory a long file takes than a short one.

    Args:
        model: for `extract` and the command line.
        short_s, long_s: lengths of the two files in seconds.
        kinds: formats, of "mp3" and "wav".

    Returns:
        list of `Figure`, one for each way to extract and format.
    """
    figures = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{name}.{kind}" for name in ("short", "long")]
            for path, length_s in zip(paths, (short_s, long_s), strict=True):
                _WRITERS[kind](path, length_s)
            for way, command in _ways(model).items():
                peaks = [peak_memory([*command, str(path)]) / 1e6 for path in paths]
                progress(f"  {way}, {kind}: {peaks[0]:.0f} MB, {peaks[1]:.0f} MB")
                figures.append(
                    at_most(
                        f"memory, {long_s / 3600:g} h less {short_s / 60:g} min, {way}, {kind}",
                        peaks[1] - peaks[0],
                        "MB",
                        _LIMIT_MB,
                        f"{peaks[1]:.0f} less {peaks[0]:.0f} MB",
                    )
                )
    return figures


def _ways(model):
    program = (
        "import sys; from artist_features import extract; "
        f"extract(sys.argv[1], model={str(model)!r})"
    )
    command_line = [sys.executable, "-m", "artist_features.cli.main", "extract"]
    return {
        "`extract()`": [sys.executable, "-c", program],
        "command line": [*command_line, "--model", str(model)],
    }
