"""What a training run is asked to do."""

import dataclasses
import re
from dataclasses import dataclass, field

from artist_features.training.recipes import RECIPES
from artist_features.training.strategy import PRECISIONS, STRATEGIES

KINDS = ("basic", "siamese")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass
class Options:
    """Options of a run; see `artist-features train --help`.

    Attributes:
        recipe_name: of `RECIPES`.
        changes: {field: value} that replaces parts of the recipe.
        seed, split_seed: of the draws, and of the division into splits; from 0.
        n_artists: how many artists carry labels, from 2; None means all.
        teacher, init: model name, folder or Hub id, or None.
        crops, check_crops: folders of distillation sets (see `crop_set`) to train on and to
            choose the best step by, both or neither.
        cache: folder of prepared audio; None means `cache` in the run folder.
        root: folder of the manifests' relative files; None means that of each manifest.
        strategy, device, dtype: see `strategy`.
        name: of the model; "" means that of the run folder.
        license, credit, description, data: of the card; data is a few words on the music.
        command: to be written down with the run.
    """

    recipe_name: str = "default"
    changes: dict = field(default_factory=dict)
    seed: int = 0
    split_seed: int = 0
    n_artists: int | None = None
    teacher: str | None = None
    init: str | None = None
    crops: str | None = None
    check_crops: str | None = None
    cache: str | None = None
    root: str | None = None
    strategy: str = "none"
    device: str = "auto"
    dtype: str = "float32"
    name: str = ""
    license: str = "unknown"
    credit: str = "Trained with artist_features by the owner of this run."
    description: str = ""
    data: str = ""
    command: str = ""

    def __post_init__(self):
        for name, allowed in (
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
    def recipe(self):
        """The recipe with its changes."""
        return dataclasses.replace(RECIPES[self.recipe_name], **self.changes)

    def model_name(self, folder):
        """Return the name for the card of a run in `folder`."""
        plain = _NOT_IN_A_NAME.sub("_", folder.resolve().name).lstrip("_.-")[:100]
        return self.name or plain or "model"
