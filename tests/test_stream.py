"""Recordings to mono blocks: scaling, mixing, checks, resampling."""

import os

import numpy as np
import pytest
import soxr
from conftest import SAMPLE_RATE, music, read_audio
from fault_bytes import encode, good_files, wav
from hypothesis import given, settings
from hypothesis import strategies as st

from artist_features.audio.decoders import Span
from artist_features.audio.stream import check_array, open_array, open_file
from artist_features.errors import AudioError

RATES = (4000, 8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000, 192_000, 384_000)


def from_array(samples, sample_rate=SAMPLE_RATE, target_rate=None, span=None):
    """Return (mono samples, stream)."""
    stream = open_array(
        samples,
        sample_rate=sample_rate,
        target_rate=target_rate or int(sample_rate),
        span=span or Span(),
    )
    return stream.read(), stream


# ---- scaling and mixing ----


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("int16", [-32768, 0, 16384, 32767], [-1, 0, 0.5, 32767 / 32768]),
        ("int32", [-(2**31), 0, 2**30], [-1, 0, 0.5]),
        ("uint8", [0, 128, 192, 255], [-1, 0, 0.5, 127 / 128]),
        ("float16", [-1, 0.25], [-1, 0.25]),
        ("float32", [-1.5, 0.25], [-1.5, 0.25]),
        ("float64", [-1, 0.1], [-1, np.float32(0.1)]),
        (">i2", [-32768, 16384], [-1, 0.5]),
        (">f4", [-1, 0.25], [-1, 0.25]),
    ],
)
def test_samples_are_scaled_by_full_scale(dtype, values, expected):
    samples, stream = from_array(np.array(values, dtype))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, np.array(expected, np.float32))
    assert stream.decoder == "array"


@given(st.integers(1, 32), st.integers(1, 50), st.sampled_from(["int16", "float32", "float64"]))
@settings(deadline=None, max_examples=60)
def test_channels_are_averaged(n_channels, n_samples, dtype):
    rng = np.random.default_rng(n_channels * 100 + n_samples)
    samples = rng.uniform(-1, 1, (n_samples, n_channels))
    full_scale = 1
    if dtype == "int16":
        samples, full_scale = (samples * 32767).astype(dtype), 32768
    mono, _ = from_array(samples.astype(dtype))
    expected = (samples.astype(np.float64) / full_scale).mean(axis=1)
    np.testing.assert_allclose(mono, expected, atol=1e-6)


def test_array_is_left_as_it_was_and_may_be_strided_or_read_only():
    samples = music(1.0)
    samples.flags.writeable = False
    before = samples.copy()
    plain, _ = from_array(samples)
    np.testing.assert_array_equal(samples, before)
    padded = np.zeros((len(samples) * 2, 4), np.float32)[::2, 1:3]
    padded[:] = samples
    np.testing.assert_array_equal(from_array(padded)[0], plain)
    np.testing.assert_array_equal(from_array(np.asfortranarray(samples))[0], plain)


# ---- arguments ----


@pytest.mark.parametrize(
    ("shape", "dtype", "sample_rate", "error", "text"),
    [
        ((9,), "int8", 44100, TypeError, r"dtype int8; allowed are floats"),
        ((9,), "int64", 44100, TypeError, r"dtype int64; allowed are floats"),
        ((9,), "uint16", 44100, TypeError, r"dtype uint16; allowed are floats"),
        ((9,), "complex64", 44100, TypeError, r"dtype complex64"),
        ((9,), "bool", 44100, TypeError, r"dtype bool"),
        ((9,), "U1", 44100, TypeError, r"dtype <U1"),
        ((9,), object, 44100, TypeError, r"dtype object"),
        ((), "float32", 44100, ValueError, r"shape \(\); allowed is \(n_samples,\)"),
        ((2, 3, 4), "float32", 44100, ValueError, r"shape \(2, 3, 4\)"),
        ((9, 0), "float32", 44100, ValueError, r"has 0 channels; allowed is 1 to 32"),
        ((2, 44100), "float32", 44100, ValueError, r"44100 channels.*Transpose"),
        ((9,), "float32", None, ValueError, r"sample_rate is missing"),
        ((9,), "float32", "44100", TypeError, r"sample_rate is '44100'"),
        ((9,), "float32", True, TypeError, r"sample_rate is True"),
        ((9,), "float32", 3999, ValueError, r"3999 Hz; allowed is a whole number from 4000 to"),
        ((9,), "float32", 384_001, ValueError, r"384001 Hz"),
        ((9,), "float32", 22050.5, ValueError, r"22050\.5 Hz"),
        ((9,), "float32", float("nan"), ValueError, r"nan Hz"),
        ((9,), "float32", -44100, ValueError, r"-44100 Hz"),
    ],
)
def test_wrong_arrays_and_rates(shape, dtype, sample_rate, error, text):
    with pytest.raises(error, match=text):
        check_array(np.zeros(shape, dtype), sample_rate)


