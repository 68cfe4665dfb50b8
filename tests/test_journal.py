"""The journal: whatever is cut off its end, all rows before stay."""

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import file_size_limit
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.errors import OutputError
from artist_features.library import shards
from artist_features.library.shards import Journal
from artist_features.library.tables import Row


def row(path, seed=0, shape=(4,)):
    vector = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return Row(path, vector, 2, 6.5, 44100, "soundfile", "ok", "", 7, 8, "ab", (0.0, 2.5))


def same(a, b):
    facts = [{k: v for k, v in vars(r).items() if k not in ("embedding", "starts_s")} for r in a]
    others = [{k: v for k, v in vars(r).items() if k not in ("embedding", "starts_s")} for r in b]
    assert facts == others
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.embedding, other.embedding)
        assert tuple(one.starts_s) == tuple(other.starts_s)


MADE_WITH = '{"weights_sha256": "ab"}'
ROWS = [
    row("a.mp3", 1),
    row(os.fsdecode(b"caf\xe9\n.mp3"), 2, (2, 4)),
    Row("bad.mp3", None, 0, 0.0, 0, "", "damaged", "the decoder failed\n"),
    row("é.mp3", 3),
]


def written(path, rows):
    journal = Journal(path, MADE_WITH)
    ends = []
    for item in rows:
        journal.append(item)
        ends.append(path.stat().st_size)
    journal.close(remove=False)
    return ends


def recovered(path):
    journal = Journal(path, MADE_WITH)
    journal.close(remove=False)
    return journal.recovered


def test_rows_come_back_in_their_order(tmp_path):
    written(tmp_path / "j", ROWS)
    journal = Journal(tmp_path / "j", MADE_WITH)
    same(journal.recovered, ROWS)
    journal.append(row("later"))
    journal.close(remove=False)
    same(recovered(tmp_path / "j"), [*ROWS, row("later")])


def test_cut_at_every_byte_the_whole_rows_before_stay_and_writing_goes_on(tmp_path):
    path = tmp_path / "j"
    ends = written(path, ROWS)
    data = path.read_bytes()
    for n_bytes in range(len(data)):
        path.write_bytes(data[:n_bytes])
        whole = sum(end <= n_bytes for end in ends)
        journal = Journal(path, MADE_WITH)
        same(journal.recovered, ROWS[:whole])
        journal.append(row("next"))
        journal.close(remove=False)
        same(recovered(path), [*ROWS[:whole], row("next")])


def test_rows_made_otherwise_are_refused_before_they_are_read_and_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "j", ROWS)
    data = (tmp_path / "j").read_bytes()
    monkeypatch.setattr(shards, "Row", None)  # those of another version had other fields
    with pytest.raises(OutputError, match="made with weights_sha256 = ab"):
        Journal(tmp_path / "j", "{}")
    assert (tmp_path / "j").read_bytes() == data


def test_a_file_of_another_program_is_refused_and_stays(tmp_path):
    path = tmp_path / "j"
    for data in (b"words", b"AFx", b"\0" * 99):
        path.write_bytes(data)
        with pytest.raises(OutputError, match="no journal of this program"):
            Journal(path, MADE_WITH)
        assert path.read_bytes() == data


@settings(deadline=None)  # it writes to disk
@given(st.data())
def test_a_changed_byte_costs_its_row_and_those_after(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("j") / "j"
    ends = written(path, ROWS)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(4, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    n_head = raw.index(b"AFr1")
    whole = sum(end <= place for end in ends) if place >= n_head else 0
    same(recovered(path), ROWS[:whole])


def test_clear_forgets_and_close_removes(tmp_path):
    journal = Journal(tmp_path / "j", MADE_WITH)
    journal.append(ROWS[0])
    journal.clear()
    journal.append(ROWS[1])
    journal.close(remove=False)
    same(recovered(tmp_path / "j"), ROWS[1:2])
    journal = Journal(tmp_path / "j", MADE_WITH)
    journal.close(remove=True)
    assert not (tmp_path / "j").exists()


def test_after_a_write_that_failed_half_way_rows_are_readable(tmp_path):
    journal = Journal(tmp_path / "j", MADE_WITH)
    journal.append(ROWS[0])
    limit = (tmp_path / "j").stat().st_size + 50
    with file_size_limit(limit), pytest.raises(OutputError, match="no space"):
        journal.append(ROWS[1])
    journal.append(ROWS[2])
    journal.close(remove=False)
    same(recovered(tmp_path / "j"), [ROWS[0], ROWS[2]])
