"""The models as encoders of MTEB, in tasks made here of tones and noise.

mteb brings PyTorch, so it is not part of the extra `[dev]`: install `[mteb]` beside it.
Its parts of this file need no network.
"""

import importlib.util
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import music

import artist_features as af
from artist_features import Extractor
from artist_features import mteb as ours
from artist_features.audio.stream import open_array
from artist_features.errors import AudioError

has_mteb = importlib.util.find_spec("mteb") is not None
needs_mteb = [
    pytest.mark.skipif(not has_mteb, reason="mteb is not installed (extra [mteb], with PyTorch)"),
    pytest.mark.filterwarnings("ignore"),  # those of mteb and its libraries
    pytest.mark.slow,
]
RATE, N_SEGMENT = 22050, 129 * 512  # of the model
TASK = types.SimpleNamespace(name="Tones")  # what `encode` reads of a task


@pytest.fixture
def encoder(tiny_folder, monkeypatch):
    """The encoder, also where mteb is not installed."""
    if not has_mteb:
        monkeypatch.setattr(ours, "_model_meta", lambda model, card: None)
    return ours.MtebEncoder(str(tiny_folder))


def encode(encoder, batches):
    return encoder.encode(
        batches, task_metadata=TASK, hf_split="test", hf_subset="all", show_progress_bar=False
    )


def item(samples, sample_rate):
    return {"array": samples, "sampling_rate": sample_rate}


def test_long_sounds_become_what_extract_gives(
    encoder: ours.MtebEncoder, tiny_folder: Path
) -> None:
    """Lists and arrays, several rates in a batch, channels first, integers of an ADC."""
    mono = music(13, 22050, n_channels=1)[:, 0]
    stereo = music(14, 44100, seed=1)
    batches = [
        {"audio": [item(mono, 22050), item(stereo.T, 44100)], "label": [0, 1]},
        {"audio": [item(mono[:200_000].tolist(), 16000)]},
    ]
    expected = [
        af.extract(samples, sample_rate=rate, model=tiny_folder)
        for samples, rate in ((mono, 22050), (stereo, 44100), (mono[:200_000], 16000))
    ]
    found = encode(encoder, batches)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-6)
    assert encode(encoder, []).shape == (0, 8)


def extracted(parts: Sequence[np.ndarray], folder: Path) -> np.ndarray:
    """Return the mean of what `extract` gives of parts, each a segment at the model's rate."""
    return np.mean([af.extract(part, sample_rate=RATE, model=folder) for part in parts], axis=0)


