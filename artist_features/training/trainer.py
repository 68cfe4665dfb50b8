"""Train a model: manifest in, run folder out, which ends as a model folder."""

import dataclasses
import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features.config import FrontEnd
from artist_features.training import checkpoints, data, runfolder, strategy
from artist_features.training.batches import Batches
from artist_features.training.learner import Learner
from artist_features.training.recipes import RECIPES
from artist_features.training.sampling import Sampler
from artist_features.training.schedule import Schedule
from artist_features.training.validation import Validation
from artist_features.zoo import devices, models
from artist_features.zoo import folder as model_folder
from artist_features.zoo.registry import read_model

KINDS = ("basic", "siamese")
# the mel stage must be the same for a teacher to hear the student's mel spectrogram
_MEL_FIELDS = (
    "sample_rate",
    "n_fft",
    "hop_length",
    "n_mels",
    "f_min_hz",
    "f_max_hz",
    "segment_frames",
)


@dataclass
class Options:
    """What a run is asked to do; see `artist-features train --help`.

    Attributes:
        recipe_name: of `RECIPES`.
        changes: {field: value} that replaces parts of the recipe.
        seed, split_seed: of the draws, and of the division into splits.
        n_artists: how many artists carry labels; None means all.
        teacher, init: model name, folder or Hub id, or None.
        cache: folder of prepared audio; None means `cache` in the run folder.
        strategy, device, dtype: see `strategy`.
        name: of the model; None means its kind.
        license, credit, description, data: of the card; data is a few words on the music.
        command: to be written down with the run.
    """

    recipe_name: str = "default"
    changes: dict = field(default_factory=dict)
    seed: int = 0
    split_seed: int = 0
    n_artists: int | None = None
    teacher: str | None = None
    init: str | None = None
    cache: str | None = None
    strategy: str = "none"
    device: str = "auto"
    dtype: str = "float32"
    name: str | None = None
    license: str = "unknown"
    credit: str = "Trained with artist_features by the owner of this run."
    description: str = ""
    data: str = ""
    command: str = ""

    @property
    def recipe(self):
        """The recipe with its changes."""
        return dataclasses.replace(RECIPES[self.recipe_name], **self.changes)


def train(kind, manifests, out, options=None, *, say=print):
    """Train a model, or go on with the run that a folder holds.

    Killed at any moment, the same call goes on from the last checkpoint and ends with
    the weights of an unbroken run.

    Args:
        kind: "basic" or "siamese".
        manifests: list of paths.
        out: run folder; at the end also a model folder.
        options: `Options`.
        say: function that takes lines for the user.

    Returns:
        dict: the last row of the log.

    Raises:
        ManifestError, WeightsError, OutputError: an input or output cannot be used.
        ValueError: the options do not fit one another or the data.
    """
    options = options or Options()
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; allowed are {', '.join(KINDS)}.")
    strategy.choose_device(options.device)
    devices.configure_devices()
    distributed = strategy.make_strategy(options.strategy)  # before any other TensorFlow call
    run = runfolder.RunFolder(out)
    chief = strategy.is_chief(distributed)
    if chief:
        run.lock()
    try:
        return _Run(kind, manifests, run, options, distributed, chief, say).go()
    finally:
        run.release()


