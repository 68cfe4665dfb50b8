"""Train a model: manifests in, run folder out, which ends as a model folder."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from artist_features import devices
from artist_features.errors import ManifestError
from artist_features.progress import progress_bar
from artist_features.training import data, run_folder
from artist_features.training.distillation_set import CropBatches
from artist_features.training.inputs import TrainingInputs, read_inputs
from artist_features.training.learner import Learner
from artist_features.training.options import TrainingOptions
from artist_features.training.recipes import Schedule
from artist_features.training.run_folder import LOG_FILE, Log, LogRow, RunFolder
from artist_features.training.sampling import AudioBatches, Batches, Sampler
from artist_features.training.validation import Validation
from artist_features.zoo import folder as model_folder
from artist_features.zoo import networks

logger = logging.getLogger(__name__)


def train(options: TrainingOptions, *, between_steps: Callable[[], None] = lambda: None) -> LogRow:
    """Train a model, or go on with the run that a folder holds.

    Killed at any moment, the same call goes on from the last checkpoint and ends with
    the weights of an unbroken run.

    Args:
        between_steps: called after each step; what it raises ends the run.

    Returns:
        The row of the log of the step whose weights are the result.

    Raises:
        ManifestError, WeightsError, OutputError: an input or output cannot be used.
        ValueError: the options do not fit one another or the data.
    """
    choose_device(options.device)
    devices.configure_devices()
    distributed = make_strategy(options.strategy)  # before any tensor is made
    chief = is_chief(distributed)
    inputs = read_inputs(options)
    # a name that a card cannot have is refused now, not after training
    texts = options.card_texts(inputs.teacher.card.name if inputs.teacher else None)
    folder = RunFolder(options.out)
    folder.check(inputs.settings)
    with folder.writing(chief):
        cache = options.cache or folder.path / "cache"
        found = data.load(inputs.listed, cache, inputs.front_end, n_artists=options.n_artists)
        _report(inputs, found)
        loop = _build(options, inputs, found, folder, distributed)
        if chief:
            settings = inputs.settings | {"audio_sha256": found.audio_sha256}
            folder.claim(settings, options.command)
        row = loop.go(between_steps)
        if chief:
            if options.recipe.keep == "best":
                variables = loop.learner.variables()
                best = run_folder.load_checkpoint(folder.best, variables)
                row = best["row"] if best else row
            n_devices = distributed.num_replicas_in_sync
            fields = texts | run_folder.card_fields(
                options, inputs, found, row, artists=loop.artists, n_devices=n_devices
            )
            _write_model(folder, loop.learner, fields)
            logger.info(
                "step %d of %d; model in %s", row["step"], options.recipe.n_steps, folder.path
            )
    return row


def choose_device(device: str) -> None:
    """Limit TensorFlow to a kind of device, before it has started.

    Args:
        device: "auto" (a GPU where there is one), "cpu" or "gpu".

    Raises:
        ValueError: "gpu" and there is none, or TensorFlow runs already.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not gpus:
        raise ValueError(
            "--device gpu: TensorFlow sees no GPU. Install `tensorflow[and-cuda]` and check "
            "`nvidia-smi`, or use --device auto."
        )
    if device == "cpu" and gpus:
        try:
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            raise ValueError("--device cpu: TensorFlow has started on a GPU already.") from None