def loop_segments(samples: np.ndarray, n_starts: int) -> list[np.ndarray]:
    """Return segments of a loop that begin at each third, quarter and so on."""
    starts = [number * len(samples) // n_starts for number in range(n_starts)]
    return [np.resize(np.roll(samples, -start), N_SEGMENT) for start in starts]


def test_short_clips_are_covered(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of segments that start at each third or quarter of the loop."""
    monkeypatch.setattr(ours, "_CLIPS_AT_ONCE", 2)
    mono = music(12.5, RATE, n_channels=1)[:, 0]
    cuts = [(1, 3), (RATE // 2, 3), (4 * RATE, 3), (11 * RATE, 4), (4 * N_SEGMENT - 1, 4)]
    expected = [extracted(loop_segments(mono[:n], starts), tiny_folder) for n, starts in cuts]
    long = mono[: 4 * N_SEGMENT]
    expected.append(af.extract(long, sample_rate=RATE, model=tiny_folder))
    clips = [(mono[:n], RATE) for n, _ in cuts] + [(long, RATE)]
    found = ours.embed_clips(Extractor(str(tiny_folder)), iter(clips))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_short_stereo_clip_is_mixed_and_resampled_once(tiny_folder: Path) -> None:
    samples = music(2, 48000)
    mono = open_array(samples, sample_rate=48000, target_rate=RATE).read()
    (found,) = ours.embed_clips(Extractor(str(tiny_folder)), [(samples, 48000)])
    expected = extracted(loop_segments(mono, 3), tiny_folder)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("samples", "rate", "error", "text"),
    [
        (np.full(1001, np.nan, np.float32), 22050, AudioError, "sound 3: .*1001 of 1001"),
        (np.zeros(0, np.float32), 22050, AudioError, "sound 3: "),
        (np.zeros(9, np.int64), 22050, TypeError, "sound 3: array of dtype int64"),
        (np.zeros((2, 2, 5), np.float32), 22050, ValueError, "sound 3: array of shape"),
        (np.zeros((70000, 99), np.float32), 22050, ValueError, "sound 3: .* Transpose"),
        (np.zeros(9, np.float32), 44100.7, ValueError, "sound 3: sample_rate is 44100.7 Hz"),
        (np.zeros(9, np.float32), None, ValueError, "sound 3: sample_rate is missing"),
    ],
)
def test_a_sound_that_cannot_be_encoded_is_named(
    encoder: ours.MtebEncoder,
    samples: np.ndarray,
    rate: float | None,
    error: type[Exception],
    text: str,
) -> None:
    good = item(np.zeros(7000, np.float32) + 0.1, 22050)
    with pytest.raises(error, match=rf"^Tones, all, test, {text}"):
        encode(encoder, [{"audio": [good, good]}, {"audio": [good, item(samples, rate)]}])


def test_another_modality_is_refused(encoder: ours.MtebEncoder) -> None:
    with pytest.raises(ValueError, match=r"^Tones, all, test: inputs are text; allowed is audio"):
        encode(encoder, [{"text": ["a song"]}])


def test_without_mteb(tiny_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb.models", None)
    monkeypatch.setitem(sys.modules, "mteb", types.ModuleType("mteb"))
    with pytest.raises(ImportError, match=r"pip install 'artist-features\[mteb\]'"):
        ours.MtebEncoder(str(tiny_folder))


def sounds(kind, count):
    """Return sounds of a kind: low tones or high noise; 1 to 4 s long, at two rates."""
    rng = np.random.default_rng(len(kind))
    rows = []
    for number in range(count):
        rate = (16000, 22050)[number % 2]
        t = np.arange(int(rng.uniform(1, 4) * rate)) / rate
        tone = 0.3 * np.sin(2 * np.pi * rng.uniform(150, 250) * t)
        noise = 0.3 * np.diff(rng.standard_normal(len(t) + 1))
        rows.append(item((tone if kind == "tone" else noise).tolist(), rate))
    return rows


def task_of(base, name, kind, columns, **fields):
    """Return a task of mteb whose data is made here."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.task_metadata import TaskMetadata

    def load_data(self, **_):
        self.dataset = DatasetDict(
            {split: Dataset.from_dict(columns(count)) for split, count in self.sizes.items()}
        )
        self.data_loaded = True

    metadata = TaskMetadata(
        name=name,
        type=kind,
        modalities=["audio"],
        category="a2c",
        description="Tones and noise.",
        dataset={"path": "none", "revision": "1"},
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        **fields,
    )
    members = {"metadata": metadata, "load_data": load_data, "input_column_name": "audio"}
    return type(name, (base,), {**members, "sizes": {"train": 8, "test": 4}})()


def labelled(column):
    def columns(count):
        audio = sounds("tone", count) + sounds("noise", count)
        return {"audio": audio, column: [0] * count + [1] * count}

    return columns


def run(encoder, task):
    import mteb

    (result,) = mteb.evaluate(
        encoder, [task], cache=None, co2_tracker=False, show_progress_bar=False
    ).task_results
    return result.get_score()


class TestInMteb:
    pytestmark = needs_mteb

    def test_classification(self, encoder):
        from mteb.abstasks import AbsTaskClassification

        task = task_of(
            AbsTaskClassification,
            "TonesOrNoise",
            "AudioClassification",
            labelled("label"),
            main_score="accuracy",
        )
        assert run(encoder, task) == 1

    def test_clustering(self, encoder):
        from mteb.abstasks import AbsTaskClustering

        task = task_of(
            AbsTaskClustering,
            "TonesAndNoise",
            "AudioClustering",
            labelled("labels"),
            main_score="v_measure",
        )
        task.max_document_to_embed, task.max_fraction_of_documents_to_embed = 8, None
        assert run(encoder, task) > 0.9

    def test_meta(self):
        import mteb

        meta = ours.model_meta("siamese")
        card = af.list_models()["siamese"]
        assert meta.name == "artist-features/siamese"
        assert meta.revision == card.weights_sha256
        assert (meta.embed_dim, meta.n_parameters, meta.license) == (256, 265_984, "mit")
        assert meta.modalities == ["audio"]
        assert (meta.release_date, meta.training_datasets) == (card.training["date"], set())
        assert meta.public_training_data == card.training["data"]
        # what load_model() calls after it has looked for mteb's own audio packages
        loaded = meta.loader(meta.name, revision=meta.revision)
        assert isinstance(loaded, ours.MtebEncoder)
        assert isinstance(loaded, mteb.models.EncoderProtocol)
        assert loaded.mteb_model_meta.revision == meta.revision

    def test_similarity_is_the_cosine(self, encoder):
        rows = np.array([[1.0, 0], [3, 4]], np.float32)
        np.testing.assert_allclose(encoder.similarity(rows, rows), [[1, 0.6], [0.6, 1]], rtol=1e-6)
        found = encoder.similarity_pairwise(rows, rows[::-1].copy())
        np.testing.assert_allclose(found, [0.6, 0.6], rtol=1e-6)
