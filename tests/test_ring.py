"""Segments in shared memory: order, waiting for a free slot, and ends that are gone."""

import os
import threading
import time

import numpy as np
import pytest

from artist_features.extraction import ring
from artist_features.extraction.ring import N_SLOTS, Ring, open_ring

pytestmark = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="the system has no nameless shared memory"
)
SAMPLES = 50


@pytest.fixture
def ends():
    """The parent's end and the decode process's end of one ring."""
    parent, inherited = open_ring(SAMPLES)
    child = Ring(*inherited, SAMPLES)
    yield parent, child
    parent.close()
    child.close()


def test_segments_arrive_in_order_over_many_rounds(ends):
    parent, child = ends
    sent = np.arange(5 * N_SLOTS * SAMPLES, dtype=np.float32).reshape(-1, SAMPLES)
    ready = threading.Semaphore(0)

    def fill():
        for segment in sent:
            child.put(segment)
            ready.release()

    filling = threading.Thread(target=fill)
    filling.start()
    for number, expected in enumerate(sent):
        parent.wait()
        assert ready.acquire(timeout=10)
        taken = parent.take()
        assert taken.shape == (1, SAMPLES)
        np.testing.assert_array_equal(taken[0], expected, err_msg=f"segment {number}")
        parent.release()
    filling.join(10)
    assert not filling.is_alive()


def test_a_slot_in_use_is_not_overwritten(ends):
    parent, child = ends
    for number in range(N_SLOTS):
        child.put(np.full(SAMPLES, number, np.float32))
    first = parent.take()
    late = threading.Thread(target=child.put, args=(np.full(SAMPLES, -1, np.float32),))
    late.start()
    time.sleep(0.1)
    assert late.is_alive()
    assert (first == 0).all()
    parent.release()
    late.join(10)
    assert (first == -1).all()


def test_the_parent_waits_while_all_slots_are_taken(ends):
    parent, child = ends
    for _ in range(N_SLOTS):
        child.put(np.zeros(SAMPLES, np.float32))
        parent.take()
    waiting = threading.Thread(target=parent.wait)
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    parent.release()
    waiting.join(10)
    assert not waiting.is_alive()


def test_closing_wakes_who_waits_and_views_stay_valid(ends):
    parent, child = ends
    for _ in range(N_SLOTS):
        child.put(np.ones(SAMPLES, np.float32))
        view = parent.take()
    waiting = threading.Thread(target=parent.wait)
    waiting.start()
    parent.close()
    waiting.join(10)
    assert not waiting.is_alive()
    parent.release()  # too late, and no harm
    assert (view == 1).all()


def test_a_parent_that_is_gone_ends_the_process(ends):
    parent, child = ends
    for _ in range(N_SLOTS):
        child.put(np.zeros(SAMPLES, np.float32))
    parent.close()
    with pytest.raises(BrokenPipeError):
        child.put(np.zeros(SAMPLES, np.float32))


def test_a_process_that_is_gone_is_no_error_of_the_parent(ends):
    parent, child = ends
    child.put(np.zeros(SAMPLES, np.float32))
    parent.take()
    child.close()
    parent.release()


def test_without_such_memory_there_is_no_ring(monkeypatch):
    before = set(os.listdir("/proc/self/fd"))

    def refuse(*_):
        raise OSError("limit on the size of files")

    monkeypatch.setattr(ring.os, "ftruncate", refuse)
    assert open_ring(SAMPLES) == (None, ())
    assert set(os.listdir("/proc/self/fd")) <= before
    monkeypatch.delattr(ring.os, "memfd_create")
    assert open_ring(SAMPLES) == (None, ())
