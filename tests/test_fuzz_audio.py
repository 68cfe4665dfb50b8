"""Mutated audio files: each gives segments or a named error, and no worker dies.

1,000 in each run, 12,000 in the nightly one. `FUZZ_MUTANTS=100000 FUZZ_SEED=7 pytest --nightly
tests/test_fuzz_audio.py` searches longer and elsewhere. A mutant that fails stays in the folder
that the message names.
"""

import os

import numpy as np
import pytest
from conftest import music
from fault_bytes import encode, encode_av

from artist_features.config import FrontEnd
from artist_features.errors import AUDIO_CODES, AudioError
from artist_features.extraction.decode import ReadingOptions, Source
from artist_features.extraction.decode_pool import DecodePool

MUTANTS = int(os.environ.get("FUZZ_MUTANTS", "12000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
HEAD_BYTES = 4096
EXTREMES = [
    bytes(4),
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x80\0\0\0",
    b"\1\0\0\0",
]
READINGS = [ReadingOptions()] * 6 + [ReadingOptions(0.5), ReadingOptions(0.2, 0.3)]


def seeds():
    """Return one second of music in each format, as bytes, by name."""
    stereo, mono, opus = music(1.0), music(1.0, 22050, 1), music(1.0, 48000)
    return {
        "wav": encode(mono, "WAV", 22050),
        "float.wav": encode(stereo, "WAV", subtype="FLOAT"),
        "adpcm.wav": encode(stereo, "WAV", subtype="IMA_ADPCM"),
        "flac": encode(stereo, "FLAC"),
        "ogg": encode(stereo, "OGG", subtype="VORBIS"),
        "opus": encode(opus, "OGG", 48000, "OPUS"),
        "mp3": encode(stereo, "MP3"),
        "mono.mp3": encode(mono, "MP3", 22050),
        "aiff": encode(mono, "AIFF", 22050),
        "au": encode(mono, "AU", 22050),
        "caf": encode(mono, "CAF", 22050),
        "w64": encode(mono, "W64", 22050),
        "m4a": encode_av(stereo, "ipod", "aac"),
        "webm": encode_av(opus, "webm", "libopus", 48000),
        "wma": encode_av(stereo, "asf", "wmav2", bit_rate=128_000),
        "aac": encode_av(stereo, "adts", "aac"),
    }


def mutate(data, rng):
    """Return `data` with 1 to 64 changes, two thirds of them in the first 4 kB."""
    data = bytearray(data)
    for _ in range(int(2 ** rng.uniform(0, 6))):
        end = min(HEAD_BYTES, len(data)) if rng.random() < 2 / 3 else len(data)
        at = int(rng.integers(end))
        n = int(2 ** rng.uniform(0, 8))
        kind = rng.integers(5)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 2:
            data[at : at + 4] = EXTREMES[rng.integers(len(EXTREMES))]
        elif kind == 3:
            del data[at : at + n]
        else:
            data[at:at] = rng.bytes(n)
        if not data:
            break
    return bytes(data)


def mutants(folder, contents, n):
    """Yield a `Source` for each mutant, written when it is asked for."""
    names = sorted(contents)
    for number in range(n):
        rng = np.random.default_rng([SEED, number])
        name = names[number % len(names)]
        path = folder / f"{number}.{name}"
        path.write_bytes(mutate(contents[name], rng))
        yield Source(str(path), reading=READINGS[rng.integers(len(READINGS))])


def remove(folder, number):
    (path,) = folder.glob(f"{number}.*")
    path.unlink()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("n", [1000, pytest.param(MUTANTS, marks=pytest.mark.nightly)])
def test_every_mutant_gives_segments_or_a_named_error(n, tmp_path):
    outcomes, failures, contents = {}, [], seeds()
    sources = mutants(tmp_path, contents, n)
    with DecodePool(sources, FrontEnd(), n_workers=2, isolated=True) as events:
        for event in events:
            if event.segments is not None:
                assert np.isfinite(event.segments).all()
                continue
            assert event.index not in outcomes
            if event.error is None:
                outcomes[event.index] = "ok"
                assert event.facts.n_segments >= 1
            else:
                assert isinstance(event.error, AudioError)
                outcomes[event.index] = event.error.code
            if outcomes[event.index] in ("crashed", "timeout"):
                failures.append(str(event.error))
            else:
                remove(tmp_path, event.index)
    assert not failures, "\n".join(failures)
    assert sorted(outcomes) == list(range(n))
    assert set(outcomes.values()) <= {"ok", *AUDIO_CODES}
    counts = {code: list(outcomes.values()).count(code) for code in set(outcomes.values())}
    print(counts)
    # the mutants reach the decoders, and the checks
    assert counts["ok"] > n / 20
    assert counts["damaged"] > n / 20


def test_mutants_are_the_same_in_each_run():
    data = bytes(range(256)) * 40
    first, second = (mutate(data, np.random.default_rng([3, 4])) for _ in range(2))
    assert first == second != data
