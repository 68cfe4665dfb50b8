"""MPEG audio: frame headers, counting frames, and files shown without what misleads."""

import io
import os
import struct
import tempfile
import time

import pytest
import soundfile
from conftest import music
from fault_bytes import encode, encode_av, good_files, noise, put, xing
from hypothesis import given
from hypothesis import strategies as st

from artist_features.audio import mp3
from artist_features.audio.file_bytes import CorrectedFile

RATES = {44100: 1152, 48000: 1152, 32000: 1152, 22050: 576, 24000: 576, 16000: 576, 8000: 576}
RATES |= {11025: 576, 12000: 576}


def scan_frames(opened, data, start=0):
    return mp3.scan_frames(opened(data), len(data), start)


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("bitrate_mode", ["CONSTANT", "VARIABLE"])
def test_header_and_count_agree_with_libsndfile(sample_rate, n_channels, bitrate_mode, opened):
    samples = music(2.0, sample_rate, n_channels)
    data = encode(samples, "MP3", sample_rate, bitrate_mode=bitrate_mode, compression_level=0.3)
    frame, facts = mp3.parse_frame(data[:4]), soundfile.info(io.BytesIO(data))
    assert (frame.sample_rate, frame.n_channels) == (facts.samplerate, facts.channels)
    assert frame.n_samples == RATES[sample_rate]
    assert data[frame.tag_offset : frame.tag_offset + 4] in (b"Xing", b"Info")
    found = scan_frames(opened, data)
    assert found.trusted
    assert found.end == len(data)
    n_frames = round(found.declared_s * sample_rate / frame.n_samples)
    assert n_frames == struct.unpack_from(">I", data, frame.tag_offset + 8)[0]
    assert 0 <= n_frames * frame.n_samples - facts.frames < 4 * frame.n_samples


@pytest.mark.parametrize("kbit_s", [32, 64, 96, 128, 192, 256, 320])
def test_every_frame_of_a_constant_bit_rate_is_found(kbit_s, opened):
    data = encode_av(music(2.0), "mp3", "libmp3lame", bit_rate=kbit_s * 1000)
    data = data[data.index(b"\xff\xfb", 10) :]  # FFmpeg writes an ID3 tag in front
    found = scan_frames(opened, data)
    assert found.end == len(data)
    frame = mp3.parse_frame(data[:4])
    assert found.declared_s == pytest.approx(2.0, abs=3 * frame.n_samples / 44100)
    second = mp3.parse_frame(data[frame.n_bytes :][:4])
    assert abs(second.n_bytes - 144_000 * kbit_s / 44100) < 1


def test_mp2_is_understood(opened):
    data = encode_av(music(2.0), "mp2", "mp2", bit_rate=192_000)
    frame, found = mp3.parse_frame(data[:4]), scan_frames(opened, data)
    assert (frame.sample_rate, frame.n_samples) == (44100, 1152)
    assert found.end == len(data)
    assert found.declared_s == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xfb\x90",  # too short
        b"\xff\xdb\x90\x64",  # no sync
        b"\xff\xeb\x90\x64",  # reserved version
        b"\xff\xf9\x90\x64",  # reserved layer
        b"\xff\xfb\x00\x64",  # free format: length unknown
        b"\xff\xfb\xf0\x64",  # forbidden bit rate
        b"\xff\xfb\x9c\x64",  # reserved sample rate
        b"\xff\xd8\xff\xe0",  # JPEG
        b"\xff\xfe<\0",  # text in UTF-16
    ],
)
def test_what_is_no_frame_header(head):
    assert mp3.parse_frame(head) is None


@given(st.binary(min_size=4, max_size=4))
def test_any_header_gives_nothing_or_possible_numbers(head):
    for data in (head, b"\xff" + head[1:], b"\xff" + bytes([head[1] | 0xE0]) + head[2:]):
        frame = mp3.parse_frame(data)
        if frame:
            assert 8000 <= frame.sample_rate <= 48000
            assert frame.n_samples in (384, 576, 1152)
            assert 24 <= frame.n_bytes <= 5761


# ---- what the length frame says, against what is there ----


@pytest.mark.parametrize("n_bytes", [1200, 5000, 100_000])
def test_cut_file_keeps_the_length_it_declares(n_bytes, opened):
    data = good_files().mp3
    whole, cut = scan_frames(opened, data), scan_frames(opened, data[:n_bytes])
    assert cut.trusted
    assert cut.declared_s == whole.declared_s


