"""Segments in shared memory: order, waiting for a free slot, and ends that are gone."""

import os
import threading
import time

import numpy as np
import pytest

from artist_features.extraction import decode_worker
from artist_features.extraction.decode_worker import GROUP, N_SLOTS, Ring, open_ring

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
        (taken,) = parent.take(1)
        np.testing.assert_array_equal(taken, expected, err_msg=f"segment {number}")
        parent.release(1)
    filling.join(10)
    assert not filling.is_alive()


def test_a_slot_in_use_is_not_overwritten(ends):
    parent, child = ends
    for number in range(N_SLOTS):
        child.put(np.full(SAMPLES, number, np.float32))
    (first,) = parent.take(1)
    late = threading.Thread(target=child.put, args=(np.full(SAMPLES, -1, np.float32),))
    late.start()
    time.sleep(0.1)
    assert late.is_alive()
    assert (first == 0).all()
    parent.release(1)
    late.join(10)
    assert (first == -1).all()


def test_the_parent_waits_while_too_few_slots_are_free_for_a_group(ends):
    """The other end may hold a group that it has not told of: it must not be waited for."""
    parent, child = ends
    for _ in range(N_SLOTS - GROUP + 1):
        child.put(np.zeros(SAMPLES, np.float32))
    parent.take(N_SLOTS - GROUP)
    parent.wait()
    parent.take(1)
    waiting = threading.Thread(target=parent.wait)
    waiting.start()
    time.sleep(0.1)
    assert waiting.is_alive()
    parent.release(1)
    waiting.join(10)
    assert not waiting.is_alive()


def test_closing_wakes_who_waits_and_views_stay_valid(ends):
    parent, child = ends
    for _ in range(N_SLOTS):
        child.put(np.ones(SAMPLES, np.float32))
        (view,) = parent.take(1)
    waiting = threading.Thread(target=parent.wait)
    waiting.start()
    parent.close()
    waiting.join(10)
    assert not waiting.is_alive()
    parent.release(1)  # too late, and no harm
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
    parent.take(1)
    child.close()
    parent.release(1)


def test_without_such_memory_there_is_no_ring(monkeypatch):
    before = set(os.listdir("/proc/self/fd"))

    def refuse(*_):
        raise OSError("limit on the size of files")

    monkeypatch.setattr(decode_worker.os, "ftruncate", refuse)
    assert open_ring(SAMPLES) == (None, ())
    assert set(os.listdir("/proc/self/fd")) <= before
    monkeypatch.delattr(decode_worker.os, "memfd_create")
    assert open_ring(SAMPLES) == (None, ())
