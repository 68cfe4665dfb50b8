"""Decoders: parts of files are slices of the whole, and each decoder agrees."""

import os
import struct
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, music, read_audio
from fault_bytes import encode, encode_av, flac_total, good_files, id3_tag, noise, xing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from artist_features.audio import mp3
from artist_features.audio.decoders import WHOLE, Span
from artist_features.audio.folders import OTHER_ENDINGS
from artist_features.audio.formats import AUDIO_ENDINGS, FORMATS
from artist_features.audio.stream import open_file
from artist_features.errors import AudioError

SECONDS = 8.0  # of the good files


def without_length(data):
    """Return an mp3 without the frame that tells its length; its bit rate varies."""
    return data[mp3.parse_frame(data[:4]).n_bytes :]


def decode(path, span=WHOLE, decoder="auto"):
    """Return (mono samples at the file's own rate, stream)."""
    with open_file(path, target_rate=22050, decoder=decoder) as probe:
        rate = probe.sample_rate
    return read_audio(path, rate, span=span, decoder=decoder)


class Recordings:
    """The same music in each format: paths, and samples decoded from start to end."""

    def __init__(self, folder):
        good = good_files()
        self._folder, self._whole = folder, {}
        contents = vars(good) | {
            "flac-0": flac_total(good.flac, 0),
            "mp3-xing-10": xing(good.mp3, 10),
            "mp3-no-xing": without_length(good.mp3),
            "mp3-id3": id3_tag(3000) + good.mp3,
            "mp3-junk": noise(9000) + good.mp3,
            "mp3-mono-24k": encode(music(SECONDS, 24000, 1), "MP3", 24000),
            "webm": encode_av(music(SECONDS, 48000), "webm", "libopus", 48000),
            "wma": encode_av(music(SECONDS), "asf", "wmav2", bit_rate=128_000),
            "adts": encode_av(music(SECONDS), "adts", "aac"),
        }
        for name, data in contents.items():
            self.path(name).write_bytes(data)

    def path(self, name):
        return self._folder / name

    def whole(self, name, decoder="auto"):
        """Return (samples, stream)."""
        if (name, decoder) not in self._whole:
            self._whole[name, decoder] = decode(self.path(name), decoder=decoder)
        return self._whole[name, decoder]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return Recordings(tmp_path_factory.mktemp("decoders"))


# (name, decoder, largest difference allowed); AAC decoders fill bands with random noise
CASES = [(name, "auto", 0) for name in ("wav", "flac", "flac-0", "aiff", "au", "caf", "w64")]
CASES += [(name, "auto", 0) for name in ("mp3", "mp3-xing-10", "mp3-no-xing", "mp3-id3")]
CASES += [("mp3-junk", "auto", 0), ("mp3-mono-24k", "auto", 1e-5), ("ogg", "auto", 0)]
CASES += [("opus", "auto", 1e-3), ("m4a", "auto", 0.03)]
CASES += [(name, "auto", 0) for name in ("webm", "wma", "adts")]
CASES += [(name, "av", 0) for name in ("wav", "flac", "aiff", "caf", "ogg")]
CASES += [(name, "av", 0) for name in ("mp3", "mp3-id3", "mp3-xing-10", "mp3-junk")]


@pytest.mark.parametrize(("name", "decoder", "allowed"), CASES)
@example(offset=0.01, duration=None)
@example(offset=1.25, duration=None)
@example(offset=7.9, duration=None)
@example(offset=8.0, duration=None)
@example(offset=8.25, duration=1.0)
@given(offset=st.floats(0, 8.3), duration=st.none() | st.floats(1e-3, 3))
@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_part_of_a_file_is_a_slice_of_the_whole(
    recordings, name, decoder, allowed, offset, duration
):
    whole, stream = recordings.whole(name, decoder)
    first = round(offset * stream.sample_rate)
    if first >= len(whole):
        with pytest.raises(
            AudioError, match=r"recording ends (at 8\.\d s|before that); pass"
        ) as caught:
            decode(recordings.path(name), Span(offset, duration), decoder)
        assert caught.value.code == "out_of_range"
        assert f"offset is {offset:g} s" in str(caught.value)
        return
    expected = whole[first:]
    if duration is not None:
        expected = expected[: round(duration * stream.sample_rate)]
    part, stream = decode(recordings.path(name), Span(offset, duration), decoder)
    assert not [code for code, _ in stream.flaws if code != "silent"]
    assert len(part) == len(expected)
    assert np.abs(part - expected).max() <= allowed


