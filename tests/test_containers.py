"""Recognising files, and finding what is missing or wrong in them."""

import contextlib
import os
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import music, write_audio
from fault_bytes import encode, encode_av, good_files, id3_tag, put, wav
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.audio import mp3
from artist_features.audio.containers import (
    _ogg_crc,
    describe_head,
    find_damage,
    identify,
)
from artist_features.audio.formats import check_format
from artist_features.audio.stream import open_file
from artist_features.errors import AudioError

KINDS = {
    "wav": "wav",
    "flac": "flac",
    "ogg": "ogg",
    "opus": "opus",
    "mp3": "mp3",
    "aiff": "aiff",
    "au": "au",
    "caf": "caf",
    "w64": "w64",
    "m4a": "mp4",
}


def recognise(opened, data):
    return identify(opened(data), len(data), "x")


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_good_files_are_recognised_and_whole(name, kind, opened):
    data = getattr(good_files(), name)
    container = recognise(opened, data)
    assert (container.kind, container.start, container.end) == (kind, 0, None)
    assert find_damage(opened(data), len(data), kind) is None


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\xd8\xff\xe1" + bytes(99), "a JPEG picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture"),
        (b"GIF89a" + bytes(99), "a GIF picture"),
        (b"%PDF-1.7\n" + bytes(99), "a PDF document"),
        (b"PK\x03\x04" + bytes(99), "a ZIP archive"),
        (b"\r\n  <!doctype HTML>", "HTML"),
        (b"<HTML><body>", "HTML"),
        (b"<?xml version='1.0'?>", "XML"),
        (b"\x7fELF\2\1\1" + bytes(99), "a program"),
        (b"[playlist]\nFile1=x", "a PLS playlist"),
    ],
)
def test_other_things_are_called_by_their_name(data, name, opened):
    with pytest.raises(AudioError, match=f"starts like {name}; an audio file is needed") as caught:
        recognise(opened, data)
    assert caught.value.code == "unsupported"


def test_unknown_bytes_are_left_to_the_decoder(opened):
    assert recognise(opened, b"just some words" * 9).kind == "unknown"
    assert describe_head(opened(bytes(50))) == "only zero bytes"
    assert describe_head(opened(b"RIFFx" + bytes(50))).startswith("'RIFFx")


@given(st.binary(min_size=1, max_size=300))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_a_kind_or_a_named_error(data):
    with tempfile.TemporaryFile() as file:
        reader = file.fileno()
        for start in (b"", b"ID3\x03\0\0\0\0\0\x05", b"RIFF\0\0\0\0WAVE", b"\xff\xfb\x90\x64"):
            os.ftruncate(reader, 0)
            os.pwrite(reader, start + data, 0)
            size = len(start + data)
            try:
                container = identify(reader, size, "x")
            except AudioError:
                continue
            for kind in (container.kind, "ogg", "wav", "aiff", "au", "caf", "w64"):
                find_damage(reader, size, kind)


# ---- chunks ----


def chunk(name, body, order="<"):
    return struct.pack(f"{order}4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


@pytest.mark.parametrize("order", ["<", ">"])
def test_chunks_before_and_behind_the_samples(order, opened):
    """Odd lengths, a list behind the samples, and RIFX, the big-endian WAV."""
    fmt = struct.pack(f"{order}HHIIHH", 1, 1, 44100, 88200, 2, 16)
    samples = bytes(4000)
    body = chunk(b"bext", b"odd", order) + chunk(b"fmt ", fmt, order)
    body += chunk(b"data", samples, order) + chunk(b"LIST", b"INFO!", order)
    magic = b"RIFF" if order == "<" else b"RIFX"
    data = struct.pack(f"{order}4sI4s", magic, 4 + len(body), b"WAVE") + body
    assert recognise(opened, data).kind == "wav"
    assert find_damage(opened(data), len(data), "wav") is None
    cut = data[: data.index(b"data") + 8 + 1000]
    code, text = find_damage(opened(cut), len(cut), "wav")
    assert (code, text) == (
        "truncated",
        "header declares 4000 bytes of samples, the file holds 1000",
    )


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFF0, 0xFFFF0000])
def test_sizes_that_mean_until_the_end(size, opened):
    data = wav(bytes(5000), size=size)
    assert find_damage(opened(data), len(data), "wav") is None


@pytest.mark.parametrize("size", [5001, 2**31 - 2**20, 2**31 + 5, 2**32 - 2**20])
def test_sizes_that_mean_a_cut_file(size, opened):
    data = wav(bytes(5000), size=size)
    code, text = find_damage(opened(data), len(data), "wav")
    assert code == "truncated"
    assert f"{size} bytes" in text


def test_caf_and_au_of_unknown_length_are_whole(opened):
    caf, au = good_files().caf, good_files().au
    caf = put(caf, caf.index(b"data") + 4, b"\xff" * 8)
    au = put(au, 8, b"\xff" * 4)
    assert find_damage(opened(caf), len(caf), "caf") is None
    assert find_damage(opened(au), len(au), "au") is None


