"""Training step: student, heads, teacher and optimizer, also on several devices."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from artist_features.config import FrontEnd
from artist_features.training import augment
from artist_features.training.cache import FULL_SCALE
from artist_features.training.losses import SiameseHinge, batch_hinge, distillation, relation, unit
from artist_features.training.recipes import Recipe
from artist_features.zoo import networks

_MEL = "drop_channel"  # the layer whose output is the mel spectrogram, before compression
_LOG_MEL = "log_mel"  # the layer whose output is stored in a distillation set
_N_MOMENTS = 1 << 15  # crops that give a teacher's mean and deviation
_CONSTANT = 1e-3  # deviation from which a teacher's number says something
_EPSILON = 1e-5  # of a variance over the batch; those of embeddings are about 0.1
_REPLICA_SUM = tf.distribute.ReduceOp.SUM

_Batch: TypeAlias = tuple[tf.Tensor, ...]
_Tensors: TypeAlias = dict[str, tf.Tensor]
_Inputs: TypeAlias = tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]  # mel, labels, target


class Learner:
    """Model in training with its heads, teacher and optimizer; `step` updates the weights.

    A step runs under `strategy.run`: Keras 3 cannot `fit` under every
    `tf.distribute` strategy. Batch normalisation, gradients and in-batch negatives go
    over all replicas, so that their number does not change the result.

    Args:
        kind: "basic" or "siamese".
        n_artists: classes of the "basic" head.
        weights: list of arrays of the backbone to start from, or None.
        teacher: model to match, or None.
        teacher_embeddings: {name: float `(n, dim)`} of teachers that have heard the stored
            crops which are trained on, to be matched side by side, standardised, through a
            layer that serves training only; or None.
        front_end: of the model; None means the authors'.
        dtype: "float32", "bfloat16" or "float16" (convolutions only).

    Attributes:
        model: in training, waveforms to embeddings.
        embed: function from waveforms float32 `(n, n_samples, 1)` to embeddings `(n, dim)`.
        embed_stored: the same from log-mel float32 `(n, n_frames, n_mels)` of stored crops.
    """

    def __init__(
        self,
        kind: str,
        recipe: Recipe,
        *,
        n_artists: int,
        weights: list[np.ndarray] | None = None,
        teacher: keras.Model | None = None,
        teacher_embeddings: Mapping[str, np.ndarray] | None = None,
        front_end: FrontEnd | None = None,
        strategy: tf.distribute.Strategy,
        dtype: str = "float32",
    ) -> None:
        self._kind, self._recipe, self._strategy = kind, recipe, strategy
        self._n_replicas = strategy.num_replicas_in_sync
        with strategy.scope():
            with _precision(dtype):
                self.model = networks.backbone(front_end=front_end, name=kind)
            if weights is not None:
                self.model.set_weights(weights)
            for layer in self.model.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = self._n_replicas > 1
            self._mel_model = keras.Model(self.model.input, self.model.get_layer(_MEL).output)
            self.student = _submodel_from(self.model, _LOG_MEL if teacher_embeddings else _MEL)
            self._teacher: Any = _submodel_from(teacher, _MEL) if teacher else None
            self._scales = _standardisation(teacher_embeddings or {})
            self._heads = self._build_heads(n_artists, teacher)
            self.optimizer = _optimizer(recipe, dtype)
            self.optimizer.build(self._trainable)
        self._centres_hz = _mel_centres(self.model)
        if teacher_embeddings:
            self._inputs, self._match = self._distillation_inputs, self._stored_teacher_loss
        else:
            self._inputs, self._match = self._audio_inputs, self._teacher_loss
        self._run = tf.function(self._distributed_step)
        self.embed = _forward(self.model)
        self.embed_stored = _forward(self.student)

    def _build_heads(
        self, n_artists: int, teacher: keras.Model | None
    ) -> dict[str, keras.layers.Dense]:
        sizes: dict[str, int] = {}
        dim = self.model.output_shape[-1]
        if self._kind == "basic" and self._recipe.label_weight:
            sizes["artist"] = n_artists
        if teacher and teacher.output_shape[-1] != dim:
            # another size of embedding is matched through a layer that serves training only
            sizes["teacher"] = teacher.output_shape[-1]
        if self._scales:
            # this name and "teacher" stand in checkpoints
            sizes["vectors"] = sum(int(np.count_nonzero(scale)) for _, scale in self._scales)
        heads = {n: keras.layers.Dense(size, dtype="float32", name=n) for n, size in sizes.items()}
        for head in heads.values():
            head.build((None, dim))
        return heads

    @property
    def _trainable(self) -> list[keras.Variable]:
        heads = [v for head in self._heads.values() for v in head.trainable_variables]
        return self.student.trainable_variables + heads

    def variables(self) -> dict[str, keras.Variable]:
        """Return {name: Keras variable} of all that a checkpoint must hold."""
        groups = {"model": self.model.variables, "optimizer": self.optimizer.variables}
        groups |= {name: head.variables for name, head in self._heads.items()}
        return {f"{g}/{n:03d}": v for g, group in groups.items() for n, v in enumerate(group)}

    def step(self, batch: Any, learning_rate: float) -> _Tensors:
        """Update the weights once.

        Args:
            batch: what `AudioBatches` or `CropBatches` yield, distributed by the strategy.
            learning_rate: of this step.

        Returns:
            {name: scalar}: `loss` (weighted terms, without the L2 penalty on the weights, which
            is minimised, too), `label` (per anchor), `cosine` (to the teacher, mean over the
            batch; of stored crops to all teachers side by side).
        """
        self.optimizer.learning_rate.assign(learning_rate)
        return self._run(batch)

    def _distributed_step(self, batch: Any) -> _Tensors:
        sums = self._strategy.run(self._replica_step, args=(batch,))
        return {n: self._strategy.reduce(_REPLICA_SUM, v, axis=None) for n, v in sums.items()}

    def _replica_step(self, batch: _Batch) -> _Tensors:
        """Embed a batch, apply the gradients of its weighted loss; return the step's metrics."""
        mel, labels, target = self._inputs(batch)
        n = labels.shape[0]
        with tf.GradientTape() as tape:
            embeddings = self._embed(mel, n)
            label = self._artist_loss(embeddings, labels)
            match, cosine = self._match(embeddings, target)
            loss = self._recipe.label_weight * label + match
            penalty = tf.add_n(self.student.losses) / self._n_replicas  # L2
            scaled = (loss + tf.cast(penalty, tf.float32)) * self._loss_scale()
        self._update(tape.gradient(scaled, self._trainable))
        per_anchor = label / (n * self._n_replicas) if self._loss_is_summed and n else label
        return {"loss": loss, "label": per_anchor, "cosine": cosine}

    def _distillation_inputs(self, batch: _Batch) -> _Inputs:
        """Return log-mel and labels of stored crops; target: their teachers' embeddings."""
        log_mel, labels, *embeddings = batch
        log_mel = tf.cast(log_mel, tf.float32)
        parts = []
        for rows, (mean, scale) in zip(embeddings, self._scales, strict=True):
            part = (tf.cast(rows, tf.float32) - mean) * scale
            parts.append(tf.boolean_mask(part, scale > 0, axis=1))
        return log_mel, labels, tf.concat(parts, axis=1)

    def _audio_inputs(self, batch: _Batch) -> _Inputs:
        """Return augmented mel and labels of waveforms; target: what the teacher makes of them."""
        crops, gain_db, eq_db, low_hz, high_hz, labels = batch
        waveform = tf.cast(crops, tf.float32) / FULL_SCALE * 10 ** (gain_db / 20)[:, None]
        clean = self._mel_model(waveform[..., None], training=False)
        curve = augment.mel_curve(eq_db, clean.shape[-1])
        mel = clean * curve * augment.band_mask(low_hz, high_hz, self._centres_hz)
        heard = clean if self._recipe.teacher_hears == "clean" else mel
        target = self._teacher(heard, training=False) if self._teacher else None
        return mel, labels, target

    @property
    def _loss_is_summed(self) -> bool:
        """True if the Siamese hinge loss is a sum over the batch (authors' code), not a mean."""
        return self._kind == "siamese" and self._recipe.negatives == "drawn"

    def _embed(self, mel: tf.Tensor, n: int) -> tf.Tensor:
        if not self._loss_is_summed:
            return self.student(mel, training=True)
        # as the authors' towers: batch statistics of anchors, of positives, of each
        # column of negatives are kept apart (C `model.py`)
        towers = 2 + self._recipe.n_negatives
        parts = tf.split(mel, [n] * towers + [mel.shape[0] - n * towers])
        parts = [part for part in parts if part.shape[0]]
        return tf.concat([self.student(part, training=True) for part in parts], 0)

    def _artist_loss(self, embeddings: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        n = labels.shape[0]
        if not n or not self._recipe.label_weight:
            return tf.constant(0.0)
        n_global = n * self._n_replicas
        if self._kind == "basic":
            logits = self._heads["artist"](embeddings[:n])
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            return tf.reduce_sum(entropy) / n_global
        anchors, positives = embeddings[:n], embeddings[n : 2 * n]
        if self._recipe.negatives == "in_batch":
            others, other_labels = self._gather(positives), self._gather(labels)
            k = self._recipe.n_negatives
            hinge = batch_hinge(anchors, positives, labels, others, other_labels, k)
            return tf.reduce_sum(hinge) / n_global
        towers = embeddings[n : n * (2 + self._recipe.n_negatives)]
        others = tf.reshape(towers, (1 + self._recipe.n_negatives, n, -1))
        similarity = tf.einsum("nd,knd->nk", unit(anchors), unit(others))
        return SiameseHinge()(tf.zeros((n, 1)), similarity)

    def _teacher_loss(
        self, embeddings: tf.Tensor, target: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if target is None:
            return tf.constant(0.0), tf.constant(0.0)
        if "teacher" in self._heads:
            embeddings = self._heads["teacher"](embeddings)
        n_global = tf.cast(tf.shape(target)[0] * self._n_replicas, tf.float32)
        cosine = tf.reduce_sum(unit(embeddings) * unit(target)) / n_global
        match = tf.reduce_sum(distillation(embeddings, target)) / n_global
        return self._recipe.teacher_weight * match, cosine

    def _stored_teacher_loss(
        self, embeddings: tf.Tensor, target: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        recipe, n_global = self._recipe, tf.shape(target)[0] * self._n_replicas
        n_global = tf.cast(n_global, tf.float32)
        others, other_targets = self._gather(embeddings), self._gather(target)
        mean, variance = tf.nn.moments(others, axes=[0])
        relation_loss = tf.constant(0.0)
        # both as the embeddings are, for search by cosine, and each dimension standardised over
        # the batch, as classifiers and `metrics.agreement` take them
        for origin, scale in ((0.0, 1.0), (mean, tf.math.rsqrt(variance + _EPSILON))):
            rows, columns = (embeddings - origin) * scale, (others - origin) * scale
            per_row = relation(rows, target, columns, other_targets)
            relation_loss += tf.reduce_sum(per_row) / n_global / 2
        found = self._heads["vectors"](embeddings)
        distillation_loss = tf.reduce_sum(distillation(found, target)) / n_global
        cosine = tf.reduce_sum(unit(found) * unit(target)) / n_global
        loss = recipe.vectors_weight * distillation_loss + recipe.relation_weight * relation_loss
        return loss, cosine

    def _gather(self, values: tf.Tensor) -> tf.Tensor:
        if self._n_replicas == 1:
            return values
        # a sum of each replica's rows in its own place: `all_gather` fails where a process
        # has one device ("destinations can not be empty", TensorFlow 2.20)
        context = tf.distribute.get_replica_context()
        place = tf.one_hot(context.replica_id_in_sync_group, self._n_replicas, dtype=values.dtype)
        spread = tf.tensordot(place, values, 0)
        spread = tf.reshape(spread, (-1, *values.shape[1:]))
        return context.all_reduce(_REPLICA_SUM, spread)

    def _loss_scale(self) -> tf.Tensor:
        is_scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        return tf.convert_to_tensor(self.optimizer.dynamic_scale) if is_scaled else 1.0

    def _update(self, gradients: list[tf.Tensor]) -> None:
        if self._n_replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(_REPLICA_SUM, gradients)
        if self._recipe.clip_norm:
            limit = self._recipe.clip_norm * self._loss_scale()
            gradients, _ = tf.clip_by_global_norm(gradients, limit)
        # the optimizer sums over the replicas once more
        gradients = [gradient / self._n_replicas for gradient in gradients]
        self.optimizer.apply(gradients, self._trainable)

    def embed_by_teacher(self, waveforms: np.ndarray) -> np.ndarray:
        """Return the teacher's embeddings of the student's mel spectrogram, `(n, dim)`."""
        return np.asarray(self._teacher(self._mel_model(tf.constant(waveforms)), training=False))

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the classifier's logits of embeddings, float32 `(n, n_artists)`."""
        return np.asarray(self._heads["artist"](tf.constant(embeddings)))


@contextlib.contextmanager
def _precision(dtype: str) -> Iterator[None]:
    """Build layers under a dtype policy; the policy before comes back at the end."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if dtype == "float32" else f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _submodel_from(model: keras.Model, layer: str) -> keras.Model:
    """Build a submodel from the output of a named layer to the model's output."""
    return keras.Model(model.get_layer(layer).output, model.output)


def _forward(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Compile a model for NumPy arrays of any number of rows."""
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    function = tf.function(lambda inputs: model(inputs, training=False), signature)
    return lambda inputs: np.asarray(function(tf.constant(inputs)))


def _standardisation(
    embeddings: Mapping[str, np.ndarray],
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per-dimension z-score (mean, inverse std) of each teacher's embeddings, equally weighted.

    Teachers weigh as in `metrics.agreement`, and a number has a variance of about 1.
    """
    found = []
    for rows in embeddings.values():
        rows = np.asarray(rows[:_N_MOMENTS], np.float32)
        deviation = rows.std(axis=0)
        varies = deviation > _CONSTANT
        found.append((rows.mean(axis=0), varies / np.where(varies, deviation, 1)))
    counts = [len(scale) for _, scale in found]
    return [
        (mean, (scale * np.sqrt(sum(counts) / len(counts) / count)).astype(np.float32))
        for (mean, scale), count in zip(found, counts, strict=True)
    ]


def _optimizer(recipe: Recipe, dtype: str) -> keras.optimizers.Optimizer:
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(
            recipe.learning_rate, momentum=recipe.momentum, nesterov=True
        )
    else:
        optimizer = keras.optimizers.Adam(recipe.learning_rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if dtype == "float16" else optimizer


def _mel_centres(model: keras.Model) -> np.ndarray:
    """Return the centre of each mel band of a model in Hz, float32 `(n_mels,)`."""
    layer = model.get_layer("mel")
    bank = np.asarray(layer.filterbank)
    frequencies = np.linspace(0, layer.filterbank_kwargs["sample_rate"] / 2, len(bank))
    return (frequencies @ bank / np.maximum(bank.sum(0), 1e-12)).astype(np.float32)
