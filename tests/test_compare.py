"""`compare`, `af.similarity` and an index of paths: on synthetic recordings."""

import json

import numpy as np
import pytest
from conftest import music, write_audio

import artist_features as af
from artist_features.cli.main import main
from artist_features.metrics import unit_vectors


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    for seed in (1, 2):
        write_audio(folder / f"{seed}.wav", music(3.2, 22050, 1, seed=seed), 22050)
    write_audio(folder / "same.wav", music(3.2, 22050, 1, seed=1), 22050)
    (folder / "bad.wav").write_text("no music")
    return folder


def test_table_of_cosines(recordings, tiny_folder, monkeypatch, capsys):
    monkeypatch.chdir(recordings)
    names = ["1.wav", "2.wav", "same.wav"]
    units = unit_vectors(af.extract(names, model=tiny_folder))
    compare = ["compare", *names, "bad.wav", "--model", str(tiny_folder)]
    assert main([*compare, "--json"]) == 1
    out, err = capsys.readouterr()
    assert "bad.wav: " in err
    found = json.loads(out)
    assert found["paths"] == [*names, "bad.wav"]
    assert found["similarity"][3] == [None] * 4
    rows = np.array([row[:3] for row in found["similarity"][:3]])
    np.testing.assert_allclose(rows, units @ units.T, atol=1e-5)
    assert main(compare[:4] + compare[5:]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["", *names]
    assert lines[1] == ["1.wav", "1.0000", f"{rows[0, 1]:.4f}", "1.0000"]
    value = af.similarity("1.wav", recordings / "2.wav", model=tiny_folder)
    assert value == pytest.approx(rows[0, 1], abs=1e-5)


def test_similarity_refuses(recordings, tiny_folder):
    for other, text in [("bad.wav", "bad"), (".", "folder")]:
        with pytest.raises(af.AudioError, match=text):
            af.similarity(recordings / "1.wav", recordings / other, model=tiny_folder)


def test_an_index_is_built_of_paths_and_an_extractor(recordings, tiny_folder, monkeypatch, capsys):
    monkeypatch.chdir(recordings)
    extractor = af.Extractor(tiny_folder)
    names = ["1.wav", "2.wav"]
    index = af.Index.build(extractor.extract(names), names, extractor)
    assert index.paths == [f"{recordings}/{name}" for name in names]
    index.check_model(extractor.card.weights_sha256, extractor.card.graph_sha256)
    index.save("own.index")
    assert main(["similar", "1.wav", "--index", "own.index", "--all"]) == 0
    assert capsys.readouterr().out.endswith(f"\t2\t{recordings}/2.wav\n")
    with pytest.raises(ValueError, match="none of a folder; give a dict"):
        af.Index.build([[1.0]], ["a"], af.Extractor(extractor.model))