@pytest.mark.parametrize("stated", [0, 1, 10, 100, 2**31 - 1, 2**32 - 1])
def test_wrong_length_is_put_right(stated, opened):
    data = good_files().mp3
    whole, found = scan_frames(opened, data), scan_frames(opened, xing(data, stated))
    assert not found.trusted
    assert found.declared_s == whole.declared_s
    shown = CorrectedFile(opened(xing(data, stated)), 0, found.end, found.patch)
    assert shown.read() == data


def test_frames_behind_junk_are_counted(opened):
    data = good_files().mp3
    half = len(data) // 2
    whole, found = (
        scan_frames(opened, data),
        scan_frames(opened, data[:half] + noise(9000) + data[half:]),
    )
    assert found.declared_s == whole.declared_s
    assert found.end == len(data) + 9000


@pytest.mark.parametrize(("sample_rate", "n_channels"), [(48000, 2), (44100, 1), (22050, 2)])
def test_change_of_format_is_found(sample_rate, n_channels, opened):
    other = encode(music(2.0, sample_rate, n_channels), "MP3", sample_rate)
    found = scan_frames(opened, good_files().mp3 + other)
    assert found.changes_at_s == pytest.approx(8.0, abs=0.06)
    assert scan_frames(opened, good_files().mp3 * 2).changes_at_s is None


@pytest.mark.parametrize(
    "junk", [b"\xff\xfb\x90\x64", b"\xff", b"\0", b"\xff\xfb\x90\x64" + bytes(413)]
)
def test_hostile_file_does_not_keep_the_count_busy(junk, opened):
    frames = good_files().mp3[:3000]  # some frames, again and again
    data = (frames + junk * (40_000 // len(junk))) * 300
    started = time.process_time()
    scan_frames(opened, data)
    mp3.find_frames(opened(data), 3000)
    assert time.process_time() - started < 10


def test_count_goes_on_where_junk_is_everywhere(opened):
    data = (good_files().mp3[:6000] + bytes(100)) * 1000
    found = scan_frames(opened, data)
    assert found.end > 0.99 * len(data)
    assert 0 < len(found.gaps) <= 1000


# ---- finding the first frame ----


@pytest.mark.parametrize("n_bytes", [1, 3, 1000, 100_000, 250_000])
@pytest.mark.parametrize("kind", ["noise", "zeros", "sync bytes"])
def test_first_frame_behind_junk(n_bytes, kind, opened):
    junk = {"noise": noise(n_bytes), "zeros": bytes(n_bytes), "sync bytes": b"\xff" * n_bytes}[kind]
    assert mp3.find_frames(opened(junk + good_files().mp3)) == n_bytes


@pytest.mark.parametrize(
    "data", [b"", b"\xff", bytes(5000), noise(300_000), b"\xff\xfb\x90\x64" * 99]
)
def test_no_frames(data, opened):
    assert mp3.find_frames(opened(data)) is None


def test_junk_longer_than_the_search_is_not_mp3(opened):
    assert mp3.find_frames(opened(noise(300_000) + good_files().mp3)) is None


# ---- the file that libsndfile is shown ----


@given(st.data())
def test_corrected_file_reads_as_the_bytes_it_stands_for(data):
    original = noise(300)
    start = data.draw(st.integers(0, 100))
    end = data.draw(st.integers(start + 10, 300))
    at = data.draw(st.integers(start, end - 4))
    expected = put(original, at, b"\1\2\3\4")[start:end]
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(original)
        shown = CorrectedFile(file.fileno(), start, end, (at, b"\1\2\3\4"))
        for _ in range(5):
            position, n = data.draw(st.integers(0, 320)), data.draw(st.integers(0, 50))
            assert shown.seek(position) == position
            assert shown.read(n) == expected[position : position + n]
            assert shown.tell() == position + len(expected[position : position + n])
        assert shown.seek(-2, os.SEEK_END) == len(expected) - 2
        assert shown.seek(1, os.SEEK_CUR) == len(expected) - 1


def test_endless_file_ends_where_the_frames_end(opened):
    shown = CorrectedFile(opened(b"0123456789"), 2, 8, endless=True)
    assert shown.seek(0, os.SEEK_END) > 1 << 39
    assert shown.read(3) == bytes(3)
    shown.seek(0)
    assert shown.read(100) == b"234567"
    assert shown.read(100) == b""
