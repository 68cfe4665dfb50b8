"""Music embeddings from CNNs trained to recognise artists (ISMIR 2018).

    import artist_features as af

    af.extract("song.mp3")                  # float32 (256,)

Importing this package imports neither TensorFlow nor Keras; the first use of a model
does. Whenever a program imports Keras, before or after, our layers are registered, so
that plain `keras.saving.load_model` finds them.
"""

import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any

from artist_features import devices as _devices  # noqa: F401  from now on forks are noted
from artist_features.errors import (
    ArtistFeaturesError,
    AudioError,
    AudioWarning,
    ClusterError,
    ManifestError,
    ModelError,
    OutputError,
    PublishError,
    SearchIndexError,
    WeightsError,
)
from artist_features.version import VERSION

if TYPE_CHECKING:  # what `_LAZY` imports at run time
    from artist_features.extraction.extractor import Extractor
    from artist_features.extraction.functions import extract, similarity
    from artist_features.search.index import Index
    from artist_features.zoo import networks as models
    from artist_features.zoo.registry import list_models, load_model

__version__ = VERSION

_LAZY = {  # public name -> (module, attribute or None for the module itself)
    "extract": ("artist_features.extraction.functions", "extract"),
    "Extractor": ("artist_features.extraction.extractor", "Extractor"),
    "similarity": ("artist_features.extraction.functions", "similarity"),
    "Index": ("artist_features.search.index", "Index"),
    "load_model": ("artist_features.zoo.registry", "load_model"),
    "list_models": ("artist_features.zoo.registry", "list_models"),
    "models": ("artist_features.zoo.networks", None),
}

__all__ = [
    "ArtistFeaturesError",
    "AudioError",
    "AudioWarning",
    "ClusterError",
    "Extractor",
    "Index",
    "ManifestError",
    "ModelError",
    "OutputError",
    "PublishError",
    "SearchIndexError",
    "WeightsError",
    "extract",
    "list_models",
    "load_model",
    "models",
    "similarity",
]


def _refuse_two_versions() -> None:
    """Raise where artist-features and artist-features-lite lie over each other in two versions.

    Of one version they are the same files. Read from what pip leaves beside a package.
    """
    place = os.path.dirname(os.path.dirname(__file__))
    found = {
        name.removesuffix(".dist-info").replace("_", "-")
        for name in os.listdir(place)
        if name.startswith(("artist_features-", "artist_features_lite-"))
    }
    if len({name.rpartition("-")[2] for name in found}) > 1:
        raise ImportError(
            f"{' and '.join(sorted(found))} are installed over each other in {place}; run "
            "`pip uninstall artist-features artist-features-lite`, then install one of them."
        )


_refuse_two_versions()


class _WhenKerasIsImported:
    """Import hook: registers our layers once Keras has been executed (PEP 451)."""

    def __init__(self) -> None:
        self._searching = False

    def find_spec(self, name: str, *_: Any) -> Any:
        """Return Keras' spec with a loader that calls `_register_layers`; None for all else."""
        if name != "keras" or self._searching:
            return None
        self._searching = True
        try:
            spec: Any = importlib.util.find_spec(name)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                _register_layers(module)

            spec.loader.exec_module = execute_and_register
        return spec


def _register_layers(keras: Any) -> None:
    if keras.config.backend() == "tensorflow":  # with another one Kapre cannot be imported
        importlib.import_module("artist_features.zoo.frontend")


if sys.modules.get("keras") is not None:
    _register_layers(sys.modules["keras"])
else:
    sys.meta_path.insert(0, _WhenKerasIsImported())


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name):
        if name not in _LAZY:
            raise AttributeError(f"module 'artist_features' has no attribute {name!r}")
        module_name, attribute = _LAZY[name]
        module = importlib.import_module(module_name)
        value = module if attribute is None else getattr(module, attribute)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
