"""The models as encoders of MTEB's audio tasks, MAEB (extra `[mteb]`).

    import mteb
    from artist_features.mteb import MtebEncoder

    results = mteb.evaluate(MtebEncoder("siamese"), mteb.get_tasks(tasks=["GTZANGenre"]))

`MtebEncoder` has the methods of `mteb.models.EncoderProtocol` and does not derive from
mteb's classes: this module is imported without mteb, which brings PyTorch.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artist_features import optional
from artist_features.audio.stream import open_array
from artist_features.config import FrontEnd, ModelCard
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
_CLIPS_AT_ONCE = 64  # 12 s of each are held as float32, 68 MB
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
            TypeError, ValueError: the task has no sounds, or a sound is no audio array.
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
            clips = map(_samples_and_rate, batch["audio"])
            rows.extend(embed_clips(self.extractor, clips, f"{where}, sound", len(rows)))
        return np.stack(rows) if rows else np.empty((0, self.extractor.embedding_dim), np.float32)

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
    clips: Iterable[tuple[npt.ArrayLike, float]],
    name: str = "clip",
    n_before: int = 0,
) -> npt.NDArray[np.float32]:
    """Embed clips, short ones by segments that cover all of them.

    `extract` loops a clip under one segment (2.995 s) and leaves out the end of a longer one that
    fills no segment. Here a clip under four segments is a loop, of which a segment is embedded from
    each of three starts or more, evenly spaced; the mean is the clip's embedding. Lines of 0.4 to
    12 s find their artist more often so (docs/training.md). Flaws, such as silence, are not
    reported.

    Args:
        extractor: embeds the segments, and longer clips as they are.
        clips: (samples, sample rate in Hz) of each, as `extract` takes them.
        name: of a clip, before its number in errors.
        n_before: number of the first one.

    Returns:
        float32 `(n_clips, dim)`.

    Raises:
        TypeError, ValueError: a clip is no audio array, or has no valid sample rate.
        AudioError: a clip gives no trustworthy embedding.
    """
    rows = [np.empty((0, extractor.embedding_dim), np.float32)]
    numbered = enumerate(clips, n_before)
    while group := list(itertools.islice(numbered, _CLIPS_AT_ONCE)):
        places = [f"{name} {number}" for number, _ in group]
        sources: list[Source] = []
        clip_of: list[int] = []
        for row, (_, (samples, sample_rate)) in enumerate(group):
            parts = _covering_parts(samples, sample_rate, extractor.front_end, places[row])
            sources += [Source(part, extractor.front_end.sample_rate) for part in parts]
            clip_of += [row] * len(parts)
        sums = np.zeros((len(group), extractor.embedding_dim))
        for result in extractor.results(sources, n_sources=len(sources)):
            row = clip_of[result.index]
            if result.error is not None:
                raise AudioError(result.error.code, result.error.message, places[row])
            sums[row] += result.embedding
        rows.append((sums / np.bincount(clip_of)[:, None]).astype(np.float32))
    return np.concatenate(rows)


def _covering_parts(
    samples: npt.ArrayLike, sample_rate: float, front_end: FrontEnd, place: str
) -> list[npt.NDArray[np.float32]]:
    """Read a clip at the model's rate; return it, or segments of the loop of a short one."""
    rate, n_segment = front_end.sample_rate, front_end.segment_hop_samples
    try:
        clip = open_array(samples, sample_rate=sample_rate, target_rate=rate).read()
    except AudioError as error:
        raise AudioError(error.code, error.message, place) from None
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from None
    if len(clip) >= _N_SEGMENTS_COVERED * n_segment:
        return [clip]
    n_starts = max(_LEAST_STARTS, math.ceil(len(clip) / n_segment))
    starts = np.arange(n_starts) * len(clip) // n_starts
    return list(np.take(clip, starts[:, None] + np.arange(n_segment), mode="wrap"))


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


def _samples_and_rate(item: Mapping[str, Any]) -> tuple[npt.NDArray[Any], float]:
    """Return ((n_samples,) or (n_samples, n_channels), sample rate in Hz) of an audio item."""
    # mteb and torchcodec put channels first
    return np.asarray(item["array"]).T, item["sampling_rate"]
