"""`index update`: rows added, replaced and dropped by path, in place."""

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_outputs import row
from test_search import MADE_WITH, clustered
from test_search_sources import MADE_WITH as EXTRACTED
from test_search_sources import write

from artist_features.cli.main import main
from artist_features.search import Index, IndexedTrack

_PATHS = st.sampled_from([os.fsdecode(b"/caf\xe9.mp3"), "/a\nb.mp3", "s3://b/k", "/é", "/d", "/e"])
_TRACKS = st.lists(
    st.builds(
        IndexedTrack,
        _PATHS,
        st.sampled_from(["", "Ann", "Björk"]),
        st.sampled_from(["", "t"]),
        st.sampled_from([0.0, 2.5]),
        st.dictionaries(st.sampled_from(["album", "year"]), st.sampled_from(["x", ""])),
    ),
    min_size=1,
    unique_by=lambda track: track.path,
)


def contents(index):
    """Return {path: (track, vector)}, without the further columns that are blank."""
    found = {}
    for number in range(len(index)):
        track = index.track(number)
        extra = {name: text for name, text in track.extra.items() if text}
        facts = (track.artist, track.title, track.duration_s, extra)
        found[track.path] = (facts, index.vector(number).tolist())
    return found


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_updated_index_holds_what_one_built_anew_would(data):
    old, new = data.draw(_TRACKS), data.draw(_TRACKS)
    index = Index.build(clustered(len(old)), old, MADE_WITH)
    other = Index.build(clustered(len(new), seed=1), new, MADE_WITH)
    dropped = data.draw(st.sets(st.integers(0, len(old) - 1)))
    updated = index.updated(other.vectors, new, dropped)
    kept = {old[number].path for number in set(range(len(old))) - dropped}
    right = {path: row for path, row in contents(index).items() if path in kept}
    right |= contents(other)
    found = contents(updated)
    assert {path: facts for path, (facts, _) in found.items()} == {
        path: facts for path, (facts, _) in right.items()
    }
    for path in right:
        np.testing.assert_allclose(found[path][1], right[path][1], atol=1e-7)
    order = [path for path in index.paths if path in found]
    assert updated.paths[: len(order)] == order
    assert set(updated.artists) == {facts[0] for facts, _ in right.values()} - {""}


def test_rows_are_added_replaced_and_dropped_in_place(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        (tmp_path / f"{name}.mp3").touch()
    files = {name: f"{tmp_path}/{name}.mp3" for name in "abcd"}
    write(
        tmp_path / "1.npz", [row(files["a"], 1), row(files["b"], 2), row("s3://b/k", 3)], EXTRACTED
    )
    (tmp_path / "m.csv").write_text("file,artist,title\na.mp3,Ann,A\nb.mp3,Bob,B\n")
    assert main(["index", "build", "1.npz", "-o", "lib.index", "--manifest", "m.csv"]) == 0
    write(
        tmp_path / "2.npz", [row(files["c"], 5), row(files["b"], 6), row(files["d"], 7)], EXTRACTED
    )
    os.unlink(files["a"])
    os.unlink(files["d"])
    capsys.readouterr()
    assert main(["index", "update", "lib.index", "2.npz", "--prune", "--no-tags"]) == 0
    said = capsys.readouterr().err
    assert said == "1 recording added, 1 replaced, 1 dropped; lib.index has 3\n"
    index = Index.load("lib.index")
    assert index.paths == [files["b"], "s3://b/k", files["c"]]
    assert index.track(0).label == "Bob - B"  # its name stays
    assert index.artists == ["Bob"]
    right = Index.build(row("", 6).embedding[None], [IndexedTrack("x")], MADE_WITH).vector(0)
    np.testing.assert_array_equal(index.vector(0), right)
    os.symlink("lib.index", "link.index")
    os.unlink(files["c"])
    assert main(["index", "update", "link.index", "--prune"]) == 0
    assert "0 recordings added, 0 replaced, 1 dropped" in capsys.readouterr().err
    assert os.readlink("link.index") == "lib.index"
    assert Index.load("lib.index").paths == [files["b"], "s3://b/k"]
    changed = replace(row(files["b"], 6), mtime_ns=12)
    write(tmp_path / "3.npz", [changed], EXTRACTED)
    assert main(["index", "update", "lib.index", "3.npz", "--no-tags"]) == 0
    updated = Index.load("lib.index")
    assert [updated.track(number).mtime_ns for number in (0, 1)] == [12, 8]
    assert updated.track(0).label == "Bob - B"
    capsys.readouterr()
    assert main(["index", "update", "lib.index", "--prune"]) == 0
    assert "0 recordings added, 0 replaced, 0 dropped" in capsys.readouterr().err


def test_update_refuses_and_leaves_the_index_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "1.npz", [row("/no/a.mp3", 1)], EXTRACTED)
    write(tmp_path / "2.npz", [row("/no/b.mp3", 1)], EXTRACTED | {"model": "other"})
    assert main(["index", "build", "1.npz", "-o", "lib.index", "--no-tags"]) == 0
    before = (tmp_path / "lib.index").read_bytes()
    for arguments, text in [
        (["lib.index"], "nothing to do; name EMBEDDINGS"),
        (["lib.index", "--prune", "--manifest", "m.csv"], "--manifest names the tracks of EMB"),
        (["lib.index", "2.npz"], "of model 'other', the others of 'tiny'; keep them apart"),
        (["lib.index", "--prune"], "its only file is not there; is a drive not mounted?"),
        (["none/lib.index", "--prune"], "cannot be read (No such file"),
        (["1.npz", "--prune"], "1.npz: is no search index"),
    ]:
        assert main(["index", "update", *arguments]) == 2
        assert text in capsys.readouterr().err
    assert (tmp_path / "lib.index").read_bytes() == before
    assert sorted(os.listdir()) == [".lib.index.lock", "1.npz", "2.npz", "lib.index"]
    with pytest.raises(ValueError, match="no track would be left"):
        Index.load("lib.index").updated([], [], [0])
    with pytest.raises(ValueError, match="vectors of shape"):
        Index.load("lib.index").updated([[1.0, 0]], [IndexedTrack("x")])