@pytest.mark.parametrize("sample_rate", [44100, 44100.0, np.int64(44100), np.float32(44100)])
def test_rate_may_be_any_whole_number(sample_rate):
    assert from_array(np.ones(4, np.float32), sample_rate)[1].sample_rate == 44100


@pytest.mark.parametrize("shape", [(0,), (0, 2)])
def test_no_samples(shape):
    with pytest.raises(AudioError, match=r"array of shape \(0,.*\): no samples") as caught:
        from_array(np.empty(shape, np.float32))
    assert (caught.value.code, caught.value.path) == ("empty", None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 70_000, 300_000])
@pytest.mark.parametrize("from_what", ["array", "file"])
def test_one_sample_that_is_not_finite(value, at, from_what, tmp_path):
    samples = np.zeros(300_001, np.float32)
    samples[at] = value
    expected = rf"1 of 300001 samples .* first at {at / SAMPLE_RATE:.3f} s \(sample {at}\)"
    (tmp_path / "a.wav").write_bytes(wav(samples.tobytes(), bits=32, tag=3))
    read, what = (from_array, samples) if from_what == "array" else (read_audio, tmp_path / "a.wav")
    with pytest.raises(AudioError, match=expected) as caught:
        read(what)
    assert caught.value.code == "not_finite"


@pytest.mark.parametrize(("peak", "allowed"), [(16.0, True), (-16.0, True), (16.1, False)])
def test_amplitude(peak, allowed):
    samples = np.zeros(10, np.float32)
    samples[3] = peak
    if allowed:
        assert abs(from_array(samples)[0]).max() == 16
        return
    with pytest.raises(AudioError, match=r"amplitude reaches 16\.1; .*Divide integer") as caught:
        from_array(samples)
    assert caught.value.code == "out_of_range"


@pytest.mark.parametrize("frame", [(np.inf, -np.inf), (3e38, 3e38), (1e300, 0)])
def test_what_overflows_in_the_mix_is_refused_without_warnings(frame):
    samples = np.zeros((10, 2))
    samples[4] = frame
    with pytest.raises(AudioError, match=r"1 of 10 samples are NaN or infinite"):
        from_array(samples)


def test_silence_is_noted():
    samples, stream = from_array(np.zeros(SAMPLE_RATE, np.float32))
    assert len(samples) == SAMPLE_RATE
    assert stream.flaws == [("silent", "all 1.0 s are digital silence")]


# ---- resampling ----


@pytest.mark.parametrize("sample_rate", RATES)
def test_streamed_resampling_is_that_of_the_whole(sample_rate):
    samples = music(5.0, sample_rate, 1)[:, 0]
    streamed, stream = from_array(samples, sample_rate, 22050)
    expected = soxr.resample(samples, sample_rate, 22050, quality="HQ")
    np.testing.assert_array_equal(streamed, expected)
    assert stream.duration_s == pytest.approx(5.0)


@pytest.mark.parametrize("sample_rate", [8000, 44100, 192_000])
def test_resampling_of_a_file_is_that_of_the_whole(sample_rate, tmp_path):
    samples = music(4.0, sample_rate)
    (tmp_path / "a.wav").write_bytes(encode(samples, "WAV", sample_rate, "FLOAT"))
    streamed, stream = read_audio(tmp_path / "a.wav")
    mono = (samples[:, 0] + samples[:, 1]) * np.float32(0.5)
    np.testing.assert_array_equal(streamed, soxr.resample(mono, sample_rate, 22050, quality="HQ"))
    assert (stream.sample_rate, stream.decoder) == (sample_rate, "soundfile")


def test_tone_keeps_its_pitch_and_level_and_aliases_nothing():
    t = np.arange(48000 * 2) / 48000
    low, high = (np.sin(2 * np.pi * f * t).astype(np.float32) for f in (1000, 15_000))
    spectrum = np.abs(np.fft.rfft(from_array(low, 48000, 22050)[0][4096:-4096]))
    expected_bin = 1000 / 22050 * (2 * len(spectrum) - 2)
    assert abs(spectrum.argmax() - expected_bin) <= 1
    assert np.abs(from_array(high, 48000, 22050)[0][1000:-1000]).max() < 1e-4


