"""The models as encoders of MTEB's audio tasks, MAEB (extra `[mteb]`).

    import mteb
    from artist_features.mteb import MtebEncoder

    results = mteb.evaluate(MtebEncoder("siamese"), mteb.get_tasks(tasks=["GTZANGenre"]))

`MtebEncoder` has the methods of `mteb.models.EncoderProtocol` and does not derive from
mteb's classes: this module is imported without mteb, which brings PyTorch.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
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
_N_SEGMENTS_COVERED = 4  # a clip under that many is a loop; source: our trials, docs/training.md
_LEAST_STARTS = 3  # of segments in it; five were no better
_CITATION = """@inproceedings{park2018representation,
    title = {Representation Learning of Music Using Artist Labels},
    author = {Park, Jiyoung and Lee, Jongpil and Park, Jangyeon and Ha, Jung-Woo and Nam, Juhan},
    booktitle = {Proc. 19th International Society for Music Information Retrieval Conference},
    year = {2018}
}"""


class MtebEncoder:
    """Encoder of mteb: sounds of 12 s or more as `extract`, shorter ones by `embed_clips`.

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
        rows = np.empty((0, self.extractor.embedding_dim), np.float32)
        for batch in tqdm(inputs, disable=not show_progress_bar, desc="Encoding audio"):
            if "audio" not in batch:
                raise ValueError(
                    f"{where}: inputs are {', '.join(batch)}; allowed is audio. These models take "
                    "no other modality."
                )
            clips = [_samples_and_rate(item) for item in batch["audio"]]
            found = embed_clips(self.extractor, clips, f"{where}, sound", len(rows))
            rows = np.concatenate([rows, found])
        return rows

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosines of all pairs, tensor `(n_1, n_2)`, as mteb computes them."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosine of each pair, tensor `(n,)`, as mteb computes it."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


def embed_clips(
    extractor: Extractor,
    clips: Sequence[tuple[npt.NDArray[Any], int]],
    name: str = "clip",
    n_before: int = 0,
) -> npt.NDArray[np.float32]:
    """Embed clips, short ones by segments that cover all of them.

    `extract` loops a clip under one segment (2.995 s) and leaves out the end of a longer one that
    fills no segment. Here a clip under four segments is a loop, of which a segment is embedded from
    each of three starts or more, evenly spaced; the mean is the clip's embedding. Lines of 0.4 to
    12 s find their artist more often so (docs/training.md).

    Args:
        extractor: embeds the segments, and longer clips as they are.
        clips: (samples, sample rate in Hz) of each, as `extract` takes them.
        name: of a clip, before its number in errors.
        n_before: number of the first one.

    Returns:
        float32 `(n_clips, dim)`.

    Raises:
        ValueError: a clip is no audio array.
        AudioError: a clip gives no trustworthy embedding.
    """
    sources: list[Source] = []
    clip_of: list[int] = []
    for number, (samples, rate) in enumerate(clips):
        n_segment = math.ceil(extractor.front_end.segment_hop_s * rate)
        parts = [samples]
        if 0 < len(samples) < _N_SEGMENTS_COVERED * n_segment:
            n_starts = max(_LEAST_STARTS, math.ceil(len(samples) / n_segment))
            starts = np.arange(n_starts) * len(samples) // n_starts
            segments = starts[:, None] + np.arange(n_segment)
            parts = list(np.take(samples, segments, axis=0, mode="wrap"))
        sources += [Source(part, rate) for part in parts]
        clip_of += [number] * len(parts)
    sums = np.zeros((len(clips), extractor.embedding_dim))
    for result in extractor.results(sources, n_sources=len(sources)):
        number = clip_of[result.index]
        if result.error is not None:
            place = f"{name} {n_before + number}"
            raise AudioError(result.error.code, result.error.message, place)
        sums[number] += result.embedding
    return (sums / np.bincount(clip_of, minlength=len(clips))[:, None]).astype(np.float32)


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
