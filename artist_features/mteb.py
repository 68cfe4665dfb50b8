"""The models as encoders of MTEB's audio tasks, MAEB (extra `[mteb]`).

    import mteb
    from artist_features.mteb import MtebEncoder

    results = mteb.evaluate(MtebEncoder("siamese"), mteb.get_tasks(tasks=["GTZANGenre"]))

`MtebEncoder` has the methods of `mteb.models.EncoderProtocol` and does not derive from
mteb's classes: this module is imported without mteb, which brings PyTorch.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artist_features import optional
from artist_features.audio.stream import check_array
from artist_features.config import ModelCard
from artist_features.errors import AudioError
from artist_features.extraction.decode import Source
from artist_features.extraction.extractor import Extractor
from artist_features.zoo import registry
from artist_features.zoo.folder import expected_weights
from artist_features.zoo.registry import ModelSpec

if TYPE_CHECKING:  # an extra
    from mteb.models import ModelMeta

_ORGANISATION = "artist-features"  # mteb wants names of the form organisation/model
_HUB = "hf://"
_CITATION = """@inproceedings{park2018representation,
    title = {Representation Learning of Music Using Artist Labels},
    author = {Park, Jiyoung and Lee, Jongpil and Park, Jangyeon and Ha, Jung-Woo and Nam, Juhan},
    booktitle = {Proc. 19th International Society for Music Information Retrieval Conference},
    year = {2018}
}"""


class MtebEncoder:
    """Encoder of mteb that embeds the audio of a task as `extract` does.

    Sounds are taken at their own sample rate and resampled with soxr, as everywhere in this
    package; mteb's own resampler is not used.

    Args:
        model: bundled name, path of a model folder, or "hf://owner/name[@revision]".
        batch_size: segments in one call of the network; the result does not depend on it.

    Attributes:
        mteb_model_meta: `mteb.ModelMeta`, by which result files name the model.
        extractor: the `Extractor`.

    Raises:
        ImportError: mteb is not installed.
        ValueError: unknown name.
        WeightsError: the model cannot be fetched, verified or read.
    """

    def __init__(self, model: ModelSpec = "siamese", *, batch_size: int = 64) -> None:
        # arrays need no decoder that may crash: no processes
        self.extractor = Extractor(model, batch_size=batch_size, isolated=False)
        if self.extractor.card is None:
            raise TypeError(f"model is {type(model).__name__}; allowed are a name or a path.")
        self.mteb_model_meta = _model_meta(model, self.extractor.card)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        show_progress_bar: bool = True,
        **kwargs: Any,
    ) -> npt.NDArray[np.float32]:
        """Embed every sound of a task.

        Args:
            inputs: `torch.utils.data.DataLoader` of batches: dict with `audio`, a list of
                items with `array`, float `(n_samples,)` or `(n_channels, n_samples)`, and
                `sampling_rate` in Hz (a dict, or the decoder of `datasets.Audio`).
            task_metadata: of mteb; its name stands in errors.
            hf_split, hf_subset: the part of the task; its name stands in errors.
            prompt_type: not used: sounds need no prompts.
            show_progress_bar: as mteb sets it.
            kwargs: mteb's further options for encoders (its batch size is that of
                `inputs`); not used.

        Returns:
            float32 `(n_sounds, dim)`.

        Raises:
            ValueError: the task has no sounds, or a sound is no audio array.
            AudioError: a sound gives no trustworthy embedding.
        """
        from tqdm.auto import tqdm

        where = f"{task_metadata.name}, {hf_subset}, {hf_split}"
        rows: list[npt.NDArray[np.float32]] = []
        for batch in tqdm(inputs, disable=not show_progress_bar, desc="Encoding audio"):
            if "audio" not in batch:
                raise ValueError(
                    f"{where}: inputs are {', '.join(batch)}; allowed is audio. These models take "
                    "no other modality."
                )
            rows.extend(self._embed(batch["audio"], where, len(rows)))
        if not rows:
            return np.empty((0, self.extractor.embedding_dim), np.float32)
        return np.stack(rows)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosines of all pairs, tensor `(n_1, n_2)`, as mteb computes them."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of each pair, tensor `(n,)`, as mteb computes it."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    def _embed(
        self, items: Iterable[Mapping[str, Any]], where: str, n_before: int
    ) -> list[npt.NDArray[np.float32]]:
        """Return one vector for each item, in order."""
        sources = [Source(*_samples_and_rate(item)) for item in items]
        rows: dict[int, npt.NDArray[np.float32]] = {}
        for result in self.extractor.results(sources, n_sources=len(sources)):
            if result.error is not None:
                place = f"{where}, sound {n_before + result.index}"
                raise AudioError(result.error.code, result.error.message, place)
            rows[result.index] = result.embedding
        return [rows[index] for index in range(len(sources))]


def model_meta(model: ModelSpec = "siamese") -> "ModelMeta":
    """Describe a model to mteb.

    Args:
        model: as in `MtebEncoder`.

    Returns:
        `mteb.models.ModelMeta`, whose `load_model()` gives the `MtebEncoder`.

    Raises:
        ImportError: mteb is not installed.
        ValueError, WeightsError: as `MtebEncoder`.
    """
    return _model_meta(model, registry.read_model(model)[0])


def _model_meta(model: ModelSpec, card: ModelCard) -> "ModelMeta":
    mteb_models = optional.require("mteb.models", "a task of MTEB", "mteb")
    name = f"{_ORGANISATION}/{card.name}"
    if isinstance(model, str) and model.startswith(_HUB):
        name = model.removeprefix(_HUB).partition("@")[0]
    shapes = expected_weights(card.network, card.front_end.n_mels).values()
    n_parameters = sum(math.prod(shape) for _, layer in shapes for shape in layer)
    return mteb_models.ModelMeta(
        loader=functools.partial(_load, model=model),
        name=name,
        revision=card.weights_sha256,
        release_date=card.training.get("date"),
        languages=None,
        n_parameters=n_parameters,
        n_embedding_parameters=0,
        memory_usage_mb=n_parameters * 4 / 2**20,
        max_tokens=float("inf"),  # a sound of any length
        embed_dim=card.embedding_dim,
        license=card.license.lower() if card.license == "MIT" else None,
        open_weights=True,
        public_training_code=None,
        public_training_data=card.training.get("data"),
        framework=["TensorFlow"],
        similarity_fn_name="cosine",
        use_instructions=False,
        # no data set of MTEB 2.26 trained them; nor has it MSD, on which their teachers learned
        training_datasets=set() if model in registry.bundled_names() else None,
        modalities=["audio"],
        citation=_CITATION,
    )


def _load(
    name: str, revision: str | None = None, *, model: ModelSpec, device: Any = None, **options: Any
) -> MtebEncoder:
    """Return the encoder to mteb's `ModelMeta`; TensorFlow chooses the device."""
    return MtebEncoder(model, **options)


def _samples_and_rate(item: Mapping[str, Any]) -> tuple[npt.NDArray[Any], int]:
    """Return ((n_samples,) or (n_samples, n_channels), sample rate in Hz) of an audio item."""
    samples, rate = np.asarray(item["array"]), int(item["sampling_rate"])
    if samples.ndim == 2:  # mteb and torchcodec put channels first
        samples = samples.T
    return check_array(samples, rate), rate
