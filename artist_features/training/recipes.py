"""Recipes: everything that decides a training run besides the data and the seed."""

import dataclasses
import math
from dataclasses import dataclass, field

from artist_features.config import LEVEL_DB
from artist_features.errors import checked_int


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a crop, each as the share of crops it happens to.

    Attributes:
        gain_db: lowest and highest gain, drawn for every crop.
        mixing: another track is added, 3 to 18 dB softer.
        noise: white noise, 35 to 80 dB under full scale.
        speed: played 6 % slower to 6 % faster (one semitone).
        codec: written as MP3 or Ogg Vorbis of low quality, and read again.
        equaliser: a smooth curve over the mel bands, within 9 dB.
        band_limit: nothing above 4 kHz, 8 kHz, or a cutoff between 3.4 and 11 kHz; a
            third of these crops also lose what is under 300 Hz (a telephone).
    """

    gain_db: tuple = (0.0, 0.0)
    mixing: float = 0.0
    noise: float = 0.0
    speed: float = 0.0
    codec: float = 0.0
    equaliser: float = 0.0
    band_limit: float = 0.0

    def __post_init__(self):
        for name in ("mixing", "noise", "speed", "codec", "equaliser", "band_limit"):
            _check_number(self, name, 0, 1)
        gain = self.gain_db
        if not (_is_pair(gain) and -120 <= gain[0] <= gain[1] <= 120):
            raise ValueError(
                f"recipe: gain_db = {gain!r}; allowed is (lowest, highest) within -120 to 120 dB."
            )


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        n_steps: updates of the weights, unless early stopping ends the run.
        n_anchors: labelled crops a step, by kind; each Siamese anchor has a positive.
        negatives: "drawn": tracks of other artists for each anchor, each encoded for
            itself; "in_batch": the positives of the other anchors serve, encoded once.
        n_negatives: per anchor; in a batch the nearest ones.
        n_free: further crops a step from any training track, labelled or not, for the
            terms of teachers; none without.
        optimizer: "sgd" (Nesterov, `momentum`) or "adam".
        learning_rate: at its height.
        schedule: "plateau": times `plateau_factor` after `plateau_patience` checks
            without a better validation loss; "cosine": `n_warmup` steps up, then down
            to zero.
        decay: the rate is divided by 1 + decay x step.
        clip_norm: of all gradients together; 0 means none.
        label_weight: of the artist loss, by kind.
        teacher_weight: of the teacher's term.
        vectors_weight: of the term for the teachers' vectors of stored crops, matched
            through a layer.
        relation_weight: of the term for the similarities between those vectors.
        teacher_hears: "clean": the crop without equaliser and band limit, so that the
            student learns to ignore them; "same": what the student hears.
        level_db: RMS in dB re full scale that the model brings every segment to; None leaves
            the level as it is.
        check_every: steps between validations, and at most between checkpoints.
        stop_patience: checks without a better validation loss before the run ends; 0
            means that it never ends early.
        keep: weights of which check are the result, "best" validation loss or "last".
    """

    n_steps: int
    n_anchors: dict
    negatives: str
    n_negatives: int
    n_free: int
    optimizer: str
    learning_rate: float
    schedule: str
    momentum: float = 0.9
    decay: float = 0.0
    n_warmup: int = 0
    plateau_factor: float = 0.2
    plateau_patience: int = 5
    clip_norm: float = 0.0
    label_weight: dict = field(default_factory=lambda: {"basic": 1.0, "siamese": 1.0})
    teacher_weight: float = 1.0
    vectors_weight: float = 1.0
    relation_weight: float = 4.0
    teacher_hears: str = "same"
    level_db: float | None = None
    check_every: int = 200
    stop_patience: int = 0
    keep: str = "last"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self):
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                values = " or ".join(map(repr, allowed))
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r}; allowed is {values}.")
        for name in ("n_steps", "n_negatives", "check_every", "plateau_patience"):
            checked_int(f"recipe: {name}", getattr(self, name), 1)
        for name in ("n_free", "n_warmup", "stop_patience"):
            checked_int(f"recipe: {name}", getattr(self, name), 0)
        for value in self.n_anchors.values():
            checked_int("recipe: n_anchors", value, 2)
        for name, high in _HIGHEST.items():
            _check_number(self, name, 0, high)
        for value in self.label_weight.values():
            if not _is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"recipe: label_weight = {value!r}; allowed are numbers from 0.")

    @property
    def needs_check(self):
        """Whether the recipe cannot run without a validation loss."""
        return self.schedule == "plateau" or bool(self.stop_patience) or self.keep == "best"

    def record(self, kind):
        """Return the recipe of a kind as plain data for JSON."""
        record = dataclasses.asdict(self)
        return record | {name: record[name][kind] for name in ("n_anchors", "label_weight")}


_CHOICES = {
    "negatives": ("drawn", "in_batch"),
    "optimizer": ("sgd", "adam"),
    "schedule": ("plateau", "cosine"),
    "teacher_hears": ("clean", "same"),
    "keep": ("best", "last"),
}
_HIGHEST = {
    "learning_rate": 100,
    "momentum": 1,
    "decay": 1,
    "plateau_factor": 1,
    "clip_norm": 1e6,
    "teacher_weight": 1e6,
    "vectors_weight": 1e6,
    "relation_weight": 1e6,
}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_pair(value):
    return isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value))


def _check_number(recipe, name, low, high):
    value = getattr(recipe, name)
    if not _is_number(value) or not low <= value <= high:
        raise ValueError(f"recipe: {name} = {value!r}; allowed are numbers {low} to {high:g}.")
    object.__setattr__(recipe, name, float(value))


# Source: P section 3.3 and C `train.py`: random crops, batch 15, SGD at 0.1 with Nesterov
# momentum 0.9 and decay 1e-6, four negatives, plateau decay by 0.2 (the released weights
# ended at 0.1 x 0.2^8). C checks once an epoch; here every 500 steps.
PAPER = Recipe(
    n_steps=200_000,
    n_anchors={"basic": 15, "siamese": 15},
    negatives="drawn",
    n_negatives=4,
    n_free=0,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="plateau",
    momentum=0.9,
    decay=1e-6,
    plateau_factor=0.2,
    plateau_patience=5,
    check_every=500,
    stop_patience=12,
    keep="best",
)

# Our own: each clip is encoded once, mild augmentation (strong augmentation took 0.04 of
# cosine to the teacher in trials), the artist loss light beside the teacher's term.
DEFAULT = Recipe(
    n_steps=6000,
    n_anchors={"basic": 128, "siamese": 64},
    negatives="in_batch",
    n_negatives=4,
    n_free=128,
    optimizer="adam",
    learning_rate=4e-3,
    schedule="cosine",
    n_warmup=200,
    clip_norm=1.0,
    label_weight={"basic": 0.5, "siamese": 0.5},
    teacher_hears="same",
    level_db=LEVEL_DB,
    check_every=200,
    augmentation=Augmentation(
        gain_db=(-12.0, 6.0),
        mixing=0.15,
        noise=0.1,
        speed=0.05,
        codec=0.01,
        equaliser=0.2,
        band_limit=0.3,
    ),
)

RECIPES = {"paper": PAPER, "default": DEFAULT}
