"""Agreement with teachers: what it is 1 for, what it does not look at."""

import numpy as np
import pytest

from artist_features.metrics import agreement, side_by_side, standardised


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(200, 6))


def test_scale_shift_and_constants_do_not_matter(vectors):
    teacher = vectors * [1, 2, 3, 4, 5, 6] + 7
    student = np.hstack([vectors, np.full((200, 2), 3.0)])
    found = agreement(student, {"t": teacher})
    assert found["t"] == pytest.approx(1)
    assert found["both"] == pytest.approx(1)
    assert found["r2_t"] > 0.99


def test_what_is_unrelated_has_none(vectors):
    other = np.random.default_rng(1).normal(size=(200, 6))
    found = agreement(vectors, {"t": other})
    assert abs(found["t"]) < 0.05
    assert found["r2_t"] < 0.05  # cross-validated: nothing to find


def test_teachers_weigh_the_same_however_long(vectors):
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(200, 4)), rng.normal(size=(200, 40))
    joined = side_by_side([standardised(one), standardised(two)])
    assert np.square(joined[:, :4]).sum() == pytest.approx(np.square(joined[:, 4:]).sum())


def test_r2_is_the_share_that_a_linear_map_finds(vectors):
    rng = np.random.default_rng(3)
    known = vectors @ rng.normal(size=(6, 5))
    noise = rng.normal(size=(200, 5)) * known.std(axis=0)
    assert agreement(vectors, {"t": known + noise})["r2_t"] == pytest.approx(0.5, abs=0.12)


def test_wrong_shapes_are_refused(vectors):
    with pytest.raises(ValueError, match="4 crops; agreement needs 10"):
        agreement(vectors[:4], {"t": vectors[:4]})
    with pytest.raises(ValueError, match="teacher 't': 3 rows, student 200"):
        agreement(vectors, {"t": vectors[:3]})
