"""Training recipes (hyperparameters), and the learning rate schedule that follows one."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from artist_features.config import LEVEL_DB
from artist_features.errors import checked_int


@dataclass(frozen=True)
class Augmentation:
    """Probabilities of waveform and mel augmentations, each as a share of crops.

    Attributes:
        gain_db: lowest and highest gain, drawn for every crop; a model with a level (`level_db`)
            undoes it again but for crops near silence.
        mixing: another track is added, 3 to 18 dB softer.
        noise: white noise, 35 to 80 dB under full scale.
        speed: played 6 % slower to 6 % faster (one semitone).
        codec: written as MP3 or Ogg Vorbis of low quality, and read again.
        equaliser: a smooth curve over the mel bands, within 9 dB.
        band_limit: nothing above 4 kHz, 8 kHz, or a cutoff between 3.4 and 11 kHz; a
            third of these crops also lose what is under 300 Hz (a telephone).
    """

    gain_db: tuple[float, float] = (0.0, 0.0)
    mixing: float = 0.0
    noise: float = 0.0
    speed: float = 0.0
    codec: float = 0.0
    equaliser: float = 0.0
    band_limit: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mixing", "noise", "speed", "codec", "equaliser", "band_limit"):
            _check_number(self, name, 0, 1)
        gain = self.gain_db
        is_pair = isinstance(gain, tuple) and len(gain) == 2 and all(map(_is_number, gain))
        if not (is_pair and -120 <= gain[0] <= gain[1] <= 120):
            raise ValueError(
                f"recipe: gain_db = {gain!r}; allowed is (lowest, highest) within -120 to 120 dB."
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters of a training run of one kind of model.

    Attributes:
        n_steps: updates of the weights, unless early stopping ends the run.
        n_anchors: labelled crops a step; each Siamese anchor has a positive.
        negatives: "drawn": tracks of other artists for each anchor, each encoded for
            itself; "in_batch": the positives of the other anchors serve, encoded once.
        n_negatives: per anchor; in a batch the nearest ones.
        n_unlabelled: crops a step without labels, from any training track, for the terms of
            teachers; none without.
        optimizer: "sgd" (Nesterov, `momentum`) or "adam".
        learning_rate: at its height.
        schedule: "plateau": times `plateau_factor` after `plateau_patience` checks
            without a better validation loss; "cosine": `n_warmup` steps up, then down
            to zero.
        decay: the rate is divided by 1 + decay x step.
        clip_norm: of all gradients together; 0 means none.
        label_weight: of the artist loss; 0 means that no artist is learned.
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
    n_anchors: int
    negatives: str
    n_negatives: int
    n_unlabelled: int
    optimizer: str
    learning_rate: float
    schedule: str
    momentum: float = 0.9
    decay: float = 0.0
    n_warmup: int = 0
    plateau_factor: float = 0.2
    plateau_patience: int = 5
    clip_norm: float = 0.0
    label_weight: float
    teacher_weight: float = 1.0
    vectors_weight: float = 1.0
    relation_weight: float = 4.0
    teacher_hears: str = "same"
    level_db: float | None = None
    check_every: int = 200
    stop_patience: int = 0
    keep: str = "last"
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                values = " or ".join(map(repr, allowed))
                raise ValueError(f"recipe: {name} = {getattr(self, name)!r}; allowed is {values}.")
        for name in ("n_steps", "n_negatives", "check_every", "plateau_patience"):
            checked_int(f"recipe: {name}", getattr(self, name), 1)
        for name in ("n_unlabelled", "n_warmup", "stop_patience"):
            checked_int(f"recipe: {name}", getattr(self, name), 0)
        checked_int("recipe: n_anchors", self.n_anchors, 2)
        for name, high in _HIGHEST.items():
            _check_number(self, name, 0, high)
        weight = self.label_weight
        if not _is_number(weight) or not 0 <= weight < math.inf:
            raise ValueError(f"recipe: label_weight = {weight!r}; allowed are numbers from 0.")

    @property
    def needs_check(self) -> bool:
        """True if the recipe needs a validation loss."""
        return self.schedule == "plateau" or bool(self.stop_patience) or self.keep == "best"

    def changed(self, changes: Mapping[str, Any]) -> "Recipe":
        """Override hyperparameters (`--set`): return a copy of the recipe with new values.

        Args:
            changes: {name: value} of `CHANGEABLE`.
        """
        mine = {n: v for n, v in changes.items() if n not in _AUGMENTATIONS}
        sounds = {n: v for n, v in changes.items() if n in _AUGMENTATIONS}
        augmentation = dataclasses.replace(self.augmentation, **sounds)
        return dataclasses.replace(self, augmentation=augmentation, **mine)


_AUGMENTATIONS = {f.name for f in dataclasses.fields(Augmentation)}
# names of what `Recipe.changed` changes
CHANGEABLE = ({f.name for f in dataclasses.fields(Recipe)} - {"augmentation"}) | _AUGMENTATIONS


_CHOICES: dict[str, tuple[str, ...]] = {
    "negatives": ("drawn", "in_batch"),
    "optimizer": ("sgd", "adam"),
    "schedule": ("plateau", "cosine"),
    "teacher_hears": ("clean", "same"),
    "keep": ("best", "last"),
}
_HIGHEST: dict[str, float] = {
    "learning_rate": 100,
    "momentum": 1,
    "decay": 1,
    "plateau_factor": 1,
    "clip_norm": 1e6,
    "teacher_weight": 1e6,
    "vectors_weight": 1e6,
    "relation_weight": 1e6,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_number(recipe: Recipe | Augmentation, name: str, low: float, high: float) -> None:
    value = getattr(recipe, name)
    if not _is_number(value) or not low <= value <= high:
        raise ValueError(f"recipe: {name} = {value!r}; allowed are numbers {low} to {high:g}.")
    object.__setattr__(recipe, name, float(value))


# Source: P section 3.3 and C `train.py`: random crops, batch 15, SGD at 0.1 with Nesterov
# momentum 0.9 and decay 1e-6, four negatives, plateau decay by 0.2 (the released weights
# ended at 0.1 x 0.2^8). C checks once an epoch; here every 500 steps.
PAPER = Recipe(
    n_steps=200_000,
    n_anchors=15,
    negatives="drawn",
    n_negatives=4,
    n_unlabelled=0,
    optimizer="sgd",
    learning_rate=0.1,
    schedule="plateau",
    momentum=0.9,
    decay=1e-6,
    plateau_factor=0.2,
    plateau_patience=5,
    label_weight=1.0,
    check_every=500,
    stop_patience=12,
    keep="best",
)

# Our own: each clip is encoded once, mild augmentation (strong augmentation took 0.04 of
# cosine to the teacher in trials), the artist loss light beside the teacher's term.
DEFAULT = Recipe(
    n_steps=6000,
    n_anchors=64,
    negatives="in_batch",
    n_negatives=4,
    n_unlabelled=128,
    optimizer="adam",
    learning_rate=4e-3,
    schedule="cosine",
    n_warmup=200,
    clip_norm=1.0,
    label_weight=0.5,
    level_db=LEVEL_DB,
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

# {name: {kind: Recipe}}; a Siamese anchor has a positive, so that 64 are 128 crops as well
RECIPES = {
    "paper": {"basic": PAPER, "siamese": PAPER},
    "default": {"basic": dataclasses.replace(DEFAULT, n_anchors=128), "siamese": DEFAULT},
}


class Schedule:
    """Learning rate schedule and early stopping.

    Attributes:
        state: all that it remembers, plain data for the checkpoint: `factor` of the rate,
            `best` loss, `best_step`, checks without a better one since the rate was lowered
            (`waiting`) and since the best (`stale`).
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self.state: dict[str, Any] = {"factor": 1.0, "best": None, "best_step": None}
        self.state |= {"waiting": 0, "stale": 0}

    def rate(self, step: int) -> float:
        """Return the learning rate of a step (0, 1, ...)."""
        recipe = self._recipe
        rate: float = recipe.learning_rate * self.state["factor"] / (1 + recipe.decay * step)
        if recipe.schedule == "plateau":
            return rate
        if step < recipe.n_warmup:
            return rate * (step + 1) / recipe.n_warmup
        done = (step - recipe.n_warmup) / max(1, recipe.n_steps - recipe.n_warmup)
        return rate * (1 + math.cos(math.pi * min(1.0, done))) / 2

    def check(self, loss: float, step: int) -> bool:
        """Record the validation loss after a step; return whether it is the best so far."""
        state, recipe = self.state, self._recipe
        if state["best"] is None or loss < state["best"]:
            state.update(best=loss, best_step=step, waiting=0, stale=0)
            return True
        state["waiting"] += 1
        state["stale"] += 1
        if recipe.schedule == "plateau" and state["waiting"] >= recipe.plateau_patience:
            state["factor"] *= recipe.plateau_factor
            state["waiting"] = 0
        return False

    @property
    def over(self) -> bool:
        """True once validation has not improved for `stop_patience` checks (early stopping)."""
        patience = self._recipe.stop_patience
        return bool(patience) and self.state["stale"] >= patience
