"""Recipes and options refuse what would quietly train something else; the schedule by hand."""

import dataclasses

import pytest

from artist_features.training.options import TrainingOptions, model_name
from artist_features.training.recipes import DEFAULT, PAPER, RECIPES, Augmentation, Schedule


def test_the_papers_numbers_and_as_many_crops_for_both_kinds() -> None:
    assert PAPER.n_anchors == 15
    assert (PAPER.n_negatives, PAPER.learning_rate, PAPER.momentum) == (4, 0.1, 0.9)
    assert (PAPER.decay, PAPER.plateau_factor) == (1e-6, 0.2)
    assert PAPER.needs_check
    assert not DEFAULT.needs_check
    assert Schedule(PAPER).rate(1_000_000) == pytest.approx(0.05)  # halved by the decay
    for recipes in RECIPES.values():
        basic, siamese = recipes["basic"], recipes["siamese"]
        assert dataclasses.replace(basic, n_anchors=siamese.n_anchors) == siamese
    assert RECIPES["default"]["basic"].n_anchors == 2 * RECIPES["default"]["siamese"].n_anchors
    assert type(dataclasses.replace(DEFAULT, learning_rate=1).learning_rate) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "SGD"}, "optimizer = 'SGD'; allowed is 'sgd' or 'adam'"),
        ({"schedule": "constant"}, "schedule = 'constant'; allowed is 'plateau' or 'cosine'"),
        ({"keep": "bset"}, "keep = 'bset'"),
        ({"negatives": "hard"}, "negatives = 'hard'"),
        ({"teacher_hears": "all"}, "teacher_hears = 'all'"),
        ({"check_every": 0}, "check_every is 0; allowed is an integer of 1 or more"),
        ({"n_steps": "many"}, "n_steps is 'many'"),
        ({"n_steps": 1.5}, "n_steps is 1.5"),
        ({"stop_patience": -1}, "stop_patience is -1; allowed is an integer of 0 or more"),
        ({"n_anchors": 1}, "n_anchors is 1; allowed is an integer of 2 or more"),
        ({"label_weight": float("nan")}, "label_weight = nan"),
        ({"label_weight": float("inf")}, "label_weight = inf"),
        ({"label_weight": -1}, "label_weight = -1"),
        ({"learning_rate": float("nan")}, "learning_rate = nan; allowed are numbers 0 to 100"),
        ({"learning_rate": True}, "learning_rate = True"),
        ({"momentum": 2}, "momentum = 2; allowed are numbers 0 to 1"),
    ],
)
def test_wrong_value_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DEFAULT, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing": 7}, "mixing = 7; allowed are numbers 0 to 1"),
        ({"mixing": "lots"}, "mixing = 'lots'"),
        ({"noise": None}, "noise = None"),
        ({"gain_db": 3}, "gain_db = 3; allowed is"),
        ({"gain_db": (3, -3)}, r"gain_db = \(3, -3\)"),
    ],
)
def test_wrong_augmentation_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "other"}, "kind is 'other'; allowed are basic, siamese"),
        ({"n_artists": -1}, "-1 artists; needed are 2 or more"),
        ({"seed": -1}, "seed is -1; allowed are numbers from 0"),
        ({"strategy": "many"}, "strategy is 'many'; allowed are none, mirrored, multiworker"),
        ({"dtype": "float8"}, "dtype is 'float8'"),
        ({"recipe_name": "mine"}, "recipe_name is 'mine'; allowed are paper, default"),
    ],
)
def test_wrong_option_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**({"kind": "basic", "manifests": [], "out": "run"} | values))


@pytest.mark.parametrize(
    ("folder", "name"),
    [("run1", "run1"), ("my run (2)", "my_run_2_"), ("Ölberg", "lberg"), ("...", "model")],
)
def test_model_is_named_after_its_folder(folder, name, tmp_path):
    assert model_name("", tmp_path / folder) == name
    assert model_name("mine", tmp_path / folder) == "mine"


def test_changes_reach_the_recipe_and_the_augmentation():
    found = DEFAULT.changed({"n_anchors": 6, "mixing": 0.5, "n_steps": 9})
    assert found.n_anchors == 6
    assert (found.augmentation.mixing, found.n_steps) == (0.5, 9)
    assert found.augmentation.noise == DEFAULT.augmentation.noise


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
    patient = Schedule(DEFAULT)  # 0 means never
    for step in range(100):
        patient.check(float(step), step)
    assert not patient.over
