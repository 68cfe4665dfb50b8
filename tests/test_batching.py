"""From decoded segments to batches of one shape: nothing lost, nothing doubled."""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from conftest import music, write_audio

from artist_features.config import FrontEnd
from artist_features.devices import signals_deferred
from artist_features.errors import AudioError
from artist_features.extraction.batching import compiled_function, embed_events, inference_function
from artist_features.extraction.decode import Facts, Source
from artist_features.extraction.decode_pool import DecodePool, Event
from artist_features.extraction.extractor import Extractor
from artist_features.zoo.registry import load_model

RATE = 22050
SECONDS = (3.5, 13.0, 7.2, 3.1, 22.0)
N_SEGMENTS = (1, 4, 2, 1, 7)
SAMPLES = FrontEnd().segment_samples


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(tiny_folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    return [
        Source(str(write_audio(folder / f"{n}.wav", music(seconds, RATE, 1, seed=n), RATE)))
        for n, seconds in enumerate(SECONDS)
    ]


def embed_all(model, events, n_rows, *, compiled=False, pooled=True, n_calls=1):
    """Return {index: (embedding, error)} and the shapes of what the model was given."""
    embed, shapes = inference_function(model, n_rows if compiled else None), []

    def recording(segments):
        shapes.append(tuple(segments.shape))
        return embed(segments)

    results = embed_events(
        events,
        recording,
        segment_samples=SAMPLES,
        n_rows=n_rows,
        n_calls=n_calls,
        pooled=pooled,
        timing=Counter(),
    )
    return {result.index: (result.embedding, result.error) for result in results}, shapes


def segments(count, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal((count, SAMPLES))).astype(np.float32)


def finished(index, attempt=0):
    return Event(index, attempt, facts=Facts(1, 1.0, RATE, "array"))


def expected_rows(model, clip):
    return model(clip[..., np.newaxis]).numpy()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_batches_have_one_shape_and_one_trace(model, sources, batch_size):
    with DecodePool(sources, FrontEnd(), 2, isolated=False) as events:
        found, shapes = embed_all(model, events, batch_size)
    assert sorted(found) == list(range(5))
    full, rest = divmod(sum(N_SEGMENTS), batch_size)
    assert shapes == [(batch_size, SAMPLES)] * full + [(rest, SAMPLES)] * bool(rest)
    assert inference_function(model, None).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("pooled", [True, False])
def test_xla_with_a_fixed_number_of_rows_equals_without(model, pooled):
    clips = [segments(count, seed=count) for count in (1, 6, 3)]
    events = [e for n, clip in enumerate(clips) for e in (Event(n, segments=clip), finished(n))]
    plain, _ = embed_all(model, events, 4, pooled=pooled)
    compiled, shapes = embed_all(model, events, 4, compiled=True, pooled=pooled)
    assert shapes == [(4, SAMPLES)] * 2 + [(2, SAMPLES)]  # the last is padded
    assert compiled_function(model, 4).experimental_get_tracing_count() == 1
    for index, clip in enumerate(clips):
        rows = expected_rows(model, clip)
        wanted = rows.mean(axis=0) if pooled else rows
        np.testing.assert_allclose(plain[index][0], wanted, atol=1e-5)
        np.testing.assert_allclose(compiled[index][0], wanted, atol=1e-5)


def test_many_models_in_turn_bring_no_warning_of_retracing(caplog):
    for _ in range(8):
        waveform = keras.Input((4, 1))
        mean = keras.Model(waveform, keras.layers.GlobalAveragePooling1D()(waveform))
        np.testing.assert_allclose(inference_function(mean)(np.ones((2, 4))), 1)
    assert not [record for record in caplog.records if "retracing" in record.getMessage()]


def test_a_fixed_number_of_rows_is_the_most(model):
    embed = inference_function(model, 4)
    for n_rows in (1, 4):
        assert embed(segments(n_rows)).shape == (n_rows, model.output_shape[-1])
    with pytest.raises((TypeError, ValueError), match="4"):
        embed(segments(5))


@pytest.mark.parametrize("compiled", [True, False], ids=["XLA", "plain"])
def test_calls_at_once_give_each_row_to_its_source(model, compiled):
    clips = [segments(count, seed=count) for count in (1, 5, 3)]
    events = [e for n, clip in enumerate(clips) for e in (Event(n, segments=clip), finished(n))]
    found, given = embed_all(model, events, 2, compiled=compiled, pooled=False, n_calls=3)
    assert sorted(n for n, _ in given) == [1, 2, 2, 2, 2]  # batches of six and of three
    for index, clip in enumerate(clips):
        np.testing.assert_allclose(found[index][0], expected_rows(model, clip), atol=1e-5)


def test_calls_are_made_at_once_and_an_error_in_one_reaches_the_caller():
    together = threading.Barrier(2, timeout=240)

    def meeting(part):
        together.wait()  # broken if the second call waits for the first
        raise MemoryError("of the model")

    events = [Event(0, segments=segments(4)), finished(0)]
    options = {"segment_samples": SAMPLES, "n_rows": 2, "n_calls": 2, "timing": Counter()}
    with pytest.raises(MemoryError, match="of the model"):
        list(embed_events(events, meeting, **options))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 64])
