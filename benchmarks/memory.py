"""Peak memory, in processes of their own: of long recordings, and of whole jobs."""

import sys
import tempfile
from pathlib import Path

from clips import long_mp3, long_wav
from measure import at_most, peak_memory, progress

_LIMIT_MB = 300.0
_LIMIT_OF_A_JOB_MB = 1200.0
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


def peaks(paths, model, long_s):
    """Measure the peak memory of the command line, decode processes included.

    Args:
        paths: list of files.
        model: for the command line.
        long_s: lengths of a WAV and an mp3 that take part in the second of two jobs.

    Returns:
        list of `Figure`.
    """
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        long = [folder / "long.wav", folder / "long.mp3"]
        for path, write, length_s in zip(long, (long_wav, long_mp3), long_s, strict=True):
            write(path, length_s)
        lengths = " and ".join(f"{length_s / 3600:.3g}" for length_s in long_s)
        jobs = {
            f"{len(paths)} files": paths,
            f"the same with files of {lengths} h (wav, mp3)": [*map(str, long), *paths],
        }
        for number, (name, names) in enumerate(jobs.items()):
            listed = folder / f"{number}.txt"
            listed.write_text("\n".join(names), encoding="utf-8")
            command = [*_ways(model)["command line"], f"@{listed}", "-o", str(folder / str(number))]
            peak_mb = peak_memory(command) / 1e6
            detail = "sum of the peaks of all its processes"
            figures.append(
                at_most(f"peak memory, {name}", peak_mb, "MB", _LIMIT_OF_A_JOB_MB, detail)
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
