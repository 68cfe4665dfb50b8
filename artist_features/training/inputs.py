"""Inputs of a training run, read before any audio: manifests, other models, stored crops."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artist_features.config import FrontEnd, ModelCard, Network
from artist_features.datasets.manifest import parse_manifest, read_bytes, require_files
from artist_features.datasets.names import artist_groups
from artist_features.datasets.splits import splits_of
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError
from artist_features.training.distillation_set import DistillationSet
from artist_features.training.options import TrainingOptions
from artist_features.zoo.registry import read_model

# the mel stage must be the same for a teacher to hear the student's mel spectrogram
_MEL_FIELDS = (
    *("sample_rate", "n_fft", "hop_length", "segment_frames"),
    *("n_mels", "f_min_hz", "f_max_hz"),
)


@dataclass(frozen=True)
class SplitTracks:
    """Tracks of one or more manifests with their splits, before anything is decoded.

    Attributes:
        manifests: paths of the CSV files.
        splits: for each track "train", "valid", "test", or "left out": in one manifest to be
            trained on, but by an artist that another manifest holds out.
        seed: of the split of manifests without a `split` column.
        sha256: of the manifests' bytes.
    """

    manifests: Sequence[str | Path]
    tracks: list[Track]
    splits: np.ndarray
    seed: int
    sha256: str

    def require_artists(self, n_least: int) -> None:
        """Require `n_least` artists with two or more tracks in the split `train`.

        Raises:
            ManifestError: there are too few, or no track in that split.
        """
        training = [t.artist for t, s in zip(self.tracks, self.splits, strict=True) if s == "train"]
        n = sum(count > 1 for artist, count in Counter(training).items() if artist)
        if n < n_least:
            raise ManifestError(
                f"{n} artists to train on; needed are {n_least} or more artists with two or more "
                "tracks each in the split 'train'.",
                self.manifests[0],
            )
        if not training:
            raise ManifestError("no track in the split 'train'; list some.", self.manifests[0])


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
    crops.require_level(level_db)
    return crops


def read_splits(
    manifests: Sequence[str | Path], seed: int = 0, root: str | Path | None = None
) -> SplitTracks:
    """Read manifests, each once, and split their artists.

    Without a `split` column whole artists are held out: 1 in 10 for the check and 2 in 10 for
    the test, which training does not touch.

    Args:
        seed: of the split of those without a `split` column.
        root: folder of relative files; None means that of each manifest.

    Raises:
        ManifestError: a manifest or a file in it cannot be used.
    """
    tracks: list[Track] = []
    splits: list[str] = []
    sources: list[str | Path] = []
    digest = hashlib.sha256()
    for manifest in manifests:
        data = read_bytes(manifest)
        digest.update(data)
        rows = parse_manifest(data, manifest, root)
        require_files(manifest, rows)
        tracks += rows
        splits += splits_of(rows, manifest, by="artist", seed=seed)
        sources += [manifest] * len(rows)
    _refuse_twice(tracks, manifests)
    kept = _without_held_out(tracks, splits, sources)
    return SplitTracks(manifests, tracks, kept, seed, digest.hexdigest())


def _refuse_twice(tracks: Sequence[Track], manifests: Sequence[str | Path]) -> None:
    seen = set()
    for track in tracks:
        path = track.path.resolve()
        if path in seen:
            raise ManifestError(f"{path} is listed twice; list each track once.", manifests[-1])
        seen.add(path)


def _without_held_out(
    tracks: Sequence[Track], splits: list[str], sources: Sequence[str | Path]
) -> np.ndarray:
    """Exclude training tracks whose artist another manifest holds out.

    Within one manifest an artist may be in several splits: its owner's split goes by track.
    """
    group = artist_groups(tracks)
    held: dict[str, set[str | Path]] = defaultdict(set)
    for track, split, source in zip(tracks, splits, sources, strict=True):
        if track.artist and split != "train":
            held[group[track.artist]].add(source)
    for row, (track, source) in enumerate(zip(tracks, sources, strict=True)):
        if splits[row] == "train" and held.get(group.get(track.artist, ""), set()) - {source}:
            splits[row] = "left out"
    return np.array(splits, dtype=object)
