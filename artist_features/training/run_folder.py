"""Run folder: settings, log and checkpoints of a training run, and its model card.

`run.json` holds the settings; `checkpoints/last.npz` and `best.npz` all that a run needs to go
on, each whole or absent; `log.csv` one row a check. At the end the folder is a model folder, too.
"""

import contextlib
import csv
import dataclasses
import datetime
import io
import json
import os
import platform
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from artist_features import devices
from artist_features.errors import OutputError
from artist_features.files import acquire_lock, atomic_file, writable, write_atomically
from artist_features.training.data import TrainingSet
from artist_features.training.inputs import ReadModel, TrainingInputs
from artist_features.training.options import TrainingOptions
from artist_features.training.recipes import RECIPES, Recipe
from artist_features.version import VERSION

if TYPE_CHECKING:
    import keras

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
_STATE = "state"

LogRow: TypeAlias = dict[str, Any]  # of the log: {column: number}


class RunFolder:
    """Settings, lock and log of one run; `writing` makes the folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.last = self.path / "checkpoints" / "last.npz"
        self.best = self.path / "checkpoints" / "best.npz"
        self.tensorboard = self.path / "tensorboard"

    def check(self, settings: Mapping[str, Any]) -> None:
        """Check that a folder is empty or a run of the same options.

        A run that never came to a checkpoint may be started with other settings.

        Args:
            settings: of the run, see `TrainingInputs`; "audio_sha256" may be missing.

        Raises:
            OutputError: `mismatch` or `damaged`.
        """
        try:
            found = set(os.listdir(self.path)) - _BEFORE_THE_FIRST_STEP
            found = {name for name in found if not name.startswith(".partial-")}
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

    def _compare(self, settings: Mapping[str, Any]) -> None:
        path = self.path / SETTINGS_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))["settings"]
            before = _DEFAULTS | stored
            before["recipe"] = _RECIPE_DEFAULTS | before["recipe"]
        except (ValueError, KeyError, TypeError) as error:
            text = f"not the settings of a run ({error}); choose another -o."
            raise OutputError("damaged", text, path) from None
        mine = json.loads(json.dumps(settings))
        if odd := sorted(name for name in mine if mine[name] != before.get(name)):
            names = ", ".join(_IN_WORDS.get(name, name) for name in odd)
            text = (
                f"the run in this folder has another {names}; repeat its command with the same "
                "data to go on with it, or choose another -o."
            )
            raise OutputError("mismatch", text, path)

    @contextlib.contextmanager
    def writing(self, chief: bool = True) -> Iterator[None]:
        """Context that makes the folder and keeps other runs out; it ends with the process.

        Args:
            chief: this process writes the folder; the others only get the errors.

        Raises:
            OutputError: `not_writable`, `no_space` or `locked`.
        """
        with contextlib.ExitStack() as stack, writable(self.path, "mend it and repeat the command"):
            if chief:
                self.last.parent.mkdir(parents=True, exist_ok=True)
                stack.callback(acquire_lock(self.path / "lock", self.path).release)
            yield

    def claim(self, settings: Mapping[str, Any], command: str) -> None:
        """Write `run.json` of a new run, or verify that a resumed run has equal settings."""
        if self.last.exists():
            return self._compare(settings)
        record = {"settings": dict(settings), "command": command}
        record |= {"versions": versions(), "platform": platform.platform()}
        write_atomically(self.path / SETTINGS_FILE, f"{json.dumps(record, indent=2)}\n".encode())


# a run from before an option or a hyperparameter existed had its default
_DEFAULTS = {f.name: f.default for f in dataclasses.fields(TrainingOptions)}
_RECIPE_DEFAULTS = {
    f.name: f.default for f in dataclasses.fields(Recipe) if f.default is not dataclasses.MISSING
}


class Log:
    """Training log in CSV, one row a check, readable while the run goes on.

    Args:
        step: rows after it, which the run will repeat, are dropped.
        teachers: names of those whose stored vectors the checks compare with.
    """

    def __init__(self, path: Path, step: int, teachers: Iterable[str]) -> None:
        own = [f"valid_{start}{name}" for name in teachers for start in ("", "r2_")]
        self._columns = [*_COLUMNS, *(["valid_both", *own] if own else [])]
        rows: list[LogRow] = []
        if path.exists():
            with open(path, encoding="utf-8", newline="") as file:
                whole = [row for row in csv.DictReader(file) if None not in row.values()]
            rows = [row for row in whole if row["step"].isdigit() and int(row["step"]) <= step]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows({name: row.get(name) for name in self._columns} for row in rows)
        write_atomically(path, text.getvalue().encode())
        self._path = path

    def write(self, values: LogRow) -> None:
        """Append a row; columns without a value stay empty, others are TensorBoard's alone."""
        row = {n: f"{v:.6g}" if isinstance(v, float) else v for n, v in values.items()}
        with open(self._path, "a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns, extrasaction="ignore").writerow(row)


def save_checkpoint(
    path: str | Path, arrays: Mapping[str, np.ndarray], state: Mapping[str, Any]
) -> None:
    """Write arrays and a JSON state to an `.npz`; a reader sees the old file or the new one.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    parts = {**arrays, _STATE: np.frombuffer(json.dumps(state).encode(), np.uint8)}
    try:
        with atomic_file(path) as file:
            np.savez(file, **parts)  # type: ignore[arg-type]
    except OutputError as error:
        text = f"checkpoint cannot be written ({error.message}) the run goes on from the last one."
        raise OutputError(error.code, text, path) from None


def load_checkpoint(
    path: str | Path, variables: "Mapping[str, keras.Variable]"
) -> dict[str, Any] | None:
    """Set Keras variables from a checkpoint.

    Returns:
        The state as given to `save_checkpoint`, or None where there is no file.

    Raises:
        OutputError: `damaged`, or `mismatch`: names or shapes are not the same.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        # numpy leaves a damaged file open that it has opened itself
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as parts:
            arrays = {name: parts[name] for name in parts.files}
        state: dict[str, Any] = json.loads(arrays.pop(_STATE).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        text = f"not a checkpoint of a training run ({error}). Delete it to start from step 0."
        raise OutputError("damaged", text, path) from None
    if odd := sorted(set(variables) ^ set(arrays)):
        text = f"{odd[0]!r} is in one of checkpoint and model only; delete it to start from step 0."
        raise OutputError("mismatch", text, path)
    for name, variable in variables.items():
        if tuple(variable.shape) != arrays[name].shape:
            text = f"{name}: shape {arrays[name].shape}, the model has {tuple(variable.shape)}."
            raise OutputError("mismatch", text, path)
        variable.assign(arrays[name])
    return state


def card_fields(
    options: TrainingOptions,
    inputs: TrainingInputs,
    found: TrainingSet,
    row: LogRow,
    *,
    artists: list[str],
    n_devices: int,
) -> dict[str, Any]:
    """Return front end, training record and scores of a run, for its `ModelCard`.

    Args:
        row: of the log, of the step whose weights are the result.
        artists: names of the classes.
        n_devices: number of replicas.
    """
    checks = {name: round(value, 4) for name, value in row.items() if name.startswith("valid_")}
    crops = inputs.crops
    teachers = ", ".join(crops.teachers) if crops else ""
    recipes = (RECIPES[options.recipe_name][options.kind], options.recipe)
    named, used = map(dataclasses.asdict, recipes)
    training = {
        "data": options.data or ", ".join(Path(manifest).name for manifest in options.manifests),
        "data_sha256": inputs.listed.sha256,
        "hours": crops.facts["hours"] if crops else round(found.hours, 2),
        "n_tracks": len(crops.facts["tracks"]) if crops else len(found.training),
        "n_artists": len(artists),
        "recipe": options.recipe_name,
        "recipe_changes": {name: value for name, value in used.items() if value != named[name]},
        "steps": row["step"],
        "teacher": _origin(inputs.teacher),
        "init": _origin(inputs.init),
        "crops": f"{crops.n}; vectors of {teachers}; {crops.sha256}" if crops else "none",
        "seed": options.seed,
        "split_seed": options.split_seed,
        "dtype": options.dtype,
        "minutes": round(row["seconds"] / 60, 1),
        "date": str(datetime.date.today()),
        "device": f"{n_devices} x {devices.configure_devices()}",
        "versions": versions(),
        "command": options.command,
    }
    return {
        "front_end": inputs.front_end,
        "training": training,
        "scores": {"check_during_training": checks} if checks else {},
    }


def versions() -> dict[str, str]:
    """Return {package: version} of the packages that decide the result."""
    return {"artist-features": VERSION} | {name: version(name) for name in _PACKAGES}


def _origin(model: ReadModel | None) -> str:
    if model is None:
        return "none"
    source = model.card.training.get("source_file_sha256")
    text = f"{model.card.name}, sha256 {model.card.weights_sha256}"
    return text + (f", from {source}" if source else "")
