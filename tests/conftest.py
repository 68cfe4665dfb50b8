"""Synthetic audio and models for the tests; the reference files where they exist."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import numpy as np
import pytest
import soundfile

# the same examples at every run of CI, new ones at a developer's; a slow machine is no failure
hypothesis.settings.register_profile("ours", derandomize=bool(os.environ.get("CI")), deadline=None)
hypothesis.settings.load_profile("ours")

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
SAMPLE_RATE = 44100


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly, too")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--nightly"):
        nightly = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


@pytest.fixture(scope="session")
def reference():
    """Folder of the authors' weights and golden arrays; skips where it is missing."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no reference files at {REFERENCE}")
    return REFERENCE


@pytest.fixture(scope="session")
def authors_folder(reference, tmp_path_factory):
    """The authors' Siamese-10000 weights as a model folder."""
    from artist_features.zoo.authors import import_authors

    folder = tmp_path_factory.mktemp("models") / "authors"
    import_authors(reference / "model_siamese_10000.h5", folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A model folder with small random weights: fast, and only for plumbing."""
    import keras

    from artist_features.config import Network
    from artist_features.zoo import folder, networks

    keras.utils.set_random_seed(0)
    network = Network(filters=(16, 16, 8), kernel_sizes=(4, 2, 1), pool_sizes=(4, 4, 1))
    path = tmp_path_factory.mktemp("models") / "tiny"
    fields = {
        "name": "tiny",
        "kind": "siamese",
        "description": "Random weights for tests.",
        "license": "MIT",
        "credit": "Nobody.",
        "network": network,
    }
    folder.write_folder(path, networks.backbone(network=network), fields)
    return path


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[bytes], int]]:
    """Function: bytes to the descriptor of a file that holds them."""
    descriptors = []

    def to_descriptor(data: bytes) -> int:
        path = tmp_path / str(len(descriptors))
        path.write_bytes(data)
        descriptors.append(os.open(path, os.O_RDONLY))
        return descriptors[-1]

    yield to_descriptor
    for descriptor in descriptors:
        os.close(descriptor)


VICTIM_RATE = 8000  # the mark of the one file that a sabotaged process trips over
SABOTAGE = """
import ctypes, os, pathlib, signal, sys, time
import soundfile
read, reads, flag = soundfile.SoundFile.read, [], pathlib.Path({flag!r})
def sabotaged(self, *args, **kwargs):
    reads.append(self.samplerate == {rate})
    if reads.count(True) >= {at} and reads[-1]:
        {action}
    return read(self, *args, **kwargs)
soundfile.SoundFile.read = sabotaged
"""


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make each decode process take an action from a read of the victim on.

    The action may make a file, the flag, whose path is returned.
    """
    folder = tmp_path / "site"
    flag = folder / "flag"

    def install(action: str, at: int = 1) -> Path:
        folder.mkdir(exist_ok=True)
        flag.unlink(missing_ok=True)
        text = SABOTAGE.format(flag=str(flag), rate=VICTIM_RATE, at=at, action=action)
        (folder / "sitecustomize.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        return flag

    return install


@contextlib.contextmanager
def file_size_limit(n_bytes: int) -> Iterator[None]:
    """Context in which no file grows larger, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def shard_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all Parquet files in a folder."""
    parquet = pytest.importorskip("pyarrow.parquet")
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in parquet.read_table(file).to_pylist()]


def read_audio(path, target_rate=22050, **options):
    """Read a file; return (mono samples, `AudioStream`)."""
    from artist_features.audio.stream import open_file

    with open_file(path, target_rate=target_rate, **options) as stream:
        return stream.read(), stream


def music(seconds=7.0, sample_rate=SAMPLE_RATE, n_channels=2, seed=0):
    """Return a few decaying notes over soft noise, float32 `(n, n_channels)`."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * sample_rate)) / sample_rate
    wave = 0.01 * rng.standard_normal((len(t), n_channels))
    for onset in np.arange(0, seconds, 0.5):
        pitch_hz = 110 * 2 ** (rng.integers(0, 36) / 12)
        heard = slice(int(np.searchsorted(t, onset)), int(np.searchsorted(t, onset + 8)))
        envelope = np.exp(-4 * (t[heard] - onset))
        wave[heard] += 0.2 * (envelope * np.sin(2 * np.pi * pitch_hz * t[heard]))[:, None]
    return np.clip(wave, -1, 1).astype(np.float32)


def write_audio(path, samples, sample_rate=SAMPLE_RATE, audio_format=None, subtype=None):
    """Write a file in blocks (libsndfile crashes on long Vorbis in one call)."""
    path = Path(path)
    audio_format = audio_format or path.suffix[1:].upper()
    if audio_format in ("OPUS", "OGA"):
        audio_format, subtype = "OGG", subtype or ("OPUS" if path.suffix == ".opus" else None)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with (
        open(path, "wb") as file,
        soundfile.SoundFile(
            file, "w", sample_rate, channels, subtype, format=audio_format
        ) as sound,
    ):
        for start in range(0, len(samples), 8192):
            sound.write(samples[start : start + 8192])
    return path
