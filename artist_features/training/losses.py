"""Loss of the Siamese model.

Source: Park et al., ISMIR 2018, equation 1; authors' `model.py`, `hinge_loss`.
"""

import keras

MARGIN = 0.4  # P section 3.2, C `train.py`


@keras.saving.register_keras_serializable(package="artist_features")
class SiameseHinge(keras.losses.Loss):
    """max(0, margin - s_pos + s_neg), summed over the negatives and the batch.

    `y_pred` is the output of `models.siamese()`: float32 `(batch, 1 + n_negatives)`,
    the similarity to the positive first. `y_true` is not used. The authors' sum over
    the batch is kept (`reduction="sum"`): their learning rate of 0.1 belongs to it.

    Args:
        margin: in units of cosine similarity.

    Example:
        >>> y = keras.ops.array([[0.9, 0.7, 0.1]])
        >>> round(float(SiameseHinge()(keras.ops.zeros((1, 1)), y)), 3)
        0.2
    """

    def __init__(self, margin=MARGIN, reduction="sum", name="siamese_hinge", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.margin = margin

    def call(self, y_true, y_pred):
        positive, negatives = y_pred[:, :1], y_pred[:, 1:]
        hinge = keras.ops.maximum(0.0, self.margin - positive + negatives)
        return keras.ops.sum(hinge, axis=-1)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}