@pytest.mark.parametrize("n_tag", [0, 5000])
def test_a_cut_au_is_known_also_after_a_tag(n_tag, opened):
    data = id3_tag(n_tag) + good_files().au if n_tag else good_files().au
    data = data[:-3000]
    start = recognise(opened, data).start
    code, text = find_damage(opened(data), len(data), "au", start=start)
    assert (code, start > 0) == ("truncated", n_tag > 0)
    assert text.endswith(f"the file holds {len(data) - start - 24}")


def test_wav_without_format(opened):
    data = b"RIFF\xff\0\0\0WAVE" + chunk(b"data", bytes(9000))
    with pytest.raises(AudioError, match=r"without a format chunk") as caught:
        recognise(opened, data)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(
    ("sample_rate", "n_channels", "text"),
    [
        *((rate, 2, f"{rate} Hz; allowed is 4000 to") for rate in (3999, 384_001, 0, 2**32 - 1)),
        *((44100, n, f"{n} channels; allowed is 1 to 32") for n in (0, 33, 65535)),
        (4000, 1, ""),
        (384_000, 32, ""),
    ],
)
def test_range_of_sample_rates_and_channels(sample_rate, n_channels, text):
    context = pytest.raises(AudioError, match=text) if text else contextlib.nullcontext()
    with context:
        check_format(sample_rate, n_channels, "x")


# ---- Ogg ----


def pages(data):
    """Yield (position, page) of a whole Ogg file."""
    at = 0
    while at < len(data):
        n_segments = data[at + 26]
        length = 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
        yield at, data[at : at + length]
        at += length


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_checksum_is_that_of_libogg(name):
    all_pages = list(pages(getattr(good_files(), name)))
    assert len(all_pages) > 5
    for _, page in all_pages:
        assert _ogg_crc(put(page, 22, bytes(4))) == int.from_bytes(page[22:26], "little")


@pytest.mark.parametrize("name", ["ogg", "opus"])
def test_any_flipped_bit_and_any_cut_of_an_ogg_is_found(name, opened):
    data, rng = getattr(good_files(), name), np.random.default_rng(0)
    for at in rng.integers(0, len(data), 25):
        flipped = put(data, at, bytes([data[at] ^ 1 << rng.integers(8)]))
        assert find_damage(opened(flipped), len(data), "ogg") is not None
        cut = data[:at]
        found = find_damage(opened(cut), len(cut), "ogg")
        assert found is not None
        assert found[0] == "truncated"


def test_cut_between_two_pages_is_found(opened):
    data = good_files().ogg
    *_, (last, _) = pages(data)
    found = find_damage(opened(data[:last]), last, "ogg")
    assert found == ("truncated", "the Ogg stream has no end page")


def test_lost_page_is_found_by_its_number(opened):
    data = good_files().ogg
    at, page = list(pages(data))[4]
    lost = data[:at] + data[at + len(page) :]
    code, text = find_damage(opened(lost), len(lost), "ogg")
    assert (code, text) == ("damaged", f"an Ogg page is missing at byte {at}")


def test_chained_streams_are_whole(opened):
    chained = good_files().ogg + encode(music(2.0, seed=2), "OGG", subtype="VORBIS")
    assert find_damage(opened(chained), len(chained), "ogg") is None
    code, text = find_damage(opened(chained), len(chained), "ogg", first_only=True)
    assert code == "truncated"
    assert f"up to byte {len(good_files().ogg)}" in text


# ---- ID3 in front ----


