"""A run folder: the settings of a training run, its log, and the lock on it."""

import csv
import dataclasses
import io
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

from artist_features.errors import OutputError
from artist_features.files import acquire_lock, output_error, write_atomically
from artist_features.version import VERSION

SETTINGS_FILE = "run.json"
LOG_FILE = "log.csv"
_COLUMNS = (
    "step",
    "learning_rate",
    "train_loss",
    "train_label",
    "train_cosine",
    "valid_loss",
    "valid_label",
    "valid_map",
    "valid_accuracy",
    "valid_cosine",
    "valid_both",
    "valid_authors",
    "valid_musicnn",
    "valid_r2_authors",
    "valid_r2_musicnn",
    "seconds",
)
_BEFORE_THE_FIRST_STEP = {"lock", "cache", "checkpoints"}
_IN_WORDS = {
    "data_sha256": "manifest",
    "audio_sha256": "set of readable audio",
    "teacher_sha256": "teacher",
    "init_sha256": "start model",
    "crops_sha256": "distillation set",
    "dtype": "precision",
}
_PACKAGES = ("tensorflow", "keras", "kapre", "numpy")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides the result of a run.

    Attributes:
        kind: "basic" or "siamese".
        recipe_name, recipe: name, and the recipe as plain data.
        seed, split_seed: of the draws, and of the division into splits.
        n_artists: how many artists carry labels, or None for all.
        data_sha256: of the manifests.
        audio_sha256: of the tracks' lengths, 0 for what cannot be read; "" before decoding.
        teacher_sha256, init_sha256: of the graph and weights of teacher and start, or "".
        crops_sha256: of what decides the stored crops, or "".
        dtype: of the convolutions.
    """

    kind: str
    recipe_name: str
    recipe: dict
    seed: int
    split_seed: int
    n_artists: int | None
    data_sha256: str
    audio_sha256: str
    teacher_sha256: str
    init_sha256: str
    crops_sha256: str
    dtype: str

    def differences(self, other):
        """Return the names of the settings in which a stored record differs."""
        mine = json.loads(json.dumps(dataclasses.asdict(self)))
        if not self.audio_sha256:
            del mine["audio_sha256"]  # not known yet
        return sorted(name for name in mine if mine[name] != other.get(name))


class RunFolder:
    """Files of one run.

    Args:
        path: folder; made by `lock`.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.last = self.path / "checkpoints" / "last.npz"
        self.best = self.path / "checkpoints" / "best.npz"
        self.tensorboard = self.path / "tensorboard"

    def check(self, settings):
        """Refuse a folder that holds something else, before anything is made or decoded.

        A run that never came to a checkpoint may be started with other settings.

        Raises:
            OutputError: `mismatch` or `damaged`.
        """
        try:
            found = set(os.listdir(self.path)) - _BEFORE_THE_FIRST_STEP
        except FileNotFoundError:
            return
        except OSError as error:
            text = f"cannot be a run folder ({error.strerror}); choose another -o."
            raise OutputError("not_writable", text, self.path) from None
        if SETTINGS_FILE not in found:
            if found:
                text = f"holds {sorted(found)[0]!r} but no run; choose a new folder as -o."
                raise OutputError("mismatch", text, self.path)
        elif self.last.exists():
            self._compare(settings)

    def _compare(self, settings):
        path = self.path / SETTINGS_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))["settings"]
        except (ValueError, KeyError, TypeError) as error:
            text = f"not the settings of a run ({error}); choose another -o."
            raise OutputError("damaged", text, path) from None
        if odd := settings.differences(stored):
            names = ", ".join(_IN_WORDS.get(name, name) for name in odd)
            text = (
                f"the run in this folder has another {names}; repeat its command with the same "
                "data to go on with it, or choose another -o."
            )
            raise OutputError("mismatch", text, path)

    def lock(self):
        """Make the folder and keep other runs out; the lock ends with the process.

        Raises:
            OutputError: `not_writable` or `locked`.
        """
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(error, self.path) from None
        self._lock = acquire_lock(self.path / "lock", self.path)

    def release(self):
        """Give the lock back."""
        self._lock.release()

    def claim(self, settings, command):
        """Compare with the run that is here, or write the settings of a new one."""
        if self.last.exists():
            return self._compare(settings)
        record = {"settings": dataclasses.asdict(settings), "command": command}
        record |= {"versions": versions(), "platform": platform.platform()}
        write_atomically(self.path / SETTINGS_FILE, f"{json.dumps(record, indent=2)}\n".encode())

    def open_log(self, step):
        """Return a `Log`; rows after `step`, which the run will repeat, are dropped."""
        return Log(self.path / LOG_FILE, step)


class Log:
    """`log.csv`, one row a check, readable while the run goes on."""

    def __init__(self, path, step):
        rows = []
        if path.exists():
            with open(path, encoding="utf-8", newline="") as file:
                whole = [row for row in csv.DictReader(file) if None not in row.values()]
            rows = [row for row in whole if row["step"].isdigit() and int(row["step"]) <= step]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _COLUMNS)
        writer.writeheader()
        writer.writerows({name: row.get(name) for name in _COLUMNS} for row in rows)
        write_atomically(path, text.getvalue().encode())
        self.seconds = float(rows[-1]["seconds"]) if rows else 0.0
        self._path = path

    def write(self, values):
        """Append a row; columns without a value stay empty, others are TensorBoard's alone."""
        row = {n: f"{v:.6g}" if isinstance(v, float) else v for n, v in values.items()}
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, _COLUMNS, extrasaction="ignore").writerow(row)


def versions():
    """Return {package: version} of what decides the numbers."""
    return {"artist-features": VERSION} | {name: version(name) for name in _PACKAGES}
