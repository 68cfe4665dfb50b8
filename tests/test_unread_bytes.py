"""Damaged recordings of which a decoder reads a part and says nothing: never `ok`."""

import functools
import struct

import pytest
from conftest import music, read_audio
from fault_bytes import SAMPLE_RATE, SECONDS, encode, encode_av, flac_total, good_files, noise

LONG = 40  # seconds of mp3 and AAC: more than 600 kB


def rf64():
    return encode(music(SECONDS), "RF64", subtype="PCM_16")


def half_of_the_size(data, at, layout):
    """Return a file whose size field says half."""
    (size,) = struct.unpack_from(layout, data, at)
    return data[:at] + struct.pack(layout, size // 2) + data[at + struct.calcsize(layout) :]


def flaws_and_seconds(tmp_path, data, decoder="auto"):
    path = tmp_path / "recording"
    path.write_bytes(data)
    samples, stream = read_audio(path, decoder=decoder)
    return [code for code, _ in stream.flaws], len(samples) / 22050


def after(data, name):
    return data.index(name) + len(name)


def wav_without(n_frames):
    """Return a WAV file whose header leaves out the last frames."""
    data = encode(music(30), "WAV", subtype="PCM_16")
    at = after(data, b"data")
    (size,) = struct.unpack_from("<I", data, at)
    return data[:at] + struct.pack("<I", size - 4 * n_frames) + data[at + 4 :]


def flac_with_half_a_total():
    return flac_total(good_files().flac, int(SECONDS * SAMPLE_RATE) // 2)


def ape_tag(n_bytes):
    head = b"APETAGEX" + struct.pack("<IIII", 2000, n_bytes, 1, 1 << 31) + bytes(8)
    return head + noise(n_bytes)


MENDED = {
    "rf64": lambda: half_of_the_size(rf64(), 28, "<Q"),
    "caf": lambda: half_of_the_size(good_files().caf, after(good_files().caf, b"data"), ">q"),
    "au": lambda: half_of_the_size(good_files().au, 8, ">I"),
    "wav-less-than-1%": lambda: wav_without(3000),
    "wav": lambda: half_of_the_size(good_files().wav, after(good_files().wav, b"data"), "<I"),
    "flac": flac_with_half_a_total,
    "flac-big-tag": lambda: flac_with_half_a_total() + ape_tag(300_000),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_size_that_is_too_small_is_mended(tmp_path, name):
    flaws, seconds = flaws_and_seconds(tmp_path, MENDED[name]())
    assert flaws == []
    assert seconds == pytest.approx(30 if name.startswith("wav-") else SECONDS, abs=0.01)


@functools.cache
def mp3():
    return encode(music(LONG), "MP3")


@functools.cache
def adts():
    return encode_av(music(LONG), "adts", "aac")


@functools.cache
def fragments():
    options = {"movflags": "+frag_keyframe+empty_moov", "frag_duration": "1000000"}
    return encode_av(music(SECONDS), "mp4", "aac", container_options=options)


def zeroed(data, first, last):
    first, last = int(first), int(last)
    return data[:first] + bytes(last - first) + data[last:]


def without_fragments(first, last):
    data = fragments()
    boxes = [at for at in range(len(data)) if data[at + 4 : at + 8] == b"moof"]
    return zeroed(data, boxes[first], [*boxes, len(data)][last])


def cut_ogg():
    data = good_files().ogg
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    return data[: pages[len(pages) // 2]]


TRUNCATED = {
    "rf64-cut": lambda: rf64()[: len(rf64()) // 2],
    "rf64-too-large": lambda: rf64()[:28] + struct.pack("<Q", 1 << 33) + rf64()[36:],
    "aiff": lambda: half_of_the_size(good_files().aiff, after(good_files().aiff, b"SSND"), ">I"),
    "flac-longer-flac": lambda: good_files().flac + encode(music(20), "FLAC", subtype="PCM_16"),
    "mp3-end-zeroed": lambda: zeroed(mp3(), len(mp3()) - 100_000, len(mp3())),
    "mp3-end-random": lambda: mp3()[:-100_000] + noise(100_000),
    "mp3-start-zeroed": lambda: zeroed(mp3(), 0, 200_000),
    "mp3-hole": lambda: mp3()[:200_777] + bytes(400_000) + mp3()[200_777:],
    "mp3-gap-after-tag": lambda: mp3() + b"TAG" + bytes(125 + 400_000) + mp3(),
    "mp3-gap-after-ape-tag": lambda: mp3() + ape_tag(1000) + noise(400_000) + mp3(),
    "adts-start": lambda: zeroed(adts(), 0, 50_000),
    "adts-middle": lambda: adts() + bytes(300_000) + adts(),
    "adts-end": lambda: adts() + bytes(300_000),
    "mp4-fragments": lambda: without_fragments(2, 4),
    "mp4-last-fragments": lambda: without_fragments(4, -1),
    "ogg-ogg": lambda: cut_ogg() + good_files().ogg,
    "ogg-junk-ogg": lambda: good_files().ogg + noise(400_000) + good_files().ogg,
}


@pytest.mark.parametrize("name", TRUNCATED)
def test_what_is_not_read_is_told(tmp_path, name):
    flaws, seconds = flaws_and_seconds(tmp_path, TRUNCATED[name]())
    assert flaws == ["truncated"]
    assert seconds > 0


@pytest.mark.parametrize("n_bytes", [100, 300, 512, 1024, 4000])
def test_a_lost_sector_costs_an_mp3_less_than_a_second(tmp_path, n_bytes):
    data = mp3()
    middle = len(data) // 2
    _, seconds = flaws_and_seconds(tmp_path, zeroed(data, middle, middle + n_bytes))
    assert seconds > LONG - 1


def test_a_flac_that_ends_before_its_total_is_truncated(tmp_path):
    """Cut where a frame begins, so that no decoder sees a broken one."""
    data = good_files().flac
    frames = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xf8"]
    flaws, seconds = flaws_and_seconds(tmp_path, data[: frames[-1]])
    assert flaws == ["truncated"]
    assert SECONDS - 0.2 < seconds < SECONDS


WHOLE = {
    "wav-tags": lambda: good_files().wav + b"LIST" + struct.pack("<I", 4000) + noise(4000),
    "wav-padding": lambda: good_files().wav + bytes(40_000),
    "aiff-id3": lambda: good_files().aiff + b"ID3 " + struct.pack(">I", 4000) + noise(4000),
    "mp3-tags": lambda: good_files().mp3 + ape_tag(100_000) + b"TAG" + bytes(125),
    "adts-id3": lambda: b"ID3\4\0\0\0\0\x10\0" + bytes(2048) + adts() + b"TAG" + bytes(125),
    "ogg-tag": lambda: good_files().ogg + b"TAG" + bytes(125),
    "flac-tag": lambda: good_files().flac + ape_tag(300_000),
    "mp4-fragments": fragments,
    "rf64": rf64,
}


@pytest.mark.parametrize("name", WHOLE)
def test_tags_and_padding_are_no_flaw(tmp_path, name):
    flaws, seconds = flaws_and_seconds(tmp_path, WHOLE[name]())
    assert flaws == []
    long = LONG if name.startswith("adts") else SECONDS
    assert seconds == pytest.approx(long, abs=0.1)