def make_strategy(name: str) -> tf.distribute.Strategy:
    """Return the `tf.distribute.Strategy` of a name.

    Args:
        name: "none": one device; "mirrored": all visible devices of this machine;
            "multiworker": all processes that the variable `TF_CONFIG` names.
    """
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        gpus = tf.config.list_logical_devices("GPU")
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    return tf.distribute.MultiWorkerMirroredStrategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes files."""
    resolver = strategy.cluster_resolver
    if resolver is None or resolver.task_type is None:
        return True
    if resolver.task_type == "chief":
        return True
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "worker" and resolver.task_id == 0 and not has_chief


def _report(inputs: TrainingInputs, found: data.TrainingSet) -> None:
    """Log the sizes of training and validation sets."""
    for _, error in found.cache.failures:
        logger.info("left out: %s", error)
    if crops := inputs.crops:
        hours, n = crops.facts["hours"], len(crops.facts["tracks"])
        logger.info("%d stored crops of %d tracks (%s h) to train on", crops.n, n, hours)
    checked = "held-out" if found.unseen_artists else "trained"
    logger.info(
        f"{len(found.training)} tracks ({found.hours:.2f} h) to train on, "
        f"{sum(map(len, found.by_artist))} of them with the labels of {len(found.artists)} "
        f"artists; MAP is checked on {len(found.retrieval_valid_tracks)} tracks of "
        f"{len(set(found.retrieval_valid_labels))} {checked} artists; "
        f"{len(found.trained_valid_tracks)} more tracks of trained artists are kept; "
        f"{found.short} shorter than a segment; {len(found.cache.failures)} unreadable"
    )


def _build(
    options: TrainingOptions,
    inputs: TrainingInputs,
    found: data.TrainingSet,
    folder: RunFolder,
    distributed: tf.distribute.Strategy,
) -> "_Loop":
    """Build models, pipeline and validation; the order decides the random weights."""
    batches, artists = _batches(options, inputs, found, distributed.num_replicas_in_sync)
    teacher = None
    if inputs.teacher:
        with distributed.scope():
            teacher = model_folder.build(inputs.teacher.card, inputs.teacher.weights)
            teacher.trainable = False
    keras.utils.set_random_seed(options.seed)
    start = None
    if inputs.init:
        model = model_folder.build(inputs.init.card, inputs.init.weights)
        start = [np.asarray(value) for value in model.get_weights()]
    learner = Learner(
        options.kind,
        options.recipe,
        n_artists=len(artists),
        weights=start,
        teacher=teacher,
        teacher_embeddings=inputs.crops.teachers if inputs.crops else None,
        front_end=inputs.front_end,
        strategy=distributed,
        dtype=options.dtype,
    )
    validation = Validation(
        found,
        options.kind,
        options.recipe,
        inputs.front_end.segment_samples,
        teacher=learner.embed_by_teacher if teacher else None,
        crops=inputs.check_crops,
    )
    if not validation.has_loss:
        _report_no_validation(options)
    return _Loop(options, folder, distributed, learner, batches, artists, validation)


def _batches(
    options: TrainingOptions, inputs: TrainingInputs, found: data.TrainingSet, n_replicas: int
) -> tuple[Batches, list[str]]:
    """Return the batches, and the artists' names in the order of their index."""
    recipe, siamese = options.recipe, options.kind == "siamese"
    taught = inputs.teacher is not None or inputs.crops is not None
    n_anchors = recipe.n_anchors if recipe.label_weight else 0
    n_unlabelled = recipe.n_unlabelled if taught else 0
    if taught and not n_anchors:  # as many crops as with labels
        n_unlabelled += recipe.n_anchors * (1 + siamese)
    for count, what in ((n_anchors, "labelled"), (n_unlabelled, "unlabelled")):
        if count % n_replicas:
            raise ValueError(
                f"{count} {what} crops a step cannot be shared by {n_replicas} devices; "
                "change the recipe's number or use another --strategy."
            )
    if inputs.crops:
        stored = CropBatches(
            inputs.crops,
            n_anchors=n_anchors,
            n_unlabelled=n_unlabelled,
            positives=siamese,
            seed=options.seed,
        )
        return stored, stored.artists
    sampler = Sampler(
        found.by_artist,
        found.training,
        n_anchors=n_anchors,
        n_negatives=recipe.n_negatives if siamese and recipe.negatives == "drawn" else 0,
        n_unlabelled=n_unlabelled,
        positives=siamese,
        seed=options.seed,
    )
    n_samples = inputs.front_end.segment_samples
    batches = AudioBatches(
        found.cache, sampler, recipe.augmentation, found.training, n_samples, options.seed
    )
    return batches, found.artists


def _report_no_validation(options: TrainingOptions) -> None:
    """Warn that there is nothing to validate with, or refuse where the recipe needs it."""
    text = (
        "no tracks to validate with: needed are two artists with two tracks each in the split "
        "'valid' (some 20 artists if it is drawn by artist, or `manifest --split track`)"
    )
    if options.recipe.needs_check:
        raise ManifestError(
            f"{text}; recipe {options.recipe_name!r} cannot do without.", options.manifests[0]
        )
    logger.warning("%s; the run goes by its schedule alone", text)