@pytest.mark.parametrize("n_channels", [1, 2, 6, 16, 32])
def test_many_channels_in_a_file(n_channels, tmp_path):
    samples = music(1.0, n_channels=n_channels)
    (tmp_path / "a.wav").write_bytes(encode(samples, "WAV", subtype="FLOAT"))
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav", SAMPLE_RATE)[0], samples.mean(axis=1), atol=1e-6
    )


@pytest.mark.parametrize(
    ("subtype", "step"),
    [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("PCM_32", 2**-23), ("DOUBLE", 0)],
)
def test_integer_files_are_scaled_by_full_scale(subtype, step, tmp_path):
    samples = music(1.0, n_channels=1)[:, 0]
    (tmp_path / "a.wav").write_bytes(encode(samples, "WAV", subtype=subtype))
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav", SAMPLE_RATE)[0], samples, atol=1.01 * step
    )


# ---- open, read, close ----


def test_what_is_known_before_the_first_block_and_what_is_closed(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(good_files().flac)
    before = len(os.listdir("/dev/fd"))
    with open_file(path, target_rate=22050) as stream:
        found = (stream.sample_rate, stream.declared_s, stream.decoder, stream.container)
        assert found == (44100, 8.0, "soundfile", "flac")
        assert len(next(iter(stream)))  # and no more
    assert len(os.listdir("/dev/fd")) == before
    for data in (good_files().flac[:5000], b"RIFF" + bytes(40)):  # opened in vain
        path.write_bytes(data)
        with pytest.raises(AudioError):
            read_audio(path)
    assert len(os.listdir("/dev/fd")) == before


def test_an_error_of_the_user_of_a_stream_is_left_alone(tmp_path):
    (tmp_path / "a.flac").write_bytes(good_files().flac)
    with pytest.raises(OSError, match="disk"), open_file(tmp_path / "a.flac", target_rate=22050):
        raise OSError("the disk of the user")


# ---- a part of an array ----


@given(st.floats(0, 1.2), st.none() | st.floats(1e-6, 2))
@settings(deadline=None, max_examples=60)
def test_span_of_an_array_is_a_slice(offset, duration):
    samples = np.arange(1, 8001, dtype=np.float32) / 8000
    first = round(offset * 8000)
    if first >= 8000:
        with pytest.raises(AudioError, match=r"offset is .* s, the recording ends at 1\.0 s"):
            from_array(samples, 8000, span=Span(offset, duration))
        return
    last = 8000 if duration is None else first + max(1, round(duration * 8000))
    part, stream = from_array(samples, 8000, span=Span(offset, duration))
    np.testing.assert_array_equal(part, samples[first:last])
    assert stream.duration_s == len(part) / 8000


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((-0.1, None), ValueError, r"offset is -0\.1 s; .*from 0 to 1e[+]07"),
        ((float("nan"), None), ValueError, r"offset is nan s"),
        ((1e300, None), ValueError, r"offset is 1e[+]300 s; allowed is a number of seconds"),
        ((None, None), TypeError, r"offset is None; allowed is a number"),
        (("1", None), TypeError, r"offset is '1'; allowed is a number"),
        ((0, np.complex64(1)), TypeError, r"duration is .*1\+0j.*; allowed is a number"),
        ((0, 0), ValueError, r"duration is 0 s; .*not 0"),
        ((0, -1), ValueError, r"duration is -1 s"),
        ((0, float("nan")), ValueError, r"duration is nan s"),
    ],
)
def test_impossible_spans(arguments, error, text):
    with pytest.raises(error, match=text):
        Span(*arguments)


@pytest.mark.parametrize("name", ["ogg", "mp3", "wav"])
@pytest.mark.parametrize(
    ("span", "code"),
    [
        (Span(0, 600), "truncated"),  # up to the end, wherever that is
        (Span(1.5, None), "truncated"),
        (Span(1.0, 600), "truncated"),
        (Span(0, 2.0), None),  # all that was asked for is there
        (Span(1.0, 1.0), None),
    ],
)
def test_a_missing_end_is_told_where_it_was_asked_for(tmp_path, name, span, code):
    data = getattr(good_files(), name)
    path = tmp_path / f"half.{name}"
    path.write_bytes(data[: len(data) // 2])
    _, stream = read_audio(path, SAMPLE_RATE, span=span)
    assert [code for code, _ in stream.flaws] == ([code] if code else [])