@pytest.mark.parametrize(
    "name", ["wav", "flac", "ogg", "opus", "mp3", "aiff", "caf", "mp3-id3", "mp3-junk"]
)
def test_both_decoders_agree(name, recordings):
    ours, stream = recordings.whole(name, "soundfile")
    theirs, by_av = recordings.whole(name, "av")
    assert (stream.decoder, by_av.decoder) == ("soundfile", "av")
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours, theirs, atol=1e-2 if name == "opus" else 1e-4)


@pytest.mark.parametrize("name", ["mp3", "ogg", "flac", "m4a", "aiff", "caf", "w64", "au"])
def test_every_format_gives_the_music_unshifted(name, recordings):
    samples, _ = recordings.whole(name)
    original = music(SECONDS).mean(axis=1)
    error = samples[: len(original)] - original
    assert np.sqrt(np.mean(error**2)) < 0.2 * np.sqrt(np.mean(original**2))
    assert abs(len(samples) - len(original)) < 1024


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *((kind, "PCM_16") for kind in ("WAV", "AIFF", "W64", "CAF", "FLAC")),
        *(("WAV", subtype) for subtype in ("PCM_24", "PCM_U8", "FLOAT")),
    ],
)
def test_samples_are_those_of_libsndfile(kind, subtype, tmp_path):
    """16 bits are read as integers, and come out as the same floats, full scale included."""
    wave = music(4, n_channels=1)[:, 0]
    wave[:3] = -1, 1, 0
    path = tmp_path / "a"
    soundfile.write(path, wave, SAMPLE_RATE, subtype=subtype, format=kind)
    expected, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(decode(path)[0], expected)


@pytest.mark.parametrize("name", ["mp3", "wav", "flac", "m4a", "ogg", "webm"])
def test_declared_length(name, recordings):
    _, stream = recordings.whole(name)
    assert stream.duration_s == pytest.approx(SECONDS, abs=0.03)
    assert stream.declared_s == pytest.approx(SECONDS, abs=0.06)


def test_mp3_of_unknown_length_is_decoded_to_its_end(recordings):
    whole, _ = recordings.whole("mp3")
    samples, stream = recordings.whole("mp3-no-xing")
    shift = 1105  # of LAME and mpg123; only the missing frame could have told
    np.testing.assert_array_equal(samples[shift : shift + len(whole)], whole)
    assert stream.declared_s == pytest.approx(len(samples) / SAMPLE_RATE)
    assert stream.flaws == []


def test_two_mp3s_in_one_file_are_decoded_to_the_end(recordings, tmp_path):
    (tmp_path / "two.mp3").write_bytes(good_files().mp3 * 2)
    samples, stream = decode(tmp_path / "two.mp3")
    whole, _ = recordings.whole("mp3")
    assert stream.duration_s == pytest.approx(2 * SECONDS, abs=0.1)
    np.testing.assert_array_equal(samples[: len(whole)], whole)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100, 48000])
def test_short_mp3_is_not_taken_for_a_truncated_one(seconds, sample_rate, tmp_path):
    (tmp_path / "a.mp3").write_bytes(encode(music(seconds, sample_rate), "MP3", sample_rate))
    _, stream = decode(tmp_path / "a.mp3")
    assert stream.duration_s == pytest.approx(seconds, abs=0.001)
    assert stream.flaws == []