def _unread(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return identify(fd, os.fstat(fd).st_size, path).n_unread
    finally:
        os.close(fd)


def _encoded(folder: Path, ending: str, seed: int = 1) -> Path:
    """A file of 6 s in a format that libsndfile writes, or FFmpeg."""
    path, samples = folder / f"{seed}.{ending}", music(6, seed=seed)
    by_ffmpeg = {"m4a": ("ipod", "aac"), "tta": ("tta", "tta")}.get(ending)
    path.write_bytes(
        encode_av(samples, *by_ffmpeg) if by_ffmpeg else encode(samples, ending.upper())
    )
    return path


@pytest.mark.parametrize("ending", ["flac", "wav", "aiff", "w64", "caf", "au", "m4a", "tta"])
@pytest.mark.parametrize("behind", ["flac", "mp3", "same"])
def test_another_file_behind_one_is_neither_read_nor_passed_over(ending, behind, tmp_path):
    first = _encoded(tmp_path, ending)
    second = _encoded(tmp_path, ending if behind == "same" else behind, seed=2)
    assert _unread(first) == 0
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert _unread(first) == pytest.approx(second.stat().st_size, rel=0.01)
    with open_file(first, target_rate=22050) as stream:
        assert len(stream.read()) == pytest.approx(6 * 22050, abs=2000)
    assert [code for code, _ in stream.flaws] == ["truncated"]


@pytest.mark.parametrize("ending", ["wav", "w64", "aiff"])
def test_another_file_behind_a_padded_one(ending, tmp_path):
    path = tmp_path / f"a.{ending}"
    write_audio(path, music(4, 44100, 1)[:176_399], 44100, subtype="PCM_24")  # an odd size
    data = path.read_bytes()
    path.write_bytes(data + data)
    with open_file(path, target_rate=22050) as stream:
        assert len(stream.read()) == pytest.approx(4 * 22050, abs=10)
    assert [code for code, _ in stream.flaws] == ["truncated"]


def test_a_stream_of_fragments_may_repeat_its_head(tmp_path):
    options = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "2000000"}
    data = encode_av(music(6), "mp4", "aac", container_options=options)
    moofs = [at - 4 for at in range(len(data)) if data.startswith(b"moof", at)]
    last = data.rfind(b"mfra") - 4
    path = tmp_path / "b.m4a"
    path.write_bytes(data[: moofs[1]] + data[: moofs[0]] + data[moofs[1] : last])
    assert _unread(path) == 0
    path.write_bytes(data + data)  # two files, the first ends with its `mfra`
    assert _unread(path) == len(data)


def test_a_damaged_head_of_true_audio_needs_no_memory(tmp_path):
    path = tmp_path / "a.tta"
    path.write_bytes(b"TTA1" + struct.pack("<HHHIII", 1, 2, 16, 1, 0xFFFFFFFF, 0))
    os.truncate(path, 1 << 30)
    assert _unread(path) == 0


def test_many_zeros_behind_flac_are_read_once(tmp_path, monkeypatch):
    path = _encoded(tmp_path, "flac")
    path.write_bytes(path.read_bytes() + bytes(4 << 20) + np.random.default_rng(0).bytes(9000))
    n_read = 0

    def counted(fd, n, at):
        nonlocal n_read
        n_read += len(data := real(fd, n, at))
        return data

    real = os.pread
    monkeypatch.setattr(os, "pread", counted)
    assert _unread(path) > 4 << 20
    assert n_read < 8 * path.stat().st_size


def test_tags_behind_flac_are_nothing_unread(tmp_path):
    path = _encoded(tmp_path, "flac")
    whole = path.read_bytes()
    cover = b"ID3\4\0\0" + bytes((0, 24, 106, 32)) + bytes([7]) * (24 << 14 | 106 << 7 | 32)
    for tag in (cover, cover + b"TAG" + bytes(125), bytes(100_000)):
        path.write_bytes(whole + tag)
        assert _unread(path) == 0
    path.write_bytes(whole + np.random.default_rng(0).bytes(100_000))
    assert _unread(path) == 100_000


def test_a_small_total_of_flac_is_mended_before_20_mb_of_zeros(tmp_path):
    path = _encoded(tmp_path, "flac")
    data = bytearray(path.read_bytes())
    data[21:26] = bytes([data[21] & 0xF0]) + (44100).to_bytes(4, "big")
    path.write_bytes(bytes(data) + bytes(20 << 20))
    with open_file(path, target_rate=22050) as stream:
        assert len(stream.read()) == pytest.approx(6 * 22050, abs=10)


def test_a_second_chunk_of_samples_is_told(tmp_path):
    path = _encoded(tmp_path, "wav")
    data = bytearray(path.read_bytes())
    at, half = data.find(b"data"), 3 * 44100 * 4
    data[at + 4 : at + 8] = struct.pack("<I", half)
    second = at + 8 + half
    data[second:second] = b"data" + struct.pack("<I", len(data) - second)
    data[4:8] = struct.pack("<I", len(data) - 8)
    path.write_bytes(data)
    assert _unread(path) == len(data) - second


@pytest.mark.parametrize("n_bytes", [520_000, 530_000, 4 << 20])
def test_an_mp3_goes_on_after_erased_memory(n_bytes, tmp_path):
    path = _encoded(tmp_path, "mp3")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * n_bytes + data[len(data) // 2 :])
    with open_file(path, target_rate=22050) as stream:
        assert len(stream.read()) == pytest.approx(6 * 22050, abs=4000)
    assert [code for code, _ in stream.flaws] == ["truncated"]


def test_gaps_of_an_mp3_end_where_the_search_gives_up(monkeypatch, tmp_path):
    monkeypatch.setattr(mp3, "_MOST_SYNC", 1000)
    path = _encoded(tmp_path, "mp3")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\0" * 5000 + data[len(data) // 2 :])
    with open_file(path, target_rate=22050) as stream:
        assert len(stream.read()) == pytest.approx(3 * 22050, abs=4000)
    assert [code for code, _ in stream.flaws] == ["truncated"]