@dataclass
class _Loop:
    """Steps, checks and checkpoints, from the last checkpoint to the end.

    `artists` are the names of the classes.
    """

    options: TrainingOptions
    folder: RunFolder
    distributed: tf.distribute.Strategy
    learner: Learner
    batches: Batches
    artists: list[str]
    validation: Validation

    def __post_init__(self) -> None:
        self.chief = is_chief(self.distributed)
        self.recipe = self.options.recipe
        self.schedule = Schedule(self.recipe)

    def go(self, between_steps: Callable[[], None]) -> LogRow:
        """Train to the end; return the last row of the log."""
        learner, validation = self.learner, self.validation
        row: LogRow = {}
        if saved := run_folder.load_checkpoint(self.folder.last, learner.variables()):
            row, self.schedule.state = saved["row"], saved["schedule"]
            logger.info("going on from step %d", row["step"])
        step: int = row.get("step", 0)
        if self.chief:
            log = Log(self.folder.path / LOG_FILE, step, validation.teachers)
            events = tf.summary.create_file_writer(str(self.folder.tensorboard))
        seconds, start = row.get("seconds", 0.0), time.monotonic()
        while step < self.recipe.n_steps and not self.schedule.over:
            stop = min(step + self.recipe.check_every, self.recipe.n_steps)
            means = self._steps(step, stop, between_steps)
            step = stop
            row = {"step": step, "learning_rate": self.schedule.rate(step - 1)}
            row |= {f"train_{name}": value for name, value in means.items()}
            found = validation.check(learner.embed, learner.logits, learner.embed_stored)
            row |= {f"valid_{name}": value for name, value in found.items()}
            row["seconds"] = seconds + time.monotonic() - start
            better = "loss" in found and self.schedule.check(self._agreed(found["loss"]), step)
            if self.chief:
                log.write(row)  # first: rows after the last checkpoint are dropped
                self._save(row, better)
                _write_events(events, row)
        return row

    def _steps(self, start: int, stop: int, between_steps: Callable[[], None]) -> dict[str, float]:
        """Train from one step to another; return the mean metrics."""
        dataset = self.distributed.distribute_datasets_from_function(
            lambda context: self.batches.dataset(start, stop, context)
        )
        sums: dict[str, tf.Tensor] = {}
        n_steps = self.recipe.n_steps
        bar = progress_bar(
            None, self.options.kind, n_steps, unit="step", initial=start, shown=self.chief
        )
        with bar:
            for step, batch in zip(range(start, stop), dataset, strict=True):
                values = self.learner.step(batch, self.schedule.rate(step))
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                bar.update()
                between_steps()
        means = {name: float(value) / (stop - start) for name, value in sums.items()}
        if not all(map(np.isfinite, means.values())):
            raise ValueError(
                f"training diverged between steps {start} and {stop} ({means}); lower the learning "
                "rate or use float32. The last checkpoint is from before."
            )
        return means

    def _agreed(self, loss: float) -> float:
        """Average the validation loss over processes, so that all follow one schedule."""
        if self.distributed.num_replicas_in_sync == 1:
            return loss
        values = self.distributed.run(lambda: tf.constant(loss, tf.float64))
        return float(self.distributed.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None))

    def _save(self, row: LogRow, better: bool) -> None:
        """Write the checkpoints and log how the run is doing."""
        arrays = {name: np.asarray(v) for name, v in self.learner.variables().items()}
        state = {"row": row, "schedule": self.schedule.state}
        if better:
            run_folder.save_checkpoint(self.folder.best, arrays, state)
        run_folder.save_checkpoint(self.folder.last, arrays, state)
        shown = {n: v for n, v in row.items() if n.startswith(("train_", "valid_"))}
        values = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
        logger.info("step %d: %s", row["step"], values)


def _write_events(writer: tf.summary.SummaryWriter, row: LogRow) -> None:
    """Write a row of the log for TensorBoard."""
    with writer.as_default(step=row["step"]):
        for name, value in row.items():
            if name != "step":
                tf.summary.scalar(name.replace("_", "/", 1), value)
    writer.flush()


def _write_model(folder: RunFolder, learner: Learner, fields: dict[str, Any]) -> None:
    """Write the model folder: a new graph, float32 throughout, without replicas."""
    model = networks.backbone(front_end=fields["front_end"], name=fields["kind"])
    model.set_weights([np.asarray(value) for value in learner.model.get_weights()])
    model_folder.write_folder(folder.path, model, fields)
