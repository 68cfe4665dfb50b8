"""Signals that end a job: in order, never in the middle of a write, never lost."""

import os
import signal
import sys

import pytest

from artist_features.cli.stopping import OrderlyStop, Stopped


@pytest.fixture(autouse=True)
def heard():
    """As in a terminal; under nohup and in the background SIGINT may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_waits_for_what_must_be_whole():
    done = []
    with OrderlyStop() as stop, pytest.raises(Stopped) as caught:
        stop.whole(lambda: (interrupt(), done.append(1)))()
    assert done == [1]
    assert caught.value.exit_code == 130


def test_a_signal_that_got_lost_is_raised_again():
    """As within `__del__`, where Python drops exceptions."""
    with OrderlyStop() as stop:
        with pytest.raises(Stopped):
            interrupt()
        with pytest.raises(Stopped):
            stop.whole(lambda: None)()
        assert stop.whole(lambda: 5, at_the_end=True)() == 5


class Interrupted:
    def __del__(self):
        interrupt()


class Broken:
    def __del__(self):
        raise ValueError("of another kind")


def test_only_a_signal_gets_lost_without_a_word(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))
    with OrderlyStop() as stop:
        Interrupted()
        Broken()
        with pytest.raises(Stopped):
            stop.whole(lambda: None)()
    Broken()
    assert told == [ValueError, ValueError]


def broken_import():
    try:
        interrupt()
    except Stopped:
        raise ImportError("initialization failed") from None


def test_an_import_that_a_signal_broke_is_a_stop():
    with pytest.raises(Stopped), OrderlyStop():
        broken_import()
    with pytest.raises(ImportError, match="no module"), OrderlyStop():
        raise ImportError("no module")


def test_without_a_signal_nothing_is_raised():
    with OrderlyStop() as stop:
        assert stop.whole(lambda: 5)() == 5
