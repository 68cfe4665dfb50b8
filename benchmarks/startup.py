"""What a user waits for before the first result: fresh interpreters, taken in turn."""

import sys
from pathlib import Path

from measure import at_most, fresh_process, interleaved, run_command

_LIMIT_ONE_LINER = 1.5
_LIMIT_IMPORT_S = 0.15
_LIMIT_HELP_S = 0.5


def one_liner(path, model, repeats):
    """Measure the first embedding of a new process against importing TensorFlow alone.

    Args:
        path: an audio file.
        model: for `extract`.
        repeats: fresh processes of each kind.

    Returns:
        list of `Figure`.
    """
    path, model = str(Path(path).resolve()), str(model)
    ours = f"from artist_features import extract; extract({path!r}, model={model!r})"
    rounds = interleaved(
        {
            "tensorflow": fresh_process("import tensorflow"),
            "extract": fresh_process(ours),
        },
        repeats,
    )
    return [
        at_most(
            "cold `extract('x.mp3')` / `import tensorflow`",
            rounds.ratio("extract", "tensorflow"),
            "x",
            _LIMIT_ONE_LINER,
            f"{rounds.median_s('extract'):.2f} / {rounds.median_s('tensorflow'):.2f} s, "
            f"{repeats} processes each; {rounds.remark()}",
        )
    ]


def import_and_help(repeats):
    """Measure `import artist_features` and `artist-features --help`.

    Returns:
        list of `Figure`.
    """
    command = Path(sys.executable).parent / "artist-features"
    rounds = interleaved(
        {
            "pass": fresh_process("pass"),
            "import": fresh_process("import artist_features"),
            "help": run_command([str(command), "--help"]),
        },
        repeats,
    )
    return [
        at_most(
            "`import artist_features`",
            rounds.difference_s("import", "pass"),
            "s",
            _LIMIT_IMPORT_S,
            f"{rounds.median_s('import'):.3f} s less {rounds.median_s('pass'):.3f} s for `pass`, "
            f"{repeats} processes each",
        ),
        at_most(
            "`artist-features --help`",
            rounds.median_s("help"),
            "s",
            _LIMIT_HELP_S,
            f"whole process, {repeats} of them",
        ),
    ]
