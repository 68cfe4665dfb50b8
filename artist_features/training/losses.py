"""Losses of the Siamese model and of distillation.

Source: Park et al., ISMIR 2018, equation 1; authors' `model.py`, `hinge_loss`.
"""

from typing import Any, TypeAlias

import keras

Tensor: TypeAlias = Any  # of any backend, or a NumPy array

MARGIN = 0.4  # P section 3.2, C `train.py`
# of 1 - cosine beside the squared error; source: our trials of distillation
_COSINE_WEIGHT = 2.0
_EQUAL = 0.9999  # cosine of two targets from which they are one


@keras.saving.register_keras_serializable(package="artist_features")
class SiameseHinge(keras.losses.Loss):  # type: ignore[misc]
    """Max-margin (hinge) loss on cosine similarities, summed over negatives and batch.

    Loss of the recipe `paper` for Siamese models; that of the default is `batch_hinge`.
    `y_pred` is the output of `networks.siamese()`: float32 `(batch, 1 + n_negatives)`,
    the similarity to the positive first. `y_true` is not used. The authors' sum over
    the batch is kept (`reduction="sum"`): their learning rate of 0.1 belongs to it.

    Args:
        margin: in units of cosine similarity.

    Example:
        >>> y = keras.ops.array([[0.9, 0.7, 0.1]])
        >>> round(float(SiameseHinge()(keras.ops.zeros((1, 1)), y)), 3)
        0.2
    """

    def __init__(
        self,
        margin: float = MARGIN,
        reduction: str = "sum",
        name: str = "siamese_hinge",
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.margin = margin

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.ops.sum(hinge(y_pred[:, :1], y_pred[:, 1:], self.margin), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin}


def hinge(positive: Tensor, negatives: Tensor, margin: float = MARGIN) -> Tensor:
    """Compute the max-margin loss of each negative: max(0, margin - positive + negative).

    Args:
        positive: float32 `(n, 1)`, each anchor's cosine similarity to its positive.
        negatives: float32 `(n, n_negatives)`, those to its negatives.
        margin: in units of cosine similarity.

    Returns:
        float32 `(n, n_negatives)`.
    """
    return keras.ops.maximum(0.0, margin - positive + negatives)


def batch_hinge(
    anchors: Tensor,
    positives: Tensor,
    labels: Tensor,
    others: Tensor,
    other_labels: Tensor,
    n_negatives: int,
) -> Tensor:
    """Compute each anchor's max-margin loss with in-batch hard-negative mining.

    Args:
        anchors, positives: float32 `(n, dim)`, embeddings, row by row a pair.
        labels: int32 `(n,)`, artist index of each pair.
        others: float32 `(m, dim)`, the clips that serve as negatives.
        other_labels: int32 `(m,)`; clips of the anchor's own artist are left out.
        n_negatives: the clips of other artists nearest to the anchor; fewer where the
            batch has no more.

    Returns:
        float32 `(n,)`; 0 for an anchor without a negative.

    Example:
        >>> a = keras.ops.array([[1.0, 0.0]])
        >>> o = keras.ops.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
        >>> loss = batch_hinge(a, a, keras.ops.array([0]), o, keras.ops.array([0, 1, 2]), 1)
        >>> round(float(loss[0]), 3)
        0.2
    """
    ops = keras.ops
    positive = ops.sum(unit(anchors) * unit(positives), axis=-1, keepdims=True)
    similarity = ops.matmul(unit(anchors), ops.transpose(unit(others)))
    losses = hinge(positive, similarity)
    losses = ops.where(labels[:, None] != other_labels[None, :], losses, 0.0)
    hardest, _ = ops.top_k(losses, min(n_negatives, others.shape[0]))
    return ops.sum(hardest, axis=-1)


def distillation(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Return each row's mean squared error + 2 (1 - cosine) to the teacher's embedding.

    Args:
        embeddings, targets: float32 `(n, dim)`.

    Returns:
        float32 `(n,)`.

    Example:
        >>> x = keras.ops.array([[1.0, 0.0]])
        >>> y = keras.ops.array([[0.0, 1.0]])
        >>> float(distillation(x, x)[0]), float(distillation(x, y)[0])
        (0.0, 3.0)
    """
    squared = keras.ops.mean((embeddings - targets) ** 2, axis=-1)
    cosine = keras.ops.sum(unit(embeddings) * unit(targets), axis=-1)
    return squared + _COSINE_WEIGHT * (1.0 - cosine)


def relation(embeddings: Tensor, targets: Tensor, others: Tensor, other_targets: Tensor) -> Tensor:
    """Compute each row's relational (similarity-preserving) distillation loss.

    For every row the cosines of the embedding to the batch's other embeddings are
    correlated with those of the target to their targets. Neither the targets' length nor
    the level of their cosines matters: a row's order of neighbours is what is learned.
    Pairs of equal targets (a crop and itself) and rows without one do not count.

    Args:
        embeddings, others: float32 `(n, dim)` and `(m, dim)`.
        targets, other_targets: float32 `(n, k)` and `(m, k)`; zeros where there is none.

    Returns:
        float32 `(n,)`, 0 to 2; 0 for rows with fewer than two pairs that count.

    Source: after Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.

    Example:
        >>> x = keras.ops.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> y = keras.ops.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
        >>> [abs(round(float(value), 3)) for value in relation(x, y, x, y)]
        [2.0, 0.0, 0.0]
    """
    ops = keras.ops
    known, others_known = (ops.any(t != 0, axis=-1) for t in (targets, other_targets))
    targets, other_targets = unit(targets), unit(other_targets)
    wanted = ops.matmul(targets, ops.transpose(other_targets))
    found = ops.matmul(unit(embeddings), ops.transpose(unit(others)))
    counts = known[:, None] & others_known[None, :] & (wanted < _EQUAL)
    weights = ops.cast(counts, "float32")
    weights = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), 1.0)
    wanted, found = (v - ops.sum(weights * v, axis=-1, keepdims=True) for v in (wanted, found))
    together = ops.sum(weights * wanted * found, axis=-1)
    apart = ops.sum(weights * wanted**2, axis=-1) * ops.sum(weights * found**2, axis=-1)
    missing = 1.0 - together / ops.sqrt(apart + 1e-12)
    return ops.where(ops.sum(ops.cast(counts, "int32"), axis=-1) > 1, missing, 0.0)


def unit(embeddings: Tensor) -> Tensor:
    """L2-normalise the rows of a tensor."""
    return keras.ops.normalize(embeddings, axis=-1, epsilon=1e-12)
