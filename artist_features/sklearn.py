"""scikit-learn transformer: recordings to embeddings, as a step of a Pipeline.

from artist_features.sklearn import Embedder

make_pipeline(Embedder(), StandardScaler(), LogisticRegression()).fit(paths, genres)
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError

from artist_features.extraction.decode import ReadingOptions
from artist_features.extraction.recordings import Model, recordings_in

if TYPE_CHECKING:  # TensorFlow's part of the package is imported when a model is used
    from artist_features.extraction.extractor import Extractor


class Embedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # without type hints
    """Embeddings of recordings, one row each; nothing is learned in `fit`.

    Args:
        model: bundled name, path of a model folder, "hf://owner/name[@revision]", or a
            `keras.Model`.
        n_segments: read only so many segments of each file, spread over it; None means all.
        on_error: "raise" at the first recording that cannot be read, or a row of "nan".
        batch_size: segments in one model call; the result does not depend on it.

    Attributes:
        n_features_out_: length of an embedding.

    Example:
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 22050 * 4)
        >>> Embedder().fit_transform([(noise, 22050)]).shape
        (1, 256)
    """

    def __init__(
        self,
        model: Model = "siamese",
        *,
        n_segments: int | None = None,
        on_error: Literal["raise", "nan"] = "raise",
        batch_size: int = 64,
    ) -> None:
        self.model = model
        self.n_segments = n_segments
        self.on_error = on_error
        self.batch_size = batch_size

    def fit(self, X: Iterable[Any], y: Any = None) -> "Embedder":
        """Check the model and the options.

        Args:
            X: recordings, as `transform` takes them; not read.
            y: ignored.

        Raises:
            ValueError: a wrong option, or an unknown model.
            WeightsError: the model cannot be fetched, verified or read.
        """
        self.n_features_out_ = self._extractor().embedding_dim
        return self

    def transform(self, X: Iterable[Any]) -> npt.NDArray[np.float32]:
        """Extract the embedding of each recording.

        Args:
            X: what `artist_features.extract` takes for several recordings; also a column, of
                shape `(n, 1)`, of an array or a data frame.

        Returns:
            float32 `(n, n_features_out_)`; a data frame after `set_output`.

        Raises:
            AudioError: a recording cannot be used, with `on_error="raise"`.
            ValueError: X has several columns.
        """
        if not hasattr(self, "n_features_out_"):
            self.fit(X)
        if isinstance(X, (str, bytes)) or (recordings_in(X) is None and not hasattr(X, "ndim")):
            raise ValueError("X is one recording; a list of recordings is needed.")
        if getattr(X, "ndim", 1) == 2:
            values = np.asarray(X, object)
            if values.shape[1] != 1:
                raise ValueError(
                    f"X has shape {values.shape}; allowed is one column of paths, (n,) or (n, 1)."
                )
            X = values[:, 0].tolist()
        recordings: Any = X  # any iterable, which mypy would take a single text for, too
        extractor = self._extractor()
        return extractor.extract(recordings, n_segments=self.n_segments, on_error=self.on_error)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Return the names of the columns, object `(n_features_out_,)`: "embedding0", ..."""
        if not hasattr(
            self, "n_features_out_"
        ):  # `check_is_fitted` passes: `transform` needs no fit
            raise NotFittedError("Embedder is not fitted yet; call fit first.")
        n = self.n_features_out_
        return np.array([f"embedding{number}" for number in range(n)], object)

    def _extractor(self) -> "Extractor":
        from artist_features.extraction.extractor import Extractor

        if self.on_error not in ("raise", "nan"):
            raise ValueError(f"on_error {self.on_error!r}; allowed are 'raise' and 'nan'.")
        ReadingOptions(n_segments=self.n_segments)  # checks it
        return Extractor(self.model, batch_size=self.batch_size)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True  # paths are no numbers
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags
