"""Signals that end a job: in order, never in the middle of a step, never lost."""

import os
import signal
import sys

import pytest

from artist_features.cli.stopping import OrderlyStop, Stopped
from artist_features.errors import ModelError


@pytest.fixture(autouse=True)
def heard():
    """As in a terminal; under nohup and in the background SIGINT may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_waits_for_the_end_of_a_step():
    done = []
    with pytest.raises(Stopped) as caught, OrderlyStop() as stop:  # noqa: PT012
        for number in stop.steps(iter(range(5))):
            if number == 2:
                interrupt()
            done.append(number)
    assert done == [0, 1, 2]
    assert caught.value.exit_code == 130


def test_a_signal_ends_the_waiting_for_a_step_at_once():
    def items():
        yield 0
        interrupt()
        raise AssertionError("went on")

    done = []
    with pytest.raises(Stopped), OrderlyStop() as stop:
        done.extend(stop.steps(items()))
    assert done == [0]


@pytest.mark.parametrize("n", [0, 1])
def test_a_signal_after_the_last_step_breaks_nothing_off(n):
    done = []
    with pytest.raises(Stopped), OrderlyStop() as stop:  # noqa: PT012
        done.extend(stop.steps(iter(range(n))))
        interrupt()
        done.append("written")
    assert done == [*range(n), "written"]


class Interrupted:
    def __del__(self):
        interrupt()


class Broken:
    def __del__(self):
        raise ValueError("of another kind")


def test_a_signal_that_got_lost_is_raised_again(monkeypatch):
    """Within `__del__` Python drops exceptions; it reports all but ours."""
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: reported.append(lost.exc_type))
    with pytest.raises(Stopped), OrderlyStop() as stop:  # noqa: PT012
        Interrupted()
        Broken()
        with pytest.raises(Stopped):
            next(stop.steps(iter([1])))
    Broken()
    assert reported == [ValueError, ValueError]


def broken_import():
    try:
        interrupt()
    except Stopped:
        raise ImportError("initialization failed") from None


def broken_model() -> None:
    """Report a broken import as `Extractor` does."""
    try:
        broken_import()
    except ImportError as error:
        raise ModelError("model siamese cannot be built") from error


def test_an_import_that_a_signal_broke_is_a_stop():
    with pytest.raises(Stopped), OrderlyStop():
        broken_import()
    with pytest.raises(Stopped), OrderlyStop():
        broken_model()
    with pytest.raises(ImportError, match="no module"), OrderlyStop():
        raise ImportError("no module")
    with pytest.raises(ValueError, match="other"), OrderlyStop():
        raise ValueError("other")
