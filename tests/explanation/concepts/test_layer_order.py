from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import InvalidRequest
from services.explanation.concepts.layer_order import layer_order


def falling(count: int) -> np.ndarray:
    place = np.arange(count)
    return -np.abs(place[:, None] - place[None, :]).astype(float)


def test_a_similarity_that_falls_with_distance_is_perfectly_ordered():
    found = layer_order(falling(6))
    assert (found.score, found.chance, found.correlation) == (1.0, pytest.approx(1 / 3), pytest.approx(1.0))


def test_the_opposite_order_scores_zero():
    found = layer_order(-falling(5))
    assert found.score == 0.0
    assert found.correlation == pytest.approx(-1.0)


def test_ties_count_in_part_and_give_the_chance_level():
    found = layer_order(np.zeros((12, 12)))
    assert found.score == pytest.approx(2 / 12)
    assert found.correlation is None


def test_random_matrices_score_the_chance_level_on_average():
    draw = np.random.default_rng(0)
    scores = [layer_order(draw.random((8, 8))).score for _ in range(600)]
    assert np.mean(scores) == pytest.approx(0.25, abs=0.02)


def test_an_undefined_pair_is_never_the_best():
    matrix = falling(4)
    matrix[0, 1] = np.nan
    assert layer_order(matrix).score == 0.75


def test_two_layers_have_no_order():
    with pytest.raises(InvalidRequest):
        layer_order(np.zeros((2, 2)))
