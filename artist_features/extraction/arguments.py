"""What `extract` takes and gives, in names for type checkers."""

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from artist_features.errors import AnyPath

if TYPE_CHECKING:  # Keras is imported when a model is built
    import keras

    from artist_features.zoo.registry import ModelSpec


class Array(Protocol):
    """Samples in anything that NumPy takes for an array: its own, a tensor, a Series."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


Recording: TypeAlias = AnyPath | Array
Recordings: TypeAlias = list[Any] | tuple[Any, ...]  # of `Recording`
Model: TypeAlias = "ModelSpec | keras.Model"
Pool: TypeAlias = Literal["mean"] | None
OnError: TypeAlias = Literal["raise", "skip", "nan"]
Decoder: TypeAlias = Literal["auto", "soundfile", "av", "tfio"]
Embedding: TypeAlias = npt.NDArray[np.float32]
