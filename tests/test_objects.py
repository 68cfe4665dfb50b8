"""Errors, warnings and extractors cross processes: pickle, copy, deepcopy."""

import copy
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from conftest import music, write_audio

from artist_features import errors, extract
from artist_features.extraction.extractor import Extractor
from artist_features.library.tables import ForeignTableError

EXAMPLES = [
    errors.AudioError("damaged", "is no audio.", "a b.mp3"),
    errors.AudioError("empty", "0 bytes."),
    errors.WeightsError("hash", "another one.", b"\xff.h5"),
    errors.PublishError("refused", "no.", "owner/name"),
    errors.OutputError("locked", "in use.", "out"),
    errors.SearchIndexError("damaged", "cut.", "lib.index"),
    errors.DecoderError("cannot start"),
    errors.ClusterError("gone"),
    errors.ModelError("cannot be built."),
    errors.ManifestError("two columns.", "m.csv", 3),
    errors.ManifestError("empty.", "m.csv"),
    errors.AudioWarning("short", "1.00 s.", "a.wav"),
    ForeignTableError("other columns"),
]


def test_every_class_has_an_example():
    def below(kind):
        return {kind, *(deep for child in kind.__subclasses__() for deep in below(child))}

    found = {k for k in below(errors.ArtistFeaturesError) | below(errors.AudioWarning)}
    found = {k for k in found if k.__module__.startswith("artist_features")}
    hidden = {errors.ArtistFeaturesError, errors._CodedError}
    assert found - hidden <= {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "through",
    [
        copy.copy,
        copy.deepcopy,
        *(
            lambda e, p=p: pickle.loads(pickle.dumps(e, p))
            for p in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_errors_survive(error, through):
    error.extra = "kept"
    again = through(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_notes_survive():
    error = errors.AudioError("damaged", "is no audio.", "a.mp3")
    error.__notes__ = ["in album 7"]
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["in album 7"]


def fails(path):
    return extract(path)


@pytest.mark.slow
def test_a_pool_gets_the_error_of_one_file(tmp_path):
    path = tmp_path / "no.wav"
    path.write_bytes(b"nothing")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(errors.AudioError) as caught:
            pool.submit(fails, str(path)).result(timeout=480)
        assert caught.value.path == str(path)
        assert pool.submit(len, "abc").result(timeout=240) == 3  # the pool is whole


def test_an_extractor_is_made_again_from_name_and_options(tiny_folder, tmp_path):
    path = write_audio(tmp_path / "a.wav", music(4, 22050, 1), 22050)
    one = Extractor(str(tiny_folder), batch_size=7, n_workers=2)
    for two in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert (two.batch_size, two.n_workers, two.isolated) == (7, 2, None)
        np.testing.assert_array_equal(two.extract(path), one.extract(path))
    assert len(pickle.dumps(one)) < 1000  # no weights in it


def test_a_warning_is_raised_again_as_an_error_elsewhere():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(errors.AudioWarning) as caught:
            warnings.warn(errors.AudioWarning("short", "1 s.", "a.wav"), stacklevel=1)
    assert pickle.loads(pickle.dumps(caught.value)).code == "short"
