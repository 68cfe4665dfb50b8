"""`artist_features.sklearn.Embedder` in pipelines, searches, clones and data frames."""

import pickle

import numpy as np
import pytest
from conftest import music, write_audio
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from artist_features import AudioError, extract
from artist_features.sklearn import Embedder


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("songs")
    waves = [music(4.0, 22050, 1, seed=n)[:, 0] for n in range(6)]
    waves = [wave + 0.2 * (n % 2) * np.sign(wave) for n, wave in enumerate(waves)]
    return [str(write_audio(folder / f"{n}.wav", w / 2, 22050)) for n, w in enumerate(waves)]


def test_rows_are_those_of_extract(songs, tiny_folder):
    pandas = pytest.importorskip("pandas")
    embedder = Embedder(str(tiny_folder))
    wanted = extract(songs, model=str(tiny_folder))
    frame = pandas.DataFrame({"path": songs})
    for given in (songs, np.array(songs)[:, None], frame, frame.path, (song for song in songs)):
        np.testing.assert_allclose(embedder.fit_transform(given), wanted, atol=1e-5)
    with pytest.raises(ValueError, match=r"X has shape \(6, 2\); allowed is one column"):
        embedder.transform(frame.assign(genre="rock"))


def test_pipeline_search_and_frames(songs, tiny_folder):
    pandas = pytest.importorskip("pandas")
    labels = ["soft", "hard"] * 3
    pipeline = make_pipeline(Embedder(str(tiny_folder)), LogisticRegression())
    assert pipeline.fit(songs, labels).score(songs, labels) == 1
    assert pickle.loads(pickle.dumps(pipeline)).predict(songs).tolist() == labels
    grid = {"embedder__n_segments": [None, 1], "logisticregression__C": [0.1, 10]}
    found = GridSearchCV(pipeline, grid, cv=3).fit(songs, labels)
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    embedder = Embedder(str(tiny_folder)).set_output(transform="pandas").fit(songs)
    rows = embedder.transform(songs)
    assert isinstance(rows, pandas.DataFrame)
    assert rows.columns.tolist() == embedder.get_feature_names_out().tolist()
    assert rows.columns[0] == "embedding0"


def test_errors(songs, tiny_folder, tmp_path):
    embedder = Embedder(str(tiny_folder))
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        embedder.transform([songs[0], str(tmp_path / "gone.wav")])
    with pytest.warns(UserWarning, match="a row of NaN"):
        rows = embedder.set_params(on_error="nan").transform([songs[0], str(tmp_path / "gone.wav")])
    assert np.isnan(rows).any(axis=1).tolist() == [False, True]
    with pytest.raises(ValueError, match="allowed are 'raise' and 'nan'"):
        Embedder(on_error="skip").fit(songs)
    with pytest.raises(ValueError, match="n_segments is 0; allowed is an integer of 1 or more"):
        Embedder(n_segments=0).fit(songs)
    with pytest.raises(ValueError, match="allowed are 'raise' and 'nan'"):
        Embedder(str(tiny_folder)).fit(songs).set_params(on_error="skip").transform(songs)
    with pytest.raises(NotFittedError):
        Embedder().get_feature_names_out()
    with pytest.raises(ValueError, match="unknown model"):
        Embedder("no-such-model").fit(songs)
    with pytest.raises(ValueError, match="X is one recording; a list of recordings is needed"):
        embedder.transform(songs[0])


def test_checks_of_scikit_learn_that_need_no_numbers():
    embedder = Embedder()
    for name in (
        "check_get_params_invariance",
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_set_params",
    ):
        getattr(estimator_checks, name)("Embedder", embedder)
    assert clone(embedder).get_params() == embedder.get_params()
