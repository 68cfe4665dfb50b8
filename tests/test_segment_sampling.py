"""Segments spread over a file: the same as the whole file gives, read by seeking."""

import json

import numpy as np
import pytest
from conftest import music, write_audio
from fault_bytes import encode_av

from artist_features import extract
from artist_features.cli.main import main
from artist_features.config import FrontEnd
from artist_features.errors import AudioError
from artist_features.extraction.decode import ReadingOptions, Source, decode_segments

FRONT_END = FrontEnd()


def minute(rate=44100):
    """61 s of stereo."""
    return np.tile(music(6.1, rate, 2), (10, 1))


def segments(path, **options):
    source = Source(str(path), reading=ReadingOptions(**options))
    stream = decode_segments(source, FRONT_END)
    return np.concatenate(list(stream)), stream.facts


def middles(total, n):
    return [min(max(1, int((part + 0.5) * total / n)), total - 2) for part in range(n)]


@pytest.mark.parametrize(
    ("name", "rate", "atol"),
    [
        ("t.wav", 44100, 1e-6),
        ("t.flac", 48000, 1e-6),
        ("t.flac", 22050, 0),
        ("t.mp3", 44100, 1e-6),
        ("t.ogg", 44100, 1e-6),
        ("t.wav", 8000, 1e-5),
        ("t.wav", 11025, 1e-5),
        ("t.wav", 96000, 1e-6),
    ],
)
def test_they_equal_those_of_the_whole_file(tmp_path, name, rate, atol):
    path = write_audio(tmp_path / name, minute(rate), rate)
    whole, _ = segments(path)
    for n in (1, 4, 9):
        found, facts = segments(path, n_segments=n)
        assert (len(found), facts.n_segments, facts.flaws) == (n, n, ())
        assert facts.duration_s == pytest.approx(61, abs=0.1)
        np.testing.assert_allclose(found, whole[middles(len(whole), n)], atol=atol)


def test_short_files_and_arrays_are_taken_whole(tmp_path, tiny_folder):
    samples = minute()[: 25 * 44100]
    path = write_audio(tmp_path / "short.flac", samples)
    whole, facts = segments(path)
    found, sampled = segments(path, n_segments=10)
    np.testing.assert_array_equal(found, whole)
    assert sampled.n_segments == facts.n_segments == 8
    given = extract(samples, sample_rate=44100, model=str(tiny_folder))
    asked = extract(samples, sample_rate=44100, model=str(tiny_folder), n_segments=3)
    np.testing.assert_array_equal(asked, given)


def test_formats_of_ffmpeg_are_taken_whole(tmp_path):
    path = tmp_path / "t.m4a"
    path.write_bytes(encode_av(minute()[: 40 * 44100], "ipod", "aac"))
    whole, _ = segments(path)
    found, facts = segments(path, n_segments=4)
    np.testing.assert_array_equal(found, whole)
    assert facts.decoder == "av"


def test_a_cut_file_is_reported(tmp_path):
    path = write_audio(tmp_path / "t.wav", minute())
    path.write_bytes(path.read_bytes()[: 61 * 44100 * 2])  # half of 61 s of 16-bit stereo
    _, facts = segments(path, n_segments=6)
    assert [code for code, _ in facts.flaws] == ["truncated"]
    mp3 = write_audio(tmp_path / "t.mp3", minute())
    mp3.write_bytes(mp3.read_bytes()[: mp3.stat().st_size // 2])
    found, facts = segments(mp3, n_segments=6)
    assert [code for code, _ in facts.flaws] == ["truncated"]
    assert len(found) == facts.n_segments < 6


def test_bad_files_are_told_as_ever(tmp_path):
    (tmp_path / "t.mp3").write_text("these are words")
    with pytest.raises(AudioError) as caught:
        segments(tmp_path / "t.mp3", n_segments=6)
    assert caught.value.code == "unsupported"
    samples = minute()
    samples[:] = np.nan
    path = write_audio(tmp_path / "nan.wav", samples, subtype="FLOAT")
    with pytest.raises(AudioError) as caught:
        segments(path, n_segments=6)
    assert caught.value.code == "not_finite"
    silent = write_audio(tmp_path / "silent.wav", np.zeros((61 * 44100, 2), np.float32))
    assert [code for code, _ in segments(silent, n_segments=6)[1].flaws] == ["silent"]


def test_the_command_line_and_what_does_not_go_together(tmp_path, tiny_folder, capsys):
    path = write_audio(tmp_path / "t.wav", minute())
    words = ["extract", str(path), "--model", str(tiny_folder), "-o", str(tmp_path / "o.npz")]
    assert main([*words, "--segments", "5"]) == 0
    table = np.load(tmp_path / "o.npz", allow_pickle=False)
    assert table["n_segments"].tolist() == [5]
    made_with = json.loads(str(table["made_with"]))
    for name in ("model", "version", "weights_sha256", "graph_sha256"):
        del made_with[name]
    kept = {"decoder": "auto", "offset_s": 0.0, "duration_s": None, "segments": 5}
    assert made_with == kept | {"per_segment": False, "content_hash": False}
    expected = extract(str(path), model=str(tiny_folder), n_segments=5)
    np.testing.assert_allclose(table["embedding"][0], expected, atol=1e-6)
    assert main(words) == 2
    assert "made with segments = 5, this run has None" in capsys.readouterr().err
    for other in (("--offset", "1"), ("--duration", "9"), ("--per-segment",)):
        assert main([*words, "--segments", "5", *other]) == 2
        assert "leave out" in capsys.readouterr().err
    assert main([*words, "--segments", "0"]) == 2
    with pytest.raises(ValueError, match="leave offset and duration"):
        extract(str(path), model=str(tiny_folder), n_segments=5, offset=1.0)
    with pytest.raises(ValueError, match="n_segments is 0"):
        extract(str(path), model=str(tiny_folder), n_segments=0)


@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_a_file_cut_before_the_first_place_is_judged_as_a_whole_one(name, tmp_path):
    path = write_audio(tmp_path / name, np.tile(music(10), (12, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 30])
    outcomes = []
    for n_segments in (None, 5):
        try:
            _, facts = segments(path, n_segments=n_segments)
            outcomes.append([code for code, _ in facts.flaws])
        except AudioError as error:
            outcomes.append(error.code)
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] in (["truncated"], "damaged")
