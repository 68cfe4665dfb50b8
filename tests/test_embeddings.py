"""Embeddings are read back as they were written, or refused by name."""

import json

import numpy as np
import pytest
from map_data import MADE_WITH, clusters, row, write_embeddings

from artist_features.errors import OutputError
from artist_features.extraction import tables
from artist_features.search.embeddings import read_embeddings


@pytest.mark.parametrize("name", ["a.npz", "a.parquet"])
def test_tables_come_back_without_what_failed(tmp_path, name):
    vectors = list(clusters(3))
    file = write_embeddings(tmp_path / name, ["a", "b\udcff", "c"], [vectors[0], vectors[1], None])
    found = read_embeddings(file)
    assert found.paths == ["a", "b\udcff"]
    np.testing.assert_array_equal(found.vectors, np.stack(vectors[:2]))
    assert found.vectors.dtype == np.float32
    assert (found.durations_s.tolist(), found.n_failed) == ([30, 30], 1)
    assert (found.model, found.weights_sha256) == ("toy", "ab" * 32)


def test_folder_of_shards_is_one_table(tmp_path):
    vectors = clusters(4)
    for shard in (1, 0):
        part = slice(2 * shard, 2 * shard + 2)
        paths = [f"{number}.mp3" for number in range(4)][part]
        write_embeddings(tmp_path / f"part-0000{shard}.parquet", paths, list(vectors[part]))
    found = read_embeddings(tmp_path)
    assert found.paths == ["0.mp3", "1.mp3", "2.mp3", "3.mp3"]
    np.testing.assert_array_equal(found.vectors, vectors)


def test_segments_become_their_mean(tmp_path):
    segments = clusters(3)
    kept_apart = row("a", segments, starts_s=(0.0, 3.0, 6.0))
    kept_apart = tables.Row(**{**vars(kept_apart), "n_segments": 3})
    (tmp_path / "a.npz").write_bytes(tables.to_npz([kept_apart], 8, MADE_WITH))
    found = read_embeddings(tmp_path / "a.npz")
    np.testing.assert_allclose(found.vectors, [segments.mean(axis=0)], rtol=1e-6)


def test_nothing_but_failures_is_an_empty_table(tmp_path):
    (tmp_path / "a.npz").write_bytes(tables.to_npz([row("a", None, "damaged")], 8, MADE_WITH))
    found = read_embeddings(tmp_path / "a.npz")
    assert (found.paths, len(found.vectors), found.n_failed) == ([], 0, 1)


def test_what_cannot_be_used_is_named(tmp_path):
    for name, text in {
        "no.npz": "no such file",
        "b.txt": "ending '.txt'",
        "c.npz": "damaged",
    }.items():
        if name != "no.npz":
            (tmp_path / name).write_text("words")
        with pytest.raises(OutputError, match=text) as caught:
            read_embeddings(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(OutputError, match="holds no shards"):
        read_embeddings(tmp_path)
    bad = clusters(2)
    bad[1, 3] = np.nan
    write_embeddings(tmp_path / "d.npz", ["a", "nan.mp3"], list(bad))
    with pytest.raises(OutputError, match=r"the vector of 'nan.mp3' has values that are not"):
        read_embeddings(tmp_path / "d.npz")


def test_shards_of_two_models_are_refused(tmp_path):
    for shard, model in enumerate(["toy", "other"]):
        file = tmp_path / f"part-0000{shard}.parquet"
        made_with = json.dumps({"model": model})
        write_embeddings(file, [f"{shard}.mp3"], list(clusters(1)), made_with)
    with pytest.raises(OutputError, match=r"part-00001.parquet: made otherwise") as caught:
        read_embeddings(tmp_path)
    assert caught.value.code == "mismatch"