def test_segments_of_an_attempt_that_died_do_not_count(model, batch_size):
    mine, other = segments(5), segments(3, seed=1)
    error = AudioError("crashed", "died twice")
    events = [
        Event(0, 0, segments=mine[:3]),
        Event(1, 0, segments=other[:2]),
        Event(0, 1, segments=mine[:2]),  # started again
        Event(2, 0, segments=other),
        Event(1, 0, segments=other[2:]),
        Event(0, 1, segments=mine[2:]),
        finished(1),
        Event(2, 1, segments=other[:1]),
        Event(2, 1, error=error),
        Event(3, 1, segments=other),  # died before its first segment
        finished(3, attempt=1),
        finished(0, attempt=1),
    ]
    found, _ = embed_all(model, events, batch_size)
    assert sorted(found) == [0, 1, 2, 3]
    for index, clip in ((0, mine), (1, other), (3, other)):
        np.testing.assert_allclose(
            found[index][0], expected_rows(model, clip).mean(axis=0), atol=1e-6
        )
    assert found[2] == (None, error)


@pytest.mark.parametrize("isolated", [False, True])
def test_row_61_rows_in_are_rows_out(model, sources, isolated):
    def mixed():
        yield sources[0]
        yield Source("/no/such/file.wav")
        yield Source(music(4, RATE, 1), RATE)
        yield from sources[1:]
        yield Source(np.full(RATE, np.nan, np.float32), RATE)

    found = list(Extractor(model, isolated=isolated, n_workers=3, batch_size=2).results(mixed()))
    found.sort(key=lambda result: result.index)
    assert [r.status for r in found] == ["ok", "not_found", *["ok"] * 5, "not_finite"]
    assert [r.path for r in found[:3]] == [sources[0].path, "/no/such/file.wav", None]
    assert [r.facts.n_segments for r in found[3:7]] == list(N_SEGMENTS[1:])


def test_results_tell_what_was_done(model, sources):
    extractor = Extractor(model, batch_size=4)
    assert extractor.device == "not loaded"
    found = {result.path: result for result in extractor.results(iter(sources))}
    facts = [found[source.path].facts for source in sources]
    assert [fact.n_segments for fact in facts] == list(N_SEGMENTS)
    assert [fact.duration_s for fact in facts] == pytest.approx(SECONDS)
    assert {(fact.decoder, fact.sample_rate) for fact in facts} == {("soundfile", RATE)}
    assert extractor.timing["segments"] == sum(N_SEGMENTS)
    assert extractor.timing["files"] == len(sources)
    assert extractor.timing["audio_s"] == pytest.approx(sum(SECONDS))
    assert extractor.device.startswith(("CPU (", "GPU 0 ("))


def test_few_batches_are_in_memory_and_used_again(model, monkeypatch):
    made = []
    empty = np.empty
    monkeypatch.setattr(np, "empty", lambda *args: made.append(args) or empty(*args))
    clips = [segments(4, seed=n) for n in range(12)]
    events = [e for n, clip in enumerate(clips) for e in (Event(n, segments=clip), finished(n))]
    found, shapes = embed_all(model, events, 4)
    assert len(shapes) == 12
    # being filled, on the way (2 of tf.data and 1 it hands over), being computed
    assert 1 <= len([args for args in made if args[-1] is np.uint8]) <= 6
    for index, clip in enumerate(clips):
        np.testing.assert_allclose(
            found[index][0], expected_rows(model, clip).mean(axis=0), atol=1e-6
        )


def test_a_job_broken_off_leaves_no_thread_at_its_events(model):
    taken = []

    def endless():
        yield Event(0, segments=segments(1))
        yield finished(0)
        yield None  # nothing came for a while: the first source is told
        for _ in range(500):
            taken.append(time.sleep(0.01))
            yield Event(1, segments=segments(1)[:0])

    embed = inference_function(model, None)
    options = {"segment_samples": SAMPLES, "n_rows": 64, "timing": Counter()}
    results = embed_events(endless(), embed, **options)
    assert next(results).index == 0
    results.close()
    n_taken = len(taken)
    time.sleep(0.3)
    assert len(taken) == n_taken < 500


def test_row_108_a_signal_waits_until_tensorflow_has_returned(model):
    calls = []

    def embed(rows):
        calls.append("begins")
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # a handler that is to run runs here
        calls.append("ends")
        return np.ones((len(rows), 4), np.float32)

    events = [Event(0, segments=segments(2)), finished(0)]
    options = {"segment_samples": SAMPLES, "n_rows": 2, "timing": Counter()}
    with pytest.raises(KeyboardInterrupt):
        list(embed_events(events, embed, **options))
    assert calls == ["begins", "ends"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_row_108_a_second_signal_does_not_wait():
    calls = []

    @signals_deferred()
    def work():
        for name in ("first", "second"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            calls.append(name)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert calls == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_row_108_any_signal_with_a_handler_waits():
    """The alarm of a time limit, for one."""
    calls = []

    def refuse(*_):
        raise TimeoutError

    @signals_deferred()
    def work():
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        time.sleep(0.2)
        calls.append("done")

    before = signal.signal(signal.SIGALRM, refuse)
    try:
        with pytest.raises(TimeoutError):
            work()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert calls == ["done"]


def test_row_108_an_ignored_signal_stays_ignored_and_threads_change_no_handler(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_IGN)
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("a handler was set"))
    with signals_deferred():
        pass
    monkeypatch.undo()
    monkeypatch.setattr(signal, "signal", lambda *_: 1 / 0)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(signals_deferred().__enter__).result()
