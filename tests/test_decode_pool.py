"""Decoders that may die, hang or be stopped: a fault costs the file, nothing is left."""

import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import threading
import time
import weakref

import numpy as np
import pytest
from conftest import VICTIM_RATE, music, write_audio
from map_data import wait_for

from artist_features.config import FrontEnd
from artist_features.errors import AudioError, DecoderError
from artist_features.extraction import decode_pool, decode_process
from artist_features.extraction.decode import Facts, ReadingOptions, Source
from artist_features.extraction.decode_pool import DecodePool
from artist_features.extraction.extractor import Extractor
from artist_features.zoo.registry import load_model

RATE = 22050
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
DIE_ONCE = f"flag.exists() or (flag.touch(), {DIE})"
HANG = "flag.touch(); time.sleep(600)"
# facts of 16 EiB are announced
LIE = r"""import gc, io
        for f in gc.get_objects():
            type(f) is io.FileIO and f.mode == "wb" and f.write(b"D" + bytes([255] * 8))"""


@pytest.fixture(scope="module")
def model(tiny_folder):
    return load_model(tiny_folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    return [
        Source(str(write_audio(folder / f"{n}.wav", music(seconds, RATE, 1, seed=n), RATE)))
        for n, seconds in enumerate((3.5, 13.0, 7.2, 3.1, 22.0))
    ]


@pytest.fixture
def victim(tmp_path):
    return Source(str(write_audio(tmp_path / "v.wav", music(31, VICTIM_RATE, 1), VICTIM_RATE)))


@pytest.fixture
def processes(monkeypatch):
    """Collect every process that is started."""
    started, popen = [], subprocess.Popen

    def recording(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", recording)
    return started


def test_reading_options_keep_the_names_that_tables_have():
    reading = ReadingOptions(np.float32(0.5), np.int64(2), decoder="av")
    kept = {"offset_s": 0.5, "duration_s": 2.0, "segments": None, "decoder": "av"}
    assert json.loads(json.dumps(reading.to_record())) == kept
    sampled = ReadingOptions(n_segments=np.int64(3))
    assert json.loads(json.dumps(sampled.to_record()))["segments"] == 3
    for given in (reading, sampled):
        assert ReadingOptions.from_record({**given.to_record(), "model": "tiny"}) == given
    assert ReadingOptions.from_record({"model": "tiny", "offset_s": None}) == ReadingOptions()
    with pytest.raises(ValueError, match=r"decoder array\(\['av', 'av'\].*; allowed are auto"):
        ReadingOptions(decoder=np.array(["av", "av"]))


def test_records_hold_every_field_and_any_file_name():
    reading = ReadingOptions(1.5, 2.0, decoder="av")
    source = Source(os.fsdecode(b"\xff.wav"), None, reading, True)
    facts = Facts(2, 6.0, 8000, "av", (("short", "a"), ("silent", "b")), "ogg", 0.1, 0.2, "ff")
    for given in (source, facts):
        record = given.to_record()
        assert set(record) == {field.name for field in dataclasses.fields(given)}
        assert type(given).from_record(json.loads(json.dumps(record))) == given
    error = AudioError("damaged", "bad", "a.wav")
    again = AudioError.from_record(error.to_record(), "b.wav")
    assert (again.code, again.message, again.path) == ("damaged", "bad", "b.wav")
    with pytest.raises(TypeError, match="only a source with a path"):
        Source(np.zeros(9), 8000).to_record()


def decode_threads():
    """Return how many threads of decode pools are at work."""
    return sum(t.name == "decode" for t in threading.enumerate()) - len(decode_pool._idle)


def extracted(sources, model, **settings):
    """Return the `Result` of each source, in order."""
    results = Extractor(model, **settings).results(sources)
    return sorted(results, key=lambda result: result.index)


def test_a_file_whose_process_dies_once_is_read_again(model, sources, victim, sabotage, processes):
    expected = [r.embedding for r in extracted([*sources, victim], model, isolated=False)]
    sabotage(DIE_ONCE, at=3)
    with DecodePool([victim], FrontEnd(), 1, isolated=True) as pool:
        events = list(pool)
    counts = [sum(len(e.segments or ()) for e in events if e.attempt == n) for n in (0, 1)]
    assert 0 < counts[0] < counts[1] == 10  # some were sent before it died
    assert len(processes) == 2
    sabotage(DIE_ONCE, at=3)  # once more
    found = extracted([*sources, victim], model, isolated=True, n_workers=2, batch_size=3)
    assert [r.status for r in found] == ["ok"] * 6
    np.testing.assert_allclose([r.embedding for r in found], expected, atol=1e-6)


@pytest.mark.slow
def test_a_file_whose_process_hangs_costs_only_itself(
    model, sources, victim, sabotage, processes, monkeypatch
):
    sabotage(HANG, at=3)
    monkeypatch.setattr(decode_process, "_PATIENCE_S", 1.5)
    monkeypatch.setattr(decode_process, "_PATIENCE_PER_AUDIO_S", 0.1)
    found = extracted([victim, *sources], model, isolated=True, n_workers=1)
    assert [r.status for r in found] == ["timeout"] + ["ok"] * 5
    text = "v.wav: the decoder sent 12 s of audio and no more in 3 s, and was stopped."
    assert str(found[0].error).endswith(text)
    assert len(processes) == 3
    assert all(process.poll() is not None for process in processes)


def test_a_process_that_announces_nonsense_costs_the_file(model, sources, victim, sabotage):
    sabotage(LIE, at=3)
    found = extracted([victim, *sources], model, isolated=True, n_workers=1)
    assert [r.status for r in found] == ["crashed"] + ["ok"] * 5


@pytest.mark.slow
@pytest.mark.nightly
def test_silence_is_not_allowed_for_ever_however_much_was_decoded(
    model, victim, sabotage, monkeypatch
):
    sabotage(HANG, at=3)
    monkeypatch.setattr(decode_process, "_PATIENCE_PER_AUDIO_S", 100.0)
    monkeypatch.setattr(
        decode_process, "_SILENCE_LIMIT_S", 4.0
    )  # more than a process needs to start
    (found,) = extracted([victim], model, isolated=True, n_workers=1)
    assert found.status == "timeout"
    assert "nothing for 4 s" in str(found.error)


@pytest.mark.parametrize("has_ring", [True, False])
def test_a_slow_reader_is_not_held_against_the_decoder(
    model, monkeypatch, tmp_path, processes, has_ring
):
    """The process waits for its reader longer than it is itself waited for."""
    if not has_ring:
        monkeypatch.setattr(decode_process, "open_ring", lambda _: (None, ()))
        monkeypatch.setattr(decode_pool, "_QUEUE_EVENTS", 4)
    long = Source(str(write_audio(tmp_path / "l.wav", music(150, VICTIM_RATE, 1), VICTIM_RATE)))
    monkeypatch.setattr(decode_process, "_PATIENCE_S", 1.5)
    for name in ("_PATIENCE_PER_AUDIO_S", "_PATIENCE_PER_BYTE_S"):
        monkeypatch.setattr(decode_process, name, 0.0)
    expected = [np.array(e.segments) for e in _events(long, False) if e.segments is not None]
    rows = []
    with DecodePool([long], FrontEnd(), 1, isolated=True) as pool:
        for event in pool:
            if event.segments is None:
                assert event.error is None
                continue
            rows.append(np.array(event.segments))
            if len(rows) == 2:
                time.sleep(2.5)
    assert len(processes) == 1
    np.testing.assert_array_equal(np.concatenate(rows), np.concatenate(expected))


def _events(source, isolated):
    with DecodePool([source], FrontEnd(), 1, isolated=isolated) as pool:
        yield from pool


def test_a_process_that_dies_while_its_segments_are_read_leaves_no_one_waiting(
    model, sources, victim, sabotage
):
    sabotage(DIE, at=3)
    with DecodePool([victim, *sources], FrontEnd(), 1, isolated=True) as pool:
        outcomes = []
        for event in pool:
            time.sleep(0.05)  # the process is dead before its segments are given back
            if event.segments is None:
                outcomes.append(event.error and event.error.code)
    assert outcomes == ["crashed"] + [None] * 5


@pytest.mark.parametrize("isolated", [False, True])
def test_row_61_a_fault_of_the_source_iterator_keeps_its_type(model, sources, isolated, processes):
    def faulty():
        yield from sources
        raise KeyError("the playlist broke")

    with pytest.raises(KeyError, match="the playlist broke"):
        list(Extractor(model, isolated=isolated, n_workers=2).results(faulty()))
    assert not decode_threads()
    assert all(process.poll() is not None for process in processes)


def test_a_process_that_cannot_start_is_told(model, sources, monkeypatch):
    def no_process(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    with pytest.raises(DecoderError, match="no more processes"):
        list(Extractor(model, isolated=True, n_workers=2).results(sources))


def test_processes_that_end_before_they_are_ready_are_no_fault_of_the_files(
    model, sources, tmp_path, monkeypatch, processes
):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['soxr'] = None")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DecoderError, match="end with status 1 before they are ready"):
        list(Extractor(model, isolated=True, n_workers=1).results(sources))
    assert len(processes) == 2


def test_a_pool_does_not_wait_for_a_network(monkeypatch):
    """A thread that is fetching cannot be woken; it is left alone."""
    asked, go_on = threading.Event(), threading.Event()

    @contextlib.contextmanager
    def stalled(source, is_stopped):
        asked.set()
        go_on.wait(60)
        yield source

    monkeypatch.setattr(decode_pool, "fetched", stalled)
    with DecodePool([Source("s3://bucket/a.mp3")], FrontEnd(), 1, isolated=False):
        assert asked.wait(10)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    go_on.set()


def test_a_reader_that_asks_for_it_is_told_when_nothing_comes(model, victim, sabotage):
    sabotage(HANG, at=3)
    with DecodePool([victim], FrontEnd(), 1, isolated=True, idle_s=0.1) as pool:
        assert any(event is None for event in itertools.islice(pool, 1000))


@pytest.mark.parametrize("isolated", [False, True])
def test_closing_early_leaves_nothing_behind(model, sources, isolated, processes):
    results = Extractor(model, isolated=isolated, batch_size=2, n_workers=2).results(
        itertools.cycle(sources)
    )
    assert next(results).error is None
    results.close()
    assert not decode_threads()
    assert all(process.poll() is not None for process in processes)
    assert len(processes) == (2 if isolated else 0)


def test_closing_early_does_not_wait_for_a_process_that_hangs(
    model, sources, victim, sabotage, processes
):
    flag = sabotage(HANG, at=3)
    results = Extractor(model, isolated=True, batch_size=1, n_workers=1).results(
        [sources[0], victim]
    )
    next(results)
    wait_for(flag.exists, "the action")
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < 5
    assert not decode_threads()
    assert all(process.poll() is not None for process in processes)


def test_threads_are_kept_for_the_next_call(model, sources):
    extractor = Extractor(model, isolated=False, n_workers=2)
    seen = []
    for _ in range(5):
        assert all(result.error is None for result in extractor.results(sources))
        seen.append({t.ident for t in threading.enumerate() if t.name == "decode"})
    assert len(seen[0]) >= 2
    assert all(threads == seen[0] for threads in seen)


def test_a_kept_thread_holds_nothing_of_its_last_task():
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    done = threading.Event()
    task = decode_pool.ThreadTask(lambda big=big: done.set())
    task.start()
    done.wait(5)
    while task.is_alive():
        time.sleep(0.001)
    del big
    assert gone() is None


def test_a_reader_of_a_closed_pool_comes_to_an_end(victim, sabotage):
    flag = sabotage(HANG, at=3)
    with DecodePool([victim], FrontEnd(), 1, isolated=True) as pool:
        reader = threading.Thread(target=list, args=(pool,), daemon=True)
        reader.start()
        wait_for(flag.exists, "the action")
    reader.join(5)
    assert not reader.is_alive()


def test_a_source_that_never_comes_does_not_keep_the_end():
    """Ctrl-C while the caller's iterable blocks, in one decoder or in all."""
    released = threading.Event()

    def sources():
        yield Source(music(4, RATE, 1)[:, 0], RATE)
        released.wait(60)

    try:
        for isolated in (False, True):
            started = time.monotonic()
            pool = DecodePool(sources(), FrontEnd(), 2, isolated=isolated, idle_s=0.05)
            with contextlib.suppress(KeyboardInterrupt), pool as events:
                for event in events:
                    if event is None:  # nothing comes
                        raise KeyboardInterrupt
            assert time.monotonic() - started < 30
    finally:
        released.set()
