"""Learning rates and early stopping against values worked by hand."""

import dataclasses

import pytest

from artist_features.training.recipes import DEFAULT, PAPER, Schedule


def test_cosine_warms_up_and_ends_at_zero():
    recipe = dataclasses.replace(DEFAULT, n_steps=1100, n_warmup=100, learning_rate=0.01)
    schedule = Schedule(recipe)
    assert schedule.rate(0) == pytest.approx(0.0001)
    assert schedule.rate(99) == pytest.approx(0.01)
    assert schedule.rate(100) == pytest.approx(0.01)
    assert schedule.rate(600) == pytest.approx(0.005)
    assert schedule.rate(1100) == pytest.approx(0.0)


def test_plateau_lowers_the_rate_as_the_paper_does():
    schedule = Schedule(dataclasses.replace(PAPER, plateau_patience=2, decay=0.0))
    assert schedule.rate(0) == 0.1
    assert schedule.check(1.0, 500)
    for step, factor in ((1000, 1.0), (1500, 0.2), (2000, 0.2), (2500, 0.04)):
        assert not schedule.check(1.5, step)
        assert schedule.rate(step) == pytest.approx(0.1 * factor)
    assert schedule.check(0.5, 3000)
    assert schedule.state["best_step"] == 3000


def test_decay_divides_the_rate():
    assert Schedule(PAPER).rate(1_000_000) == pytest.approx(0.05)


def test_early_stop_counts_checks_without_a_better_loss():
    schedule = Schedule(dataclasses.replace(PAPER, stop_patience=3))
    assert not schedule.over
    schedule.check(1.0, 1)
    for step in range(2, 5):
        assert not schedule.over
        schedule.check(1.0, step)  # as good is not better
    assert schedule.over
    schedule.check(0.9, 5)
    assert not schedule.over


def test_no_patience_means_no_early_stop():
    schedule = Schedule(DEFAULT)
    for step in range(100):
        schedule.check(float(step), step)
    assert not schedule.over
