"""A run folder: the settings of a training run, its log, and the lock on it."""

import csv
import dataclasses
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import filelock

from artist_features.errors import OutputError

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
    "seconds",
)
_PACKAGES = ("artist-features", "tensorflow", "keras", "kapre", "numpy")


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that decides the result of a run.

    Attributes:
        kind: "basic" or "siamese".
        recipe_name, recipe: name, and the recipe as plain data.
        seed, split_seed: of the draws, and of the division into splits.
        n_artists: how many artists carry labels, or None for all.
        data_sha256: of the manifests.
        teacher_sha256, init_sha256: weights of the teacher and of the start, or "".
        dtype: of the convolutions.
    """

    kind: str
    recipe_name: str
    recipe: dict
    seed: int
    split_seed: int
    n_artists: int | None
    data_sha256: str
    teacher_sha256: str
    init_sha256: str
    dtype: str

    def differences(self, other):
        """Return the names of the settings in which a stored record differs."""
        mine = json.loads(json.dumps(dataclasses.asdict(self)))
        return sorted(name for name in mine if mine[name] != other.get(name))


class RunFolder:
    """Files of one run.

    Args:
        path: folder, created if missing.

    Raises:
        OutputError: `not_writable`, `locked`, `mismatch` or `damaged`.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.last = self.path / "checkpoints" / "last.npz"
        self.best = self.path / "checkpoints" / "best.npz"
        self.tensorboard = self.path / "tensorboard"
        try:
            self.last.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            text = f"run folder cannot be made ({error.strerror}); choose another --out."
            raise OutputError("not_writable", text, self.path) from None
        self._lock = filelock.FileLock(self.path / "lock")

    def lock(self):
        """Keep other runs out of the folder; the lock ends with the process."""
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            text = "another run is writing here; wait for it, or choose another --out."
            raise OutputError("locked", text, self.path) from None

    def release(self):
        """Give the lock back."""
        self._lock.release()

    def claim(self, settings, command):
        """Write the settings of a new run, or compare them with the run that is here."""
        path = self.path / SETTINGS_FILE
        if path.exists():
            try:
                stored = json.loads(path.read_text(encoding="utf-8"))["settings"]
            except (ValueError, KeyError, TypeError) as error:
                text = f"not the settings of a run ({error}); choose another --out."
                raise OutputError("damaged", text, path) from None
            if odd := settings.differences(stored):
                text = (
                    f"the run in this folder has another {', '.join(odd)}; repeat its command to "
                    "go on with it, or choose another --out."
                )
                raise OutputError("mismatch", text, path)
            return
        if any(self.path.glob("*.h5")):
            text = "holds a model but no run; choose another --out."
            raise OutputError("mismatch", text, self.path)
        record = {"settings": dataclasses.asdict(settings), "command": command}
        record |= {"versions": versions(), "platform": platform.platform()}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)

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
        partial = path.with_suffix(".partial")
        with open(partial, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows({name: row.get(name) for name in _COLUMNS} for row in rows)
        os.replace(partial, path)
        self.seconds = float(rows[-1]["seconds"]) if rows else 0.0
        self._path = path

    def write(self, values):
        """Append a row; columns without a value stay empty."""
        row = {n: f"{v:.6g}" if isinstance(v, float) else v for n, v in values.items()}
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, _COLUMNS).writerow(row)


def versions():
    """Return {package: version} of what decides the numbers."""
    return {name: version(name) for name in _PACKAGES}
