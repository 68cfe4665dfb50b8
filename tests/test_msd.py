"""The paper's list: what a pickle may hold, and that nothing in it is ever run."""

import os
import pickle
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from artist_features.datasets import msd
from artist_features.datasets.msd import msd_tracks, read_strings
from artist_features.datasets.tracks import Track
from artist_features.errors import ManifestError

LINES = [f"{1000 + i}/{i // 20 + 1}/{i % 20 + 1}" for i in range(40)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "list.pkl"


@pytest.mark.parametrize("protocol", range(6))
def test_lists_of_every_protocol(path, protocol):
    lines = [*LINES, LINES[0]] * 60  # more than one batch, and strings used again
    path.write_bytes(pickle.dumps(lines, protocol))
    assert read_strings(path) == lines
    path.write_bytes(pickle.dumps([LINES[:2], [], [LINES[2:], [["ü"]]], "a'b"], protocol))
    assert read_strings(path) == [*LINES, "ü", "a'b"]
    path.write_bytes(pickle.dumps([], protocol))
    assert read_strings(path) == []


def test_byte_strings_of_python_2(path):
    for data in (
        b"(lp0\nS'11/1/1'\np1\naS\"12/1/2\"\np2\nag1\na.",
        b"]q\x00(U\x0611/1/1q\x01T\x06\x00\x00\x0012/1/2h\x01e.",
        b"\x80\x02]q\x01(U\x0611/1/1q\x02U\x0612/1/2q\x03h\x02e.",
    ):
        path.write_bytes(data)
        assert read_strings(path) == ["11/1/1", "12/1/2", "11/1/1"]


class Evil:
    def __init__(self, call, *args):
        self._made_by = call, args

    def __reduce__(self):
        return self._made_by


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_runs(path, tmp_path, protocol):
    for value in (Evil(os.mkdir, str(tmp_path / "evil")), [LINES[0], Evil(eval, "1/0")]):
        path.write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(ManifestError, match=r"before byte \d+: instruction .* is refused"):
            read_strings(path)
    assert os.listdir(tmp_path) == ["list.pkl"]


REFUSED = (
    (b"", "byte 0: pickle exhausted before seeing STOP"),
    (b"]", "byte 1: pickle exhausted before seeing STOP"),
    (b"cos\nsystem\n(S'ls'\ntR.", "before byte 11: instruction GLOBAL is refused"),
    (b"]\xff.", r"at position 1, opcode b'\\xff' unknown"),
    (b"}.", "instruction EMPTY_DICT is refused"),
    (b"]K\x01a.", "instruction BININT1 is refused"),
    (b"](.", "the result is not one list"),
    (b".", "the result is not one list"),
    (b"].]", "1 bytes follow the end"),
    (b"a.", "a value is missing"),
    (b"]U\x01x(a.", "a value is missing"),
    (b"S'" + b"x" * 5000 + b"\n.", "strinq quote"),
    (b"]e.", "a mark is missing"),
    (b"U\x01aU\x01ba.", "APPEND to a string"),
    (b"U\x01a(U\x01be.", "APPENDS to a string"),
    (b"]q\x00h\x00a.", "a list, or nothing, is used again"),
    (b"]h\x07a.", "a list, or nothing, is used again"),
    (b"X\xff\xff\xff\x7fa.", "expected 2147483647 bytes"),
    (b"U\x05a.", "expected 5 bytes"),
    (b"]p" + b"9" * 9000 + b"\n.", "Exceeds the limit"),
)


@pytest.mark.parametrize(("data", "text"), REFUSED, ids=lambda value: repr(value)[:20])
def test_what_is_no_list_of_strings(path, data, text):
    path.write_bytes(data)
    with pytest.raises(ManifestError, match=text) as caught:
        read_strings(path)
    assert len(str(caught.value)) < 600


def test_bombs_are_refused_or_small(path, monkeypatch):
    laughs = ["ha"]
    for _ in range(40):
        laughs = [laughs] * 10
    loop = []
    loop.append(loop)
    for value in (laughs, loop):
        path.write_bytes(pickle.dumps(value))
        with pytest.raises(ManifestError, match="a list, or nothing, is used again"):
            read_strings(path)
    path.write_bytes(b"]" * 200_000 + b"U\x01x" + b"a" * 200_000 + b".")
    assert read_strings(path) == ["x"]
    monkeypatch.setattr(msd, "MAX_STEPS", 1000)
    path.write_bytes(b"(" * 2000)
    with pytest.raises(ManifestError, match="byte 1001: more than 1000 instructions"):
        read_strings(path)
    monkeypatch.setattr(msd, "MAX_BYTES", 1999)
    with pytest.raises(ManifestError, match="more than 1999 bytes, which no list of tracks has"):
        read_strings(path)


OPCODES = b"](elap0\n1\nq\x00h\x00U\x01xS'a'\nX\x01\x00\x00\x00y\x8c\x01z\x94.\x80\x02\x95cR"
PIECES = st.lists(st.sampled_from([OPCODES[i : i + 2] for i in range(len(OPCODES))]), max_size=40)


@settings(deadline=None, max_examples=500)
@given(st.binary(max_size=200) | PIECES.map(b"".join))
@example(b"V\\u12\n.")
@example(b"S'\\q\\x'\n.")
@example(b"\x8d" + struct.pack("<Q", 2**64 - 1) + b".")
def test_any_bytes_give_strings_or_a_manifest_error(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        try:
            strings = read_strings(path)
        except ManifestError:
            return
        assert all(type(string) is str for string in strings)
        assert strings == _flat(pickle.loads(data, encoding="latin-1"))


def _flat(value):
    return [value] if isinstance(value, str) else [s for item in value for s in _flat(item)]


def test_a_file_that_is_not_there(path):
    with pytest.raises(ManifestError, match=r"list\.pkl: cannot be read \(No such file"):
        read_strings(path)


def test_tracks_have_the_papers_split_where_the_audio_is(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps(LINES))
    for number in (1000, *range(1015, 1040)):
        (tmp_path / f"{number}.mp3").touch()
    tracks, missing = msd_tracks(path, tmp_path)
    assert len(missing) == 14
    assert missing[0] == tmp_path / "1001.mp3"
    splits = [track.extra["split"] for track in tracks]
    assert splits[1:6] == ["valid"] * 3 + ["test"] * 2
    assert splits[6:] == ["train"] * 15 + ["valid"] * 3 + ["test"] * 2
    extra = {"split": "train", "song_index": "1"}
    assert tracks[0] == Track(tmp_path / "1000.mp3", "1", "1000", extra)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "1001.clip.mp3").touch()
    (track,), _ = msd_tracks(path, tmp_path, "{audio_id[0]}/{audio_id}.clip.mp3")
    assert (track.path.name, track.extra["song_index"]) == ("1001.clip.mp3", "2")


@pytest.mark.parametrize(
    "entry", ["1/2", "1/2/3/4", "../2/3", "1/0/3", "1/2/0", "1/2/21", "1/2/3\n", "٣/2/3", "a" * 999]
)
def test_a_bad_entry_is_named_by_its_position(path: Path, tmp_path: Path, entry: str) -> None:
    path.write_bytes(pickle.dumps([*LINES, entry]))
    with pytest.raises(ManifestError, match=r"list\.pkl: entry 41 is '.*'; needed is 'audio_id/"):
        msd_tracks(path, tmp_path)


@pytest.mark.parametrize(
    "pattern",
    ["{id}.mp3", "{audio_id[9]}.mp3", "{audio_id[0:2]}", "{audio_id", "{0}", "{audio_id.x}"],
)
def test_a_pattern_that_does_not_fit(path: Path, tmp_path: Path, pattern: str) -> None:
    path.write_bytes(pickle.dumps(["11/1/1"]))
    with pytest.raises(ValueError, match="does not fit track 11; its fields are audio_id, artist_"):
        msd_tracks(path, tmp_path, pattern)
