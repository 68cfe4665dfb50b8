"""Everything that a run needs before its first step, checked in order of cost."""

import dataclasses
import hashlib

import keras
import numpy as np
import tensorflow as tf

from artist_features.config import FrontEnd, Network
from artist_features.errors import ManifestError
from artist_features.training import data, run_card, runfolder
from artist_features.training.batches import Batches
from artist_features.training.crop_batches import CropBatches
from artist_features.training.crop_set import CropSet
from artist_features.training.learner import Learner
from artist_features.training.sampling import Sampler
from artist_features.training.validation import Validation
from artist_features.zoo import folder as model_folder
from artist_features.zoo.registry import read_model

# the mel stage must be the same for a teacher to hear the student's mel spectrogram
_MEL_FIELDS = (
    "sample_rate",
    "n_fft",
    "hop_length",
    "n_mels",
    "f_min_hz",
    "f_max_hz",
    "segment_frames",
)


class Preparation:
    """Cards and settings first, then the music, then the models.

    Args:
        kind, manifests, options: see `trainer.train`.
        path: of the run folder.

    Attributes:
        front_end: `FrontEnd` of the model.
        teacher_card, init_card: `ModelCard` or None.
        settings: `Settings`; complete after `load`.
        found: `TrainingSet`, after `load`.
        learner, batches, validation, embed, embed_crops: after `build`.
        crops: `CropSet` to train on, or None.
        artists: names of the classes, after `build`.

    Raises:
        ManifestError, WeightsError: an input cannot be used.
        ValueError: the options do not fit one another.
    """

    def __init__(self, kind, manifests, options, path):
        self._kind, self._manifests, self._options = kind, manifests, options
        self._path, self._recipe = path, options.recipe
        self.front_end = FrontEnd(level_db=self._recipe.level_db)
        self.teacher_card, self._teacher_weights = _read(options.teacher)
        self.init_card, self._init_weights = _read(options.init)
        run_card.card_texts(kind, options, path, self.teacher_card)
        self._check_teacher()
        self._check_init()
        self.crops, self._check_crops = self._open_crops()
        if not self.crops:  # else the artists are those of the crops
            n_least = 2 if self._recipe.label_weight[kind] else 0
            data.require_artists(manifests, n_least, options.split_seed, options.root)
        self.settings = runfolder.Settings(
            kind=kind,
            recipe_name=options.recipe_name,
            recipe=self._recipe.record(kind),
            seed=options.seed,
            split_seed=options.split_seed,
            n_artists=options.n_artists,
            data_sha256=data.manifests_sha256(manifests),
            audio_sha256="",
            teacher_sha256=_sha256(self.teacher_card),
            init_sha256=_sha256(self.init_card),
            crops_sha256=self.crops.sha256 if self.crops else "",
            dtype=options.dtype,
        )

    def _check_teacher(self):
        card = self.teacher_card
        if card is None:
            if not self._recipe.label_weight[self._kind] and not self._options.crops:
                raise ValueError(
                    "nothing to learn from: no teacher, no crops, and label_weight is 0."
                )
            return
        for name in _MEL_FIELDS:
            theirs, ours = getattr(card.front_end, name), getattr(self.front_end, name)
            if theirs != ours:
                raise ValueError(
                    f"teacher {card.name}: {name} is {theirs}, the student's is {ours}; a teacher "
                    "must hear the same mel bands."
                )

    def _check_init(self):
        card = self.init_card
        if card is None:
            return
        if (card.front_end, card.network) != (self.front_end, Network()):
            raise ValueError(
                f"start model {card.name}: another front end or network than "
                "models.backbone(); its weights would mean nothing there."
            )

    def _open_crops(self) -> list[CropSet | None]:
        sets = [self._options.crops, self._options.check_crops]
        found = [CropSet(path) if path else None for path in sets]
        for crops in filter(None, found):
            level_db = crops.facts["level_db"]
            if level_db != self._recipe.level_db:
                text = (
                    f"its crops have a level of {level_db} dB, the recipe says "
                    f"{self._recipe.level_db}; add --set level_db={level_db}."
                )
                raise ManifestError(text, crops.path)
        return found

    def load(self, say):
        """Decode the music and divide it; say what was found."""
        options = self._options
        self.found = found = data.load(
            self._manifests,
            options.cache or self._path / "cache",
            self.front_end,
            n_artists=options.n_artists,
            split_seed=options.split_seed,
            root=options.root,
        )
        audio = hashlib.sha256(found.cache.lengths.astype("<i8").tobytes()).hexdigest()
        self.settings = dataclasses.replace(self.settings, audio_sha256=audio)
        for _, error in found.cache.failures:
            say(f"left out: {error}")
        checked = "held-out" if found.whole_artists else "trained"
        if self.crops:
            hours, n = self.crops.facts["hours"], len(self.crops.facts["tracks"])
            say(f"{self.crops.n} stored crops of {n} tracks ({hours} h) to train on")
        say(
            f"{len(found.free)} tracks ({found.hours:.2f} h) to train on, "
            f"{sum(map(len, found.by_artist))} of them with the labels of {len(found.artists)} "
            f"artists; MAP is checked on {len(found.held_out)} tracks of "
            f"{len(set(found.held_out_labels))} {checked} artists; {len(found.known)} more tracks "
            f"of trained artists are kept; {found.short} shorter than a segment; "
            f"{len(found.cache.failures)} unreadable"
        )

    def build(self, strategy, say):
        """Build models, pipeline and validation."""
        teacher = None
        with strategy.scope():
            if self.teacher_card:
                teacher = model_folder.build(self.teacher_card, self._teacher_weights)
                teacher.trainable = False
        self.batches = self._build_batches(strategy.num_replicas_in_sync)
        keras.utils.set_random_seed(self._options.seed)
        self.learner = Learner(
            self._kind,
            self._recipe,
            n_artists=len(self.artists),
            weights=self._start(),
            teacher=teacher,
            vectors=self.crops.teachers if self.crops else None,
            front_end=self.front_end,
            strategy=strategy,
            dtype=self._options.dtype,
        )
        self.validation = Validation(
            self.found,
            self._kind,
            self._recipe,
            self.front_end.segment_samples,
            teacher=self.learner.teach if teacher else None,
            crops=self._check_crops,
        )
        self.embed = _forward(self.learner.model)
        self.embed_crops = _forward(self.learner.student) if self.crops else None
        self._check_validation(say)

    def _check_validation(self, say):
        if self.validation.has_loss:
            return
        text = (
            "no tracks to validate with: needed are two artists with two tracks each in the split "
            "'valid' (some 20 artists if it is drawn by artist, or `manifest --split track`)"
        )
        if self._recipe.needs_check:
            raise ManifestError(
                f"{text}; recipe {self._options.recipe_name!r} cannot do without.",
                self._manifests[0],
            )
        say(f"warning: {text}; the run goes by its schedule alone")

    def _start(self):
        if self.init_card is None:
            return None
        model = model_folder.build(self.init_card, self._init_weights)
        return [np.asarray(value) for value in model.get_weights()]

    def _build_batches(self, n_replicas):
        recipe, found, seed = self._recipe, self.found, self._options.seed
        taught = self.teacher_card is not None or self.crops is not None
        siamese = self._kind == "siamese"
        n_anchors = recipe.n_anchors[self._kind] if recipe.label_weight[self._kind] else 0
        n_free = recipe.n_free if taught else 0
        if taught and not n_anchors:  # as many crops as with labels
            n_free += recipe.n_anchors[self._kind] * (1 + siamese)
        for count, what in ((n_anchors, "labelled"), (n_free, "free")):
            if count % n_replicas:
                raise ValueError(
                    f"{count} {what} crops a step cannot be shared by {n_replicas} devices; "
                    "change the recipe's number or use another --strategy."
                )
        if self.crops:
            batches = CropBatches(
                self.crops, n_anchors=n_anchors, n_free=n_free, positives=siamese, seed=seed
            )
            self.artists = batches.artists
            return batches
        self.artists = found.artists
        sampler = Sampler(
            found.by_artist,
            found.free,
            n_anchors=n_anchors,
            n_negatives=recipe.n_negatives if siamese and recipe.negatives == "drawn" else 0,
            n_free=n_free,
            positives=siamese,
            seed=seed,
        )
        n_samples = self.front_end.segment_samples
        return Batches(found.cache, sampler, recipe.augmentation, found.free, n_samples, seed)


def _read(spec):
    return read_model(spec) if spec else (None, None)


def _sha256(card):
    return f"{card.weights_sha256} {card.graph_sha256}" if card else ""


def _forward(model):
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    function = tf.function(lambda inputs: model(inputs, training=False), signature)
    return lambda inputs: np.asarray(function(tf.constant(inputs)))