class _Run:
    def __init__(self, kind, manifests, run, options, distributed, chief, say):
        self._kind, self._run, self._options = kind, run, options
        self._distributed, self._chief, self._say = distributed, chief, say
        self._recipe = options.recipe
        self._front_end = FrontEnd()
        self._manifests = manifests
        self._data = data.load(
            manifests,
            options.cache or run.path / "cache",
            self._front_end,
            n_artists=options.n_artists,
            split_seed=options.split_seed,
        )
        self._teacher_card, teacher_weights = _read(options.teacher)
        self._init_card, init_weights = _read(options.init)
        self._settings = runfolder.Settings(
            kind=kind,
            recipe_name=options.recipe_name,
            recipe=self._recipe.record(),
            seed=options.seed,
            split_seed=options.split_seed,
            n_artists=options.n_artists,
            data_sha256=self._data.sha256,
            teacher_sha256=self._teacher_card.weights_sha256 if self._teacher_card else "",
            init_sha256=self._init_card.weights_sha256 if self._init_card else "",
            dtype=options.dtype,
        )
        if chief:
            run.claim(self._settings, options.command)
        self._announce()
        keras.utils.set_random_seed(options.seed)
        with distributed.scope():
            teacher = self._teacher(teacher_weights)
        self._learner = Learner(
            kind,
            self._recipe,
            n_artists=len(self._data.artists),
            weights=self._start(init_weights),
            teacher=teacher,
            strategy=distributed,
            dtype=options.dtype,
        )
        self._batches = self._build_batches(teacher is not None)
        self._validation = Validation(
            self._data, kind, self._recipe, self._front_end, _forward(teacher) if teacher else None
        )
        self._embed = _forward(self._learner.model)

    def _teacher(self, weights):
        if not self._teacher_card:
            if not self._recipe.label_weight[self._kind]:
                raise ValueError("nothing to learn from: no teacher, and label_weight is 0.")
            return None
        theirs, ours = self._teacher_card.front_end, self._front_end
        for name in _MEL_FIELDS:
            if getattr(theirs, name) != getattr(ours, name):
                raise ValueError(
                    f"teacher {self._teacher_card.name}: {name} is {getattr(theirs, name)}, the "
                    f"student's is {getattr(ours, name)}; a teacher must hear the same mel bands."
                )
        teacher = model_folder.build(self._teacher_card, weights)
        teacher.trainable = False
        return teacher

    def _start(self, weights):
        if self._init_card is None:
            return None
        model = model_folder.build(self._init_card, weights)
        return [np.asarray(value) for value in model.get_weights()]

    def _build_batches(self, taught):
        recipe, found = self._recipe, self._data
        labelled = bool(recipe.label_weight[self._kind])
        n_anchors = recipe.n_anchors[self._kind] if labelled else 0
        n_free = recipe.n_free if taught else 0
        if taught and not labelled:
            n_free = recipe.n_free + 2 * recipe.n_anchors["siamese"]
        for count, what in ((n_anchors, "labelled"), (n_free, "free")):
            if count % self._distributed.num_replicas_in_sync:
                raise ValueError(
                    f"{count} {what} crops a step cannot be shared by "
                    f"{self._distributed.num_replicas_in_sync} devices; change the recipe's number "
                    "or use another --strategy."
                )
        siamese = self._kind == "siamese"
        sampler = Sampler(
            found.by_artist,
            found.free,
            n_anchors=n_anchors,
            n_negatives=recipe.n_negatives if siamese and recipe.negatives == "drawn" else 0,
            n_free=n_free,
            positives=siamese,
            seed=self._options.seed,
        )
        n_samples = self._front_end.segment_samples
        seed = self._options.seed
        return Batches(found.cache, sampler, recipe.augmentation, found.free, n_samples, seed)

    def _announce(self):
        found = self._data
        for _, error in found.cache.failures:
            self._say(f"left out: {error}")
        self._say(
            f"{len(found.free)} tracks ({found.hours:.2f} h) to train on, "
            f"{sum(map(len, found.by_artist))} of them with the labels of {len(found.artists)} "
            f"artists; {len(found.held_out)} tracks of {len(set(found.held_out_labels))} held-out "
            f"artists and {len(found.known)} more tracks to check with; {found.short} shorter than "
            f"a segment; {len(found.cache.failures)} unreadable"
        )

    def go(self):
        schedule = Schedule(self._recipe)
        step, row = self._restore(schedule)
        log = self._run.open_log(step) if self._chief else None
        seconds, start = (log.seconds if log else 0.0), time.monotonic()
        while step < self._recipe.n_steps and not schedule.over:
            stop = min(step + self._recipe.check_every, self._recipe.n_steps)
            means = self._steps(step, stop, schedule)
            step = stop
            row = {"step": step, "learning_rate": schedule.rate(step - 1)}
            row |= {f"train_{name}": value for name, value in means.items()}
            found = self._validation.check(self._embed, self._learner.logits)
            row |= {f"valid_{name}": value for name, value in found.items()}
            row["seconds"] = seconds + time.monotonic() - start
            better = "loss" in found and schedule.check(found["loss"], step)
            self._keep(row, schedule, better, log)
        self._finish(row, schedule)
        return row

    def _restore(self, schedule):
        saved = checkpoints.load(self._run.last)
        if saved is None:
            return 0, {}
        arrays, state = saved
        checkpoints.restore(self._learner.variables(), arrays, self._run.last)
        schedule.state = state["schedule"]
        self._say(f"going on from step {state['row']['step']}")
        return state["row"]["step"], state["row"]

    def _steps(self, start, stop, schedule):
        """Train from one step up to another; return means of what the steps report."""
        dataset = self._distributed.distribute_datasets_from_function(
            lambda context: self._batches.dataset(start, stop, context)
        )
        sums = {}
        bar = tqdm(
            total=self._recipe.n_steps,
            initial=start,
            unit="step",
            desc=self._kind,
            disable=None if self._chief else True,
        )
        with bar:
            for step, batch in zip(range(start, stop), dataset, strict=True):
                values = self._learner.step(batch, schedule.rate(step))
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                bar.update()
        means = {name: float(value) / (stop - start) for name, value in sums.items()}
        if not all(map(np.isfinite, means.values())):
            raise ValueError(
                f"training diverged between steps {start} and {stop} ({means}); lower the learning "
                "rate or the precision's risk. The last checkpoint is from before."
            )
        return means

    def _keep(self, row, schedule, better, log):
        if not self._chief:
            return
        arrays = {name: np.asarray(v) for name, v in self._learner.variables().items()}
        state = {"row": row, "schedule": schedule.state}
        if better:
            checkpoints.save(self._run.best, arrays, state)
        checkpoints.save(self._run.last, arrays, state)
        log.write(row)
        writer = tf.summary.create_file_writer(str(self._run.tensorboard))
        with writer.as_default(step=row["step"]):
            for name, value in row.items():
                if name != "step":
                    tf.summary.scalar(name.replace("_", "/", 1), value)
        writer.close()
        shown = {n: v for n, v in row.items() if n.startswith(("train_", "valid_"))}
        self._say(f"step {row['step']}: " + ", ".join(f"{n} {v:.4f}" for n, v in shown.items()))

    def _finish(self, row, schedule):
        if not self._chief:
            return
        if self._recipe.keep == "best" and (saved := checkpoints.load(self._run.best)):
            arrays, state = saved
            checkpoints.restore(self._learner.variables(), arrays, self._run.best)
            row = state["row"]
        # a new graph: float32 throughout, without replicas
        model = models.backbone(front_end=self._front_end, name=self._kind)
        model.set_weights([np.asarray(value) for value in self._learner.model.get_weights()])
        model_folder.write_folder(self._run.path, model, self._card_fields(row))
        self._say(f"step {row['step']} of {self._recipe.n_steps}; model in {self._run.path}")

    def _changes(self):
        """Return what of the recipe was changed, as plain data."""
        named, used = RECIPES[self._options.recipe_name].record(), self._recipe.record()
        return {name: value for name, value in used.items() if value != named[name]}

    def _card_fields(self, row):
        options, found = self._options, self._data
        training = {
            "data": options.data or ", ".join(Path(path).name for path in self._manifests),
            "data_sha256": found.sha256,
            "hours": round(found.hours, 2),
            "n_tracks": len(found.free),
            "n_artists": len(found.artists),
            "recipe": options.recipe_name,
            "recipe_changes": self._changes(),
            "steps": row["step"],
            "teacher": _describe(self._teacher_card),
            "init": _describe(self._init_card),
            "seed": options.seed,
            "split_seed": options.split_seed,
            "dtype": options.dtype,
            "minutes": round(row["seconds"] / 60, 1),
            "date": str(datetime.date.today()),
            "device": f"{self._distributed.num_replicas_in_sync} x {devices.configure_devices()}",
            "versions": runfolder.versions(),
            "command": options.command,
        }
        checks = {name: round(value, 4) for name, value in row.items() if name.startswith("valid_")}
        return {
            "name": options.name or self._kind,
            "kind": self._kind,
            "description": options.description or _sentence(self._kind, self._teacher_card),
            "license": options.license,
            "credit": options.credit,
            "front_end": self._front_end,
            "training": training,
            "scores": {"check_during_training": checks} if checks else {},
        }


def _read(spec):
    return read_model(spec) if spec else (None, None)


def _describe(card):
    if card is None:
        return "none"
    source = card.training.get("source_file_sha256")
    return f"{card.name}, sha256 {card.weights_sha256}" + (f", from {source}" if source else "")


def _sentence(kind, teacher):
    label = {"basic": "an artist classifier", "siamese": "a Siamese model"}[kind]
    taught = f", and to match {teacher.name}" if teacher else ""
    return f"Trained as {label}{taught}."


def _forward(model):
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    function = tf.function(lambda waveforms: model(waveforms, training=False), signature)
    return lambda waveforms: np.asarray(function(tf.constant(waveforms)))
