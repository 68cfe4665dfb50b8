"""What `extract` takes and gives, in names for type checkers."""

import os
from collections.abc import Generator, Mapping, Set
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # Keras is imported when a model is built
    import keras

    from artist_features.zoo.registry import ModelSpec


class Array(Protocol):
    """Samples in anything that NumPy takes for an array: its own, a tensor, a Series."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


AudioFile: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
Recording: TypeAlias = AudioFile | Array | tuple[Array, float] | Mapping[str, Any]
Recordings: TypeAlias = list[Any] | tuple[Recording, ...] | Set[Any] | Generator[Any, Any, Any]
Model: TypeAlias = "ModelSpec | keras.Model"
Pool: TypeAlias = Literal["mean"] | None
OnError: TypeAlias = Literal["raise", "skip", "nan"]
Decoder: TypeAlias = Literal["auto", "soundfile", "av", "tfio"]
Embedding: TypeAlias = npt.NDArray[np.float32]
