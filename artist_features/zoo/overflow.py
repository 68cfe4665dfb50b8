"""Can a recording drive a network beyond what float32 holds? Known before anything is computed."""

import numpy as np

from artist_features.errors import WeightsError

_MAX_LOG_MEL = 20.0  # of any front end that `FrontEnd` allows, for amplitudes up to 16
_LIMIT = 1e30  # float32 ends at 3e38; between the two there is room for sums over frames
_EPSILON = 1e-3  # of Keras' batch normalisation


def check_no_overflow(weights, front_end, path):
    """Refuse finite weights that could give an infinite or undefined embedding.

    Each layer's largest possible value is that of the layer before, times the sum of the
    magnitudes of the weights; for trained weights it stays far below the limit.

    Args:
        weights: {layer name: arrays} as `folder.read_weights` gives them, finite.
        front_end: `FrontEnd` of the card.
        path: of the file, for messages.

    Raises:
        WeightsError: `incompatible`.
    """
    largest = np.full(front_end.n_mels, (_MAX_LOG_MEL + abs(front_end.mean)) / front_end.std)
    for layer, arrays in weights.items():
        # float64 holds every product of float32 values here
        arrays = [np.abs(array, dtype=np.float64) for array in arrays]
        if len(arrays) == 2:
            kernel, bias = arrays  # (time, in, out), (out,)
            largest = np.einsum("tio,i->o", kernel, largest) + bias
        else:
            gamma, beta, mean, variance = arrays
            largest = (largest + mean) * gamma / np.sqrt(variance + _EPSILON) + beta
        if largest.max() > _LIMIT:
            raise WeightsError(
                "incompatible",
                f"{layer} could reach {largest.max():.2g}; allowed is up to {_LIMIT:g}, so that "
                "every embedding is finite. These are no trained weights.",
                path,
            )
