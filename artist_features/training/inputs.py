"""Inputs of a training run besides audio: manifests, other models, stored crops."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artist_features.config import FrontEnd, ModelCard, Network
from artist_features.errors import ManifestError
from artist_features.training.data import SplitTracks, read_splits
from artist_features.training.distillation_set import DistillationSet
from artist_features.training.options import TrainingOptions
from artist_features.zoo.registry import read_model

# the mel stage must be the same for a teacher to hear the student's mel spectrogram
_MEL_FIELDS = (
    *("sample_rate", "n_fft", "hop_length", "segment_frames"),
    *("n_mels", "f_min_hz", "f_max_hz"),
)


@dataclass(frozen=True)
class ReadModel:
    """Card and weights of a model that is not built yet."""

    card: ModelCard
    weights: dict[str, list[np.ndarray]]

    @property
    def sha256(self) -> str:
        """Hashes of weights and graph."""
        return f"{self.card.weights_sha256} {self.card.graph_sha256}"


@dataclass(frozen=True)
class TrainingInputs:
    """Inputs of a run, read once and checked.

    Attributes:
        front_end: `FrontEnd` of the model.
        listed: `SplitTracks` of the manifests.
        teacher, init: `ReadModel` to match and to start from, or None.
        crops, check_crops: `DistillationSet` to train on and to choose the best step by, or None.
        settings: plain data for run.json: all that decides the result but the audio.
    """

    front_end: FrontEnd
    listed: SplitTracks
    teacher: ReadModel | None
    init: ReadModel | None
    crops: DistillationSet | None
    check_crops: DistillationSet | None
    settings: dict[str, Any]


def read_inputs(options: TrainingOptions) -> TrainingInputs:
    """Read and check the inputs of a run, the cheap ones first.

    Raises:
        ManifestError, WeightsError: an input cannot be used.
        ValueError: the options do not fit one another or the models.
    """
    recipe = options.recipe
    front_end = FrontEnd(level_db=recipe.level_db)
    teacher, init = _read(options.teacher), _read(options.init)
    if teacher:
        _check_teacher(teacher.card, front_end)
    elif not recipe.label_weight and not options.crops:
        raise ValueError("nothing to learn from: no teacher, no crops, and label_weight is 0.")
    if init and (init.card.front_end, init.card.network) != (front_end, Network()):
        raise ValueError(
            f"start model {init.card.name}: another front end or network than "
            "models.backbone(); its weights would mean nothing there."
        )
    crops = _open(options.crops, recipe.level_db)
    check_crops = _open(options.check_crops, recipe.level_db)
    listed = read_splits(options.manifests, options.split_seed, options.root)
    if not crops:  # else the artists are those of the crops
        listed.require_artists(2 if recipe.label_weight else 0)
    hashes = {
        "data_sha256": listed.sha256,
        "teacher_sha256": teacher.sha256 if teacher else "",
        "init_sha256": init.sha256 if init else "",
        "crops_sha256": crops.sha256 if crops else "",
    }
    settings = options.settings() | hashes
    return TrainingInputs(front_end, listed, teacher, init, crops, check_crops, settings)


def _read(spec: str | Path | None) -> ReadModel | None:
    return ReadModel(*read_model(spec)) if spec else None


def _check_teacher(card: ModelCard, front_end: FrontEnd) -> None:
    for name in _MEL_FIELDS:
        expected, own = getattr(card.front_end, name), getattr(front_end, name)
        if expected != own:
            raise ValueError(
                f"teacher {card.name}: {name} is {expected}, the student's is {own}; a teacher "
                "must hear the same mel bands."
            )


def _open(path: str | Path | None, level_db: float | None) -> DistillationSet | None:
    if not path:
        return None
    crops = DistillationSet(path)
    if (found := crops.facts["level_db"]) != level_db:
        text = (
            f"its crops have a level of {found} dB, the recipe says {level_db}; add --set "
            f"level_db={found}."
        )
        raise ManifestError(text, crops.path)
    return crops
