"""The picture of a clip: that what is drawn is what was measured."""

import sys
from dataclasses import replace

import numpy as np
import processes
import pytest
from conftest import music, write_audio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import artist_features as af
from artist_features.cli.main import main
from artist_features.config import FrontEnd
from artist_features.maps import plots

SEGMENT = 129 * 512  # samples from segment to segment
RATE = 22050


@pytest.fixture(scope="module")
def aba(tmp_path_factory):
    """A recording A B A of one segment each, and half a segment that is left out."""
    a = music(3, RATE, n_channels=1)[:SEGMENT, 0]
    b = 0.2 * np.random.default_rng(0).standard_normal(SEGMENT).astype("float32")
    path = tmp_path_factory.mktemp("clips") / "A B $A$.wav"
    return write_audio(path, np.concatenate([a, b, a, b[: SEGMENT // 2]]), RATE, subtype="FLOAT")


@pytest.fixture(scope="module")
def found(aba, tiny_folder):
    return plots.Listener(tiny_folder).listen(aba)


def test_similarity_of_a_b_a(found, aba, tiny_folder):
    from sklearn.metrics.pairwise import cosine_similarity

    embeddings = af.extract(aba, model=tiny_folder, pool=None)
    assert found.similarity.dtype == np.float32
    np.testing.assert_allclose(found.similarity, cosine_similarity(embeddings), atol=1e-5)
    assert found.similarity[0, 2] > 0.999
    assert found.similarity[0, 1] < found.similarity[0, 2] - 0.005
    np.testing.assert_allclose(found.edges_s, np.arange(4) * SEGMENT / RATE)
    assert found.flaws == ()


def test_log_mel_is_that_of_librosa(found, aba):
    import librosa
    import soundfile

    samples = soundfile.read(aba, dtype="float32")[0]
    magnitude = np.abs(librosa.stft(samples, n_fft=1024, hop_length=512, pad_mode="reflect"))
    mel = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=128) @ magnitude
    expected = np.log10(1 + 10 * mel.T)[: 3 * 129]
    assert found.log_mel.shape == expected.shape
    np.testing.assert_allclose(found.log_mel, expected, atol=2e-4)


def test_offset_is_on_the_axes(aba, tiny_folder):
    skipped = SEGMENT / RATE
    later = plots.Listener(tiny_folder).listen(aba, offset=skipped, duration=4.0)
    np.testing.assert_allclose(later.edges_s, [skipped, 2 * skipped])
    assert later.similarity.shape == (1, 1)
    assert later.similarity[0, 0] == pytest.approx(1)
    (image,) = plots.draw(later).axes[1].images
    assert image.get_extent() == pytest.approx([skipped, 2 * skipped] * 2)


def test_what_is_drawn_is_what_was_measured(found):
    figure = plots.draw(found, "x")
    axes = {one.get_label(): one for one in figure.axes}
    (image,) = axes["similarity"].images
    np.testing.assert_array_equal(image.get_array(), found.similarity)
    assert image.get_extent() == pytest.approx([0, 3 * SEGMENT / RATE] * 2)
    assert image.origin == "lower"
    others = found.similarity[~np.eye(3, dtype=bool)]
    assert image.get_clim() == pytest.approx((others.min(), others.max()))
    (image,) = axes["log_mel"].images
    np.testing.assert_array_equal(image.get_array(), found.log_mel.T)
    assert image.get_extent() == pytest.approx([0, 3 * SEGMENT / RATE, -0.5, 127.5])
    assert axes["log_mel"].get_xlabel() == axes["similarity"].get_ylabel() == "time (s)"
    assert figure.get_suptitle() == "x"


def test_frequencies_stand_where_their_bands_are(found):
    import librosa

    axes = plots.draw(found).axes[0]
    ticks = dict(
        zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks(), strict=True)
    )
    assert list(ticks) == ["100", "250", "500", "1,000", "2,000", "4,000", "8,000"]
    centres_hz = librosa.mel_frequencies(130, fmin=0, fmax=11025)[1:-1]  # without the edges
    for label, band in ticks.items():
        hz = np.interp(band, np.arange(128), centres_hz)
        assert hz == pytest.approx(float(label.replace(",", "")), rel=0.002)


@given(arrays(np.float32, (5, 3), elements=st.floats(0, 100, width=32)))
def test_cosines_are_symmetric_and_within_their_range(embeddings):
    cosines = plots.cosine_similarity(embeddings)
    assert cosines.dtype == np.float32
    np.testing.assert_allclose(cosines, cosines.T, atol=1e-6)
    assert (np.abs(cosines) <= 1).all()
    silent = ~embeddings.any(axis=1)
    np.testing.assert_allclose(np.diag(cosines), ~silent, atol=1e-6)


@pytest.mark.parametrize("similarity", [np.ones((1, 1)), np.ones((4, 4)), np.zeros((3, 3))])
def test_clips_without_contrast_are_drawn(found, similarity):
    even = replace(
        found,
        similarity=np.float32(similarity),
        edges_s=np.arange(len(similarity) + 1.0),
        front_end=FrontEnd(),
    )
    figure = plots.draw(even)
    (image,) = figure.axes[1].images
    low, high = image.get_clim()
    assert low < high
    figure.canvas.draw()  # all of it, colour bars included; a warning is an error


@pytest.mark.slow
def test_command_writes_a_picture(aba, tiny_folder, tmp_path):
    from matplotlib.image import imread

    output = tmp_path / "out.png"
    words = ("plot", aba, "-o", output, "--model", tiny_folder)
    done = processes.run(processes.COMMAND, *words)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"3 segments drawn: {output}\n"
    picture = imread(output)
    assert picture.shape[:2] == (750, 1800)
    assert np.ptp(picture[..., :3]) == 1


def test_command_says_what_is_wrong(aba, tiny_folder, tmp_path, capsys):
    words = tmp_path / "words.wav"
    words.write_text("these are words, not music")
    taken = tmp_path / "taken.png"
    taken.write_bytes(b"mine")
    model = ["--model", str(tiny_folder)]
    for code, arguments, text in (
        (1, [words, "-o", tmp_path / "a.png"], "words.wav: "),
        (2, [aba, "-o", tmp_path / "a.jpg"], "let its name end in .png"),
        (2, [aba, "-o", taken], "exists; --force replaces a file"),
        (2, [aba, "-o", tmp_path / "none" / "a.png"], "its folder does not exist"),
        (2, [aba, "-o", tmp_path / "a.png", "--offset", "-1"], "offset is -1.0 s; allowed"),
    ):
        assert main(["plot", *map(str, arguments), *model]) == code, arguments
        assert text in capsys.readouterr().err
    assert taken.read_bytes() == b"mine"
    assert not (tmp_path / "a.png").exists()


def test_flaws_are_told(tiny_folder, tmp_path, capsys):
    short = write_audio(tmp_path / "short.wav", music(1, RATE), RATE)
    output = tmp_path / "short.png"
    assert main(["plot", str(short), "-o", str(output), "--model", str(tiny_folder)]) == 0
    assert "short.wav: short: clip is 1.00 s" in capsys.readouterr().err
    assert output.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'artist-features\[plot\]'"):
        plots.draw(found)


def test_a_listener_isolated_gives_the_vector_that_extract_gives(found, aba, tiny_folder):
    again = plots.Listener(tiny_folder).listen(aba, isolated=True)
    vector = af.extract(aba, model=tiny_folder)
    np.testing.assert_allclose(again.embeddings.mean(axis=0), vector, rtol=1e-5)
    np.testing.assert_allclose(again.log_mel, found.log_mel, atol=1e-6)  # other batches


def test_what_came_before_a_crash_does_not_count(found, aba, tiny_folder, monkeypatch):
    class CrashedOnce(plots.DecodePool):
        def __iter__(self):
            events = list(super().__iter__())
            yield next(event for event in events if event.segments is not None)
            yield from (replace(event, attempt=1) for event in events)

    monkeypatch.setattr(plots, "DecodePool", CrashedOnce)
    again = plots.Listener(tiny_folder).listen(aba)
    np.testing.assert_array_equal(again.embeddings, found.embeddings)
