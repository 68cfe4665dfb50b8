"""Options of a training run."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artist_features.config import ModelCard
from artist_features.training.recipes import RECIPES, Recipe

KINDS = ("basic", "siamese")
DEVICES = ("auto", "cpu", "gpu")
STRATEGIES = ("none", "mirrored", "multiworker")
PRECISIONS = ("float32", "bfloat16", "float16")
_SENTENCES = {"basic": "Artist classifier", "siamese": "Siamese network"}
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_CREDIT = "Trained with artist_features by the owner of this run."
_IGNORED: dict[str, Any] = {"ignored": True}  # when the options of two runs are compared


@dataclass(frozen=True)
class TrainingOptions:
    """Options of `trainer.train`; the command line gives each the same name and default.

    A run folder keeps those that decide the result, and goes on with the same ones alone. The
    others are marked: files count by their hashes, the rest is for the card or says where the
    work is done.

    Attributes:
        kind: "basic" or "siamese".
        manifests: paths of CSV files.
        out: run folder, new or with a run; at the end also a model folder.
        recipe_name: of `RECIPES`.
        changes: {field: value} of the recipe or its augmentation, see `Recipe.changed`.
        seed, split_seed: of the draws, and of the division into splits; from 0.
        n_artists: how many artists carry labels, from 2; None means all.
        dtype: of the convolutions, of `PRECISIONS`; variables and the front end stay float32.
        teacher, init: model name, folder or Hub id, or None.
        crops, check_crops: folders of distillation sets (`DistillationSet`) to train on and to
            choose the best step by, both or neither.
        cache: folder of prepared audio; None means `cache` in the run folder.
        root: folder of the manifests' relative files; None means that of each manifest.
        strategy: "none": one device; "mirrored": all visible devices of this machine;
            "multiworker": all processes that the variable `TF_CONFIG` names.
        device: "auto" (a GPU where there is one), "cpu" or "gpu".
        name: of the model; "" means that of the run folder.
        license, credit, description, data: of the card; data is a few words on the music.
        command: to be written down with the run.

    Raises:
        ValueError: a value that is not allowed, or two that do not fit one another.
    """

    kind: str
    manifests: Sequence[str | Path] = field(metadata=_IGNORED)
    out: str | Path = field(metadata=_IGNORED)
    recipe_name: str = "default"
    changes: Mapping[str, Any] = field(default_factory=dict, metadata=_IGNORED)
    seed: int = 0
    split_seed: int = 0
    n_artists: int | None = None
    dtype: str = "float32"
    teacher: str | Path | None = field(default=None, metadata=_IGNORED)
    init: str | Path | None = field(default=None, metadata=_IGNORED)
    crops: str | Path | None = field(default=None, metadata=_IGNORED)
    check_crops: str | Path | None = field(default=None, metadata=_IGNORED)
    cache: str | Path | None = field(default=None, metadata=_IGNORED)
    root: str | Path | None = field(default=None, metadata=_IGNORED)
    strategy: str = field(default="none", metadata=_IGNORED)
    device: str = field(default="auto", metadata=_IGNORED)
    name: str = field(default="", metadata=_IGNORED)
    license: str = field(default="unknown", metadata=_IGNORED)
    credit: str = field(default=_CREDIT, metadata=_IGNORED)
    description: str = field(default="", metadata=_IGNORED)
    data: str = field(default="", metadata=_IGNORED)
    command: str = field(default="", metadata=_IGNORED)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("kind", KINDS),
            ("recipe_name", tuple(RECIPES)),
            ("strategy", STRATEGIES),
            ("dtype", PRECISIONS),
        ):
            if getattr(self, name) not in allowed:
                values = ", ".join(allowed)
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {values}.")
        for name in ("seed", "split_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed are numbers from 0.")
        if bool(self.crops) != bool(self.check_crops):
            raise ValueError("--crops and --check-crops belong together; give both or neither.")
        if self.crops and self.teacher:
            raise ValueError(
                "--teacher beside --crops, which hold the vectors of their own teachers; leave "
                "one of them out."
            )
        if self.n_artists is not None and self.n_artists < 2:
            raise ValueError(f"{self.n_artists} artists; needed are 2 or more.")

    @property
    def recipe(self) -> Recipe:
        """The recipe of the kind with its changes."""
        return RECIPES[self.recipe_name][self.kind].changed(self.changes)

    def settings(self) -> dict[str, Any]:
        """Return the options that decide the result, plain data for run.json."""
        ignored = {f.name for f in dataclasses.fields(self) if f.metadata.get("ignored")}
        kept = {n: v for n, v in dataclasses.asdict(self).items() if n not in ignored}
        return kept | {"recipe": dataclasses.asdict(self.recipe)}

    def card_texts(self, teacher: str | None) -> dict[str, Any]:
        """Return name, kind, description, licence and credit for the card.

        Args:
            teacher: name of the model to match, or None.

        Raises:
            ValueError: a name or text that a card cannot have; better before training than
                after.
        """
        taught = f", matched to {teacher}" if teacher else ""
        texts: dict[str, Any] = {
            "name": model_name(self.name, self.out),
            "kind": self.kind,
            "description": self.description or f"{_SENTENCES[self.kind]}{taught}.",
            "license": self.license,
            "credit": self.credit,
        }
        ModelCard(**texts, weights_sha256="0" * 64)
        return texts


def model_name(name: str, folder: str | Path) -> str:
    """Return a model's name, or one made of its folder's where it is ""."""
    plain = _NOT_IN_A_NAME.sub("_", Path(folder).resolve().name).lstrip("_.-")[:100]
    return name or plain or "model"
