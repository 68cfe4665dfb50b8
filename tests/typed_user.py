"""A user's program, for the type checker only: `mypy --strict`, also against the wheel."""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import artist_features as af
from artist_features import config, files, hear, metrics
from artist_features.mteb import embed_clips
from artist_features.search import ArtistMatch, Index, IndexedTrack, Match
from artist_features.search.duplicates import Copy, find_duplicates
from artist_features.search.playlist import find_path, playlist

Vector = npt.NDArray[np.float32]


class Series:
    """As pandas': no array, but NumPy takes it for one."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return np.array(["a.mp3"])


def extraction(
    path: Path, samples: npt.NDArray[np.int16], names: npt.NDArray[np.str_], series: Series
) -> None:
    assert_type(af.extract("song.mp3"), Vector)
    assert_type(af.extract(path, offset=1, duration=3.5, progress=True), Vector)
    assert_type(af.extract(samples, sample_rate=44100, model=path), Vector)
    assert_type(af.extract(["a.mp3", path, samples], on_error="nan"), Vector)
    assert_type(af.extract([b"a.mp3"], pool=None), list[Vector])
    assert_type(af.extract(samples, 44100, pool=None), Vector)
    assert_type(af.extract(b"RIFF", pool=None, n_segments=3), Vector)
    assert_type(af.extract(names, pool=None), list[Vector])
    # a path may be a folder, a Series hold paths or samples
    assert_type(af.extract(path, pool=None, offset=1), Vector | Any)
    assert_type(af.extract(series, pool=None), Vector | Any)
    assert_type(af.extract(path, pool=None, return_times=True), tuple[Any, Any])
    assert_type(af.similarity("a.mp3", (samples, 44100), model="basic"), float)
    extractor = af.Extractor("basic", decoder="av", on_loaded=print)
    assert_type(extractor.extract((path, path), pool=None), list[Vector])
    assert_type(extractor.extract(path), Vector)
    assert_type(extractor.embedding_dim, int)
    assert_type(extractor.front_end, config.FrontEnd)
    assert_type(extractor.timing["wall_s"], float)
    assert_type(af.Extractor(runtime="onnx").runtime, Literal["auto", "tensorflow", "onnx"])
    assert_type(af.extract("song.mp3", runtime="tensorflow"), Vector)


def models() -> None:
    cards = af.list_models()
    assert_type(cards["siamese"].network.filters, tuple[int, ...])
    assert_type(cards["siamese"].front_end.segment_hop_s, float)
    tower = af.models.backbone(front_end=config.FrontEnd(hop_length=256))
    af.models.siamese(n_negatives=2, tower=tower)
    af.models.basic(10).summary()
    af.load_model("siamese").trainable = False


def mistakes(path: Path) -> None:
    """Each line is an error: an ignore without one is reported by `--strict`."""
    af.extrct(path)  # type: ignore[attr-defined]
    af.extract(path, pool="max")  # type: ignore[call-overload]
    af.extract(3)  # type: ignore[call-overload]
    af.extract(path, ofset=1.0)  # type: ignore[call-overload]
    af.extract(path, on_error="ignore")  # type: ignore[call-overload]
    af.extract(path, sample_rate="44100")  # type: ignore[call-overload]
    af.Extractor(decoder="sox")  # type: ignore[arg-type]
    af.models.basic("10")  # type: ignore[arg-type]
    metrics.average_precision([True], 10)  # type: ignore[call-arg]
    Index.build([[1.0]], [1], {})  # type: ignore[list-item]
    af.similarity(path)  # type: ignore[call-arg]


def search(vectors: Vector) -> None:
    tracks = [IndexedTrack("/a.mp3", artist="A", extra={"year": "1999"})]
    index = Index.build(vectors, tracks, {"model": "mine", "weights_sha256": "0"})
    index.save("lib.index")
    assert_type(af.Index.build(vectors, ["a.mp3", Path("b.flac")], af.Extractor()), Index)
    index = Index.load(Path("lib.index"))
    index.check_model("0")
    assert_type(index.query(vectors[0], k=3, exclude_artists=["A"]), list[Match])
    assert_type(index.query(vectors[0], skip=lambda row: row > 3), list[Match])
    assert_type(index.query_artists([0.5, 1.0]), list[ArtistMatch])
    assert_type(index.updated(vectors, tracks, drop_rows=[0]), Index)
    assert_type(find_path(index, 0, 1, 10), list[int])
    assert_type(playlist(index, index.vectors, n=3, no_repeat_artist=1, seed=7), list[int])
    assert_type(index.percentile(0.9), float)
    assert_type(index.row_of("/a.mp3"), int | None)
    assert_type(index.vector(0), Vector)
    assert_type(index.track(0).label, str)
    assert_type(len(index) + index.dim + index.n_unlabelled, int)
    assert_type([*index.artists, *index.columns], list[str])
    assert_type(find_duplicates(vectors, tracks, within_s=2).groups, list[list[Copy]])


def measures(vectors: Vector) -> None:
    scores = metrics.retrieval(vectors, ["A", "B"], groups=None, k=5)
    assert_type(scores.mean_average_precision, float)
    interval = metrics.bootstrap_interval(scores.average_precision, ["A", "B"])
    assert_type((interval.low, interval.n_clusters), tuple[float, int])
    right = metrics.correct([1, 2], [1, 3])
    assert_type(metrics.bootstrap_interval(right, "ab", seed=1).high, float)


def hearing(sounds: Vector) -> None:
    model = hear.load_model("basic")
    assert_type(model.sample_rate, int)
    hear.get_scene_embeddings(sounds, model)
    _, timestamps = hear.get_timestamp_embeddings(sounds, model)
    timestamps.numpy()
    assert_type(embed_clips(af.Extractor("basic"), [(sounds[0], 22050)]), Vector)


def errors(path: Path) -> None:
    try:
        files.write_atomically(path, b"")
    except af.OutputError as error:
        assert_type(error.code, str)
        assert_type(error.path, str | bytes | os.PathLike[Any] | None)
    except af.ManifestError as error:
        assert_type(error.line, int | None)
    except (af.AudioError, af.WeightsError, af.SearchIndexError) as error:
        assert_type(error.message, str)
    except af.ArtistFeaturesError:
        raise