@pytest.mark.parametrize("name", ["m4a", "webm"])
def test_cut_files_of_the_fallback_are_reported(name, recordings, tmp_path):
    path = tmp_path / name
    path.write_bytes(recordings.path(name).read_bytes())
    if name == "m4a":  # the index comes last: write it first, as for streaming
        options = {"movflags": "faststart"}
        encode_av(music(SECONDS), "ipod", "aac", container_options=options, path=str(path))
    os.truncate(path, path.stat().st_size * 6 // 10)
    if name == "m4a":
        with pytest.raises(AudioError, match=r"decoding failed at 4\.\d s") as caught:
            decode(path)
        assert caught.value.code == "damaged"
        return
    _, stream = decode(path)
    assert [code for code, _ in stream.flaws] == ["truncated"]
    assert 3 < stream.duration_s < 6


def test_fallback_where_libsndfile_gives_up(recordings, monkeypatch):
    assert recordings.whole("m4a")[1].decoder == "av"
    with pytest.raises(AudioError, match=r"MP4/AAC needs the FFmpeg decoder"):
        decode(recordings.path("m4a"), decoder="soundfile")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"artist-features\[av\]"):
        decode(recordings.path("wma"))


@pytest.mark.parametrize("name", ["au", "w64"])
def test_fallback_refuses_what_is_not_on_its_list(name, recordings):
    with pytest.raises(AudioError, match=r"no FFmpeg format"):
        decode(recordings.path(name), decoder="av")


def test_tags_that_are_not_utf8_are_no_damage(tmp_path):
    """Old taggers wrote Latin-1 where UTF-8 is to be."""
    title = b"INFOINAM" + struct.pack("<I", 4) + b"\xe9t\xe9\0"
    soundfile.write(tmp_path / "a.wav", music(4, SAMPLE_RATE, 1), SAMPLE_RATE, "PCM_16")
    plain = (tmp_path / "a.wav").read_bytes()
    tagged = plain[8:] + b"LIST" + struct.pack("<I", len(title)) + title
    (tmp_path / "b.wav").write_bytes(b"RIFF" + struct.pack("<I", len(tagged)) + tagged)
    expected, _ = decode(tmp_path / "a.wav", decoder="av")
    np.testing.assert_array_equal(decode(tmp_path / "b.wav", decoder="av")[0], expected)


def write_film(path: Path, n_pictures: int, samples: np.ndarray | None = None) -> None:
    """Write an MP4 film of black pictures, 25 a second, with sound or without."""
    black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
    with av.open(str(path), "w") as film:
        pictures = film.add_stream("mpeg4", rate=25)
        pictures.width = pictures.height = 32
        sound = samples is not None and film.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        packets = [packet for _ in range(n_pictures) for packet in pictures.encode(black)]
        packets += pictures.encode(None)
        if sound:
            planar = np.ascontiguousarray(samples.T)
            audio = av.AudioFrame.from_ndarray(planar, format="fltp", layout="stereo")
            audio.sample_rate, audio.pts = SAMPLE_RATE, 0
            packets += [*sound.encode(audio), *sound.encode(None)]
        for packet in packets:
            film.mux(packet)


def test_video_without_audio_is_unsupported(tmp_path):
    write_film(tmp_path / "silent film.mp4", 1)
    with pytest.raises(AudioError, match=r"no audio track") as caught:
        decode(tmp_path / "silent film.mp4")
    assert caught.value.code == "unsupported"


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        *[("mov", "pcm_s24be"), ("mov", "alac"), ("matroska", "flac"), ("mp4", "ac3")],
        *[("asf", "wmav1"), ("wv", "wavpack"), ("tta", "tta")],
    ],
)
def test_codecs_of_the_fallback(container, codec, tmp_path, monkeypatch):
    data = encode_av(music(2.0), container, codec, bit_rate=128_000)
    (tmp_path / "a").write_bytes(data)
    assert decode(tmp_path / "a")[1].duration_s == pytest.approx(2.0, abs=0.1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"needs the FFmpeg decoder.*artist-features\[av\]"):
        decode(tmp_path / "a")


