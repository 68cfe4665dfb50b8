"""Long recordings in little memory: rows 29 and 30 of the fault table."""

import sys

import numpy as np
import processes
import pytest
from conftest import SAMPLE_RATE, music, write_audio
from fault_bytes import encode_av, wav

from artist_features.extraction.extractor import Extractor

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux"),
]
ALLOWED_MIB = 300  # above the peak of a 3 min file

PEAK = """
def peak():  # of this program alone; ru_maxrss would begin with its parent's size
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))
"""
WHOLE_CHAIN = (
    PEAK
    + """
import sys, warnings
from artist_features.extraction.extractor import Extractor
warnings.simplefilter("ignore")
extractor = Extractor(sys.argv[1], isolated=False, n_workers=1)
for path in sys.argv[2:]:
    vector = extractor.extract(path)
    print(peak(), *vector)
"""
)
DECODER = (
    PEAK
    + """
import sys
from artist_features.config import FrontEnd
from artist_features.extraction.decode import Source, decode_segments
for path in sys.argv[2:]:
    stream = decode_segments(Source(path), FrontEnd())
    for _ in stream:
        pass
    print(peak(), stream.facts.duration_s)
assert "tensorflow" not in sys.modules
"""
)


def measure(program, *arguments):
    """Run in a process of its own; return (peak MiB so far, other numbers) of each line."""
    done = processes.run(program, *arguments)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return [(int(peak), np.array(numbers, np.float32)) for peak, *numbers in lines]


def check_memory(short, long):
    print(f"peak {short[0]} MiB after 3 min, {long[0]} MiB after the long one")
    assert long[0] - short[0] < ALLOWED_MIB


@pytest.fixture(scope="module")
def three_minutes(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "3 min.wav"
    return write_audio(path, np.tile(music(5.0), (36, 1)))


@pytest.fixture(scope="module")
def twenty_minutes(tmp_path_factory):
    """Samples int16, and the file that holds them."""
    five_seconds = (music(5.0, n_channels=1)[:, 0] * 32767).astype("<i2")
    samples = np.tile(five_seconds, 240)
    path = tmp_path_factory.mktemp("long") / "20 min.wav"
    path.write_bytes(wav(samples.tobytes()))
    return samples, path


def test_row29_long_wav_is_streamed(tiny_folder, three_minutes, twenty_minutes):
    samples, path = twenty_minutes
    short, long = measure(WHOLE_CHAIN, tiny_folder, three_minutes, path)
    check_memory(short, long)
    expected = Extractor(tiny_folder).extract(samples, sample_rate=SAMPLE_RATE)
    np.testing.assert_allclose(long[1], expected, atol=1e-5)


@pytest.mark.nightly
def test_row29_decoder_of_a_long_wav(three_minutes, twenty_minutes):
    short, long = measure(DECODER, "", three_minutes, twenty_minutes[1])
    assert short[0] < ALLOWED_MIB
    assert long[0] - short[0] < 20
    assert long[1] == 1200


def test_row29_sparse_wav(three_minutes, tmp_path):
    """25 minutes of stereo with nothing on the disk."""
    path, size = tmp_path / "sparse.wav", 2**28
    path.write_bytes(wav(b"", channels=2, size=size))
    with open(path, "r+b") as file:
        file.truncate(44 + size)
    short, long = measure(DECODER, "", three_minutes, path)
    assert long[0] - short[0] < 20
    assert long[1] == pytest.approx(size / 4 / SAMPLE_RATE)


def test_row30_decode_bomb(tmp_path):
    """Five minutes in 0.2 MB: 6 kbit/s Opus; decoded whole they take 57 MB."""
    samples = music(6.0, 48000, 1)[:, 0]
    slow = {"bit_rate": 6000, "codec_options": {"frame_duration": "60", "application": "voip"}}
    paths = [tmp_path / "6 s.opus", tmp_path / "bomb.opus"]
    for path, n in zip(paths, (1, 50), strict=True):
        path.write_bytes(encode_av(np.tile(samples, n), "ogg", "libopus", 48000, **slow))
    assert paths[1].stat().st_size < 300_000
    short, long = measure(DECODER, "", *paths)  # the first one loads the decoder's library
    assert long[0] - short[0] < 20
    assert long[1] == pytest.approx(300)
