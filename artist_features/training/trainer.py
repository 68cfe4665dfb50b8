"""Train a model: manifest in, run folder out, which ends as a model folder."""

import errno
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from artist_features.errors import OutputError
from artist_features.training import checkpoints, run_card, runfolder, strategy
from artist_features.training.options import KINDS, Options
from artist_features.training.preparation import Preparation
from artist_features.training.schedule import Schedule
from artist_features.zoo import devices, models
from artist_features.zoo import folder as model_folder


def train(kind, manifests, out, options=None, *, say=print, whole=lambda function: function):
    """Train a model, or go on with the run that a folder holds.

    Killed at any moment, the same call goes on from the last checkpoint and ends with
    the weights of an unbroken run.

    Args:
        kind: "basic" or "siamese".
        manifests: list of paths.
        out: run folder, new or with a run; at the end also a model folder.
        options: `Options`.
        say: function that takes lines for the user.
        whole: decorator of what a stop must not break off (a step, a checkpoint, the model);
            what it raises afterwards ends the run, which can go on from its last checkpoint.

    Returns:
        dict: the last row of the log.

    Raises:
        ManifestError, WeightsError, OutputError: an input or output cannot be used.
        ValueError: the options do not fit one another or the data.
    """
    options = options or Options()
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; allowed are {', '.join(KINDS)}.")
    run = runfolder.RunFolder(out)
    strategy.choose_device(options.device)
    devices.configure_devices()
    distributed = strategy.make_strategy(options.strategy)  # before any tensor is made
    chief = strategy.is_chief(distributed)
    ready = Preparation(kind, manifests, options, run.path)
    run.check(ready.settings)
    try:
        if chief:
            run.lock()
        ready.load(say)
        ready.build(distributed, say)
        if chief:
            run.claim(ready.settings, options.command)
        loop = _Loop(kind, run, ready, options.recipe, distributed, chief, say, whole)
        row = loop.go()
        if chief:
            row = loop.best_row(row)
            fields = run_card.card_fields(
                kind,
                options,
                run.path,
                front_end=ready.front_end,
                found=ready.found,
                crops=ready.crops,
                artists=ready.artists,
                teacher=ready.teacher_card,
                init=ready.init_card,
                row=row,
                manifests=manifests,
                n_devices=distributed.num_replicas_in_sync,
            )
            whole(_write_model)(run.path, ready, fields)
            say(f"step {row['step']} of {options.recipe.n_steps}; model in {run.path}")
    except OSError as error:  # a disk that is full, a folder that became read-only
        code = "no_space" if error.errno == errno.ENOSPC else "not_writable"
        text = f"cannot be written ({error.strerror or error}); mend it and repeat the command."
        raise OutputError(code, text, error.filename or run.path) from None
    finally:
        run.release()
    return row


def _write_model(path, ready, fields):
    """Write the model folder: a new graph, float32 throughout, without replicas."""
    model = models.backbone(front_end=ready.front_end, name=fields["kind"])
    model.set_weights([np.asarray(value) for value in ready.learner.model.get_weights()])
    model_folder.write_folder(path, model, fields)


class _Loop:
    """Steps, checks and checkpoints, from the last checkpoint to the end."""

    def __init__(self, kind, run, ready, recipe, distributed, chief, say, whole):
        self._kind, self._run, self._ready = kind, run, ready
        self._recipe, self._distributed = recipe, distributed
        self._chief, self._say = chief, say
        self._step, self._keep = whole(ready.learner.step), whole(self._write)
        self._schedule = Schedule(recipe)

    def go(self):
        """Train to the end; return the last row of the log."""
        row = self._restore()
        step = row.get("step", 0)
        log = self._run.open_log(step) if self._chief else None
        events = tf.summary.create_file_writer(str(self._run.tensorboard)) if self._chief else None
        seconds, start = row.get("seconds", 0.0), time.monotonic()
        while step < self._recipe.n_steps and not self._schedule.over:
            stop = min(step + self._recipe.check_every, self._recipe.n_steps)
            means = self._steps(step, stop)
            step = stop
            row = {"step": step, "learning_rate": self._schedule.rate(step - 1)}
            row |= {f"train_{name}": value for name, value in means.items()}
            found = self._ready.validation.check(
                self._ready.embed, self._ready.learner.logits, self._ready.embed_crops
            )
            row |= {f"valid_{name}": value for name, value in found.items()}
            row["seconds"] = seconds + time.monotonic() - start
            better = "loss" in found and self._schedule.check(self._agreed(found["loss"]), step)
            if self._chief:
                log.write(row)  # first: rows after the last checkpoint are dropped
                self._keep(row, better)
                _write_events(events, row)
        return row

    def _restore(self):
        saved = checkpoints.load(self._run.last)
        if saved is None:
            return {}
        arrays, state = saved
        checkpoints.restore(self._ready.learner.variables(), arrays, self._run.last)
        self._schedule.state = state["schedule"]
        self._say(f"going on from step {state['row']['step']}")
        return state["row"]

    def _steps(self, start, stop):
        """Train from one step up to another; return means of what the steps report."""
        dataset = self._distributed.distribute_datasets_from_function(
            lambda context: self._ready.batches.dataset(start, stop, context)
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
                values = self._step(batch, self._schedule.rate(step))
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
                bar.update()
        means = {name: float(value) / (stop - start) for name, value in sums.items()}
        if not all(map(np.isfinite, means.values())):
            raise ValueError(
                f"training diverged between steps {start} and {stop} ({means}); lower the learning "
                "rate or use float32. The last checkpoint is from before."
            )
        return means

    def _agreed(self, loss):
        """Return the processes' mean: on unlike machines they would part ways at the next check."""
        if self._distributed.num_replicas_in_sync == 1:
            return loss
        values = self._distributed.run(lambda: tf.constant(loss, tf.float64))
        return float(self._distributed.reduce(tf.distribute.ReduceOp.MEAN, values, axis=None))

    def _write(self, row, better):
        """Write the checkpoints and say how the run is doing."""
        arrays = {name: np.asarray(v) for name, v in self._ready.learner.variables().items()}
        state = {"row": row, "schedule": self._schedule.state}
        if better:
            checkpoints.save(self._run.best, arrays, state)
        checkpoints.save(self._run.last, arrays, state)
        shown = {n: v for n, v in row.items() if n.startswith(("train_", "valid_"))}
        self._say(f"step {row['step']}: " + ", ".join(f"{n} {v:.4f}" for n, v in shown.items()))

    def best_row(self, row):
        """Go back to the best checkpoint where the recipe keeps that; return its row."""
        if self._recipe.keep == "best" and (saved := checkpoints.load(self._run.best)):
            arrays, state = saved
            checkpoints.restore(self._ready.learner.variables(), arrays, self._run.best)
            row = state["row"]
        return row


def _write_events(writer, row):
    with writer.as_default(step=row["step"]):
        for name, value in row.items():
            if name != "step":
                tf.summary.scalar(name.replace("_", "/", 1), value)
    writer.flush()