def test_table_of_formats():
    for row in FORMATS.values():
        assert row.demuxer or not row.needs_ffmpeg
        assert row.magic or row.kind in ("mp3", "aac", "mpegts", "ac3", "eac3")
    assert len(set(AUDIO_ENDINGS)) == len(AUDIO_ENDINGS) > 25
    assert not set(AUDIO_ENDINGS) & set(OTHER_ENDINGS)


def test_opus_whose_times_skip_is_read_to_its_end(tmp_path):
    """As FFmpeg writes it from a source with such times; libsndfile 1.2.2 calls it malformed."""
    samples = music(8.0, 48000)
    with av.open(str(tmp_path / "a"), "w", format="ogg") as target:
        stream = target.add_stream("libopus", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            if 4 * 48000 < packet.pts < 5 * 48000:
                packet.pts, packet.dts = packet.pts + 278, packet.dts + 278
            target.mux(packet)
    with pytest.raises(AudioError, match="decoding failed between"):
        decode(tmp_path / "a", decoder="soundfile")
    found, stream = decode(tmp_path / "a")
    assert (stream.container, stream.decoder, stream.flaws) == ("opus", "av", [])
    assert len(found) == pytest.approx(8 * 48000, abs=600)


@pytest.mark.parametrize(("container", "codec"), [("wv", "wavpack"), ("tta", "tta")])
def test_cut_lossless_file_is_never_whole(container, codec, tmp_path):
    data = encode_av(music(8.0), container, codec)
    for share in (0.3, 0.8, 0.97):
        (tmp_path / "a").write_bytes(data[: int(share * len(data))])
        try:
            found = [code for code, _ in decode(tmp_path / "a")[1].flaws]
        except AudioError as error:
            found = [error.code]
        assert found in (["truncated"], ["damaged"])


def test_codec_off_the_list_is_refused(tmp_path):
    data = encode_av(music(2.0, 8000, 1)[:, 0], "wav", "g726", 8000, bit_rate=32_000)
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(AudioError, match=r"audio codec is g726; convert it") as caught:
        decode(tmp_path / "a", decoder="av")
    assert caught.value.code == "unsupported"


def test_film_with_sound_is_read(tmp_path):
    write_film(tmp_path / "film.mp4", 100, music(4.0))
    whole, stream = decode(tmp_path / "film.mp4")
    assert stream.duration_s == pytest.approx(4.0, abs=0.05)
    part, _ = decode(tmp_path / "film.mp4", Span(2.0))
    assert len(part) == len(whole) - 2 * SAMPLE_RATE
    assert np.abs(part - whole[2 * SAMPLE_RATE :]).max() < 0.05


def test_whole_aac_stream_is_not_called_truncated(tmp_path):
    quiet = np.concatenate([np.zeros((10 * SAMPLE_RATE, 2), np.float32), music(5.0)])
    (tmp_path / "a.aac").write_bytes(encode_av(quiet, "adts", "aac", bit_rate=128_000))
    _, stream = decode(tmp_path / "a.aac")
    assert stream.duration_s == pytest.approx(15.0, abs=0.2)
    assert stream.flaws == []


def test_damaged_m4a_is_damaged_where_ffmpeg_is_there(tmp_path):
    whole = encode_av(music(10.0), "mp4", "aac", bit_rate=128_000)
    (tmp_path / "a.m4a").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AudioError, match=r"a\.m4a: the file starts like mp4 but cannot") as caught:
        decode(tmp_path / "a.m4a")
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(("container", "codec"), [("wv", "wavpack"), ("tta", "tta")])
def test_zeros_inside_a_lossless_file_are_told(container, codec, tmp_path):
    data = bytearray(encode_av(music(8), container, codec))
    (tmp_path / "a.wv").write_bytes(data)
    assert len(decode(tmp_path / "a.wv")[0]) > 7 * SAMPLE_RATE
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    (tmp_path / "b.wv").write_bytes(data)
    with pytest.raises(AudioError, match=r"decoding failed at [2-6]") as caught:
        decode(tmp_path / "b.wv")
    assert caught.value.code == "damaged"
