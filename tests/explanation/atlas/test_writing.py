"""Directions that raise a latent: golden rows, the dual form, merging, and what has no direction."""

import numpy as np
import pytest

from contracts.atlas import NoSecondMoment, TooFewPositives
from contracts.steering import DegenerateDirection, WidthMismatch
from services.explanation.atlas.statistics import collect
from services.explanation.atlas.translators import procrustes
from services.explanation.atlas.writing import (
    combine,
    covariance_directions,
    difference_of_means,
    read_directions,
    write_directions,
    write_rows,
    write_rows_dual,
)

X = np.array([[1, 0], [0, 1], [1, 1], [2, 0]], float)
C = np.array([[1, 0, 0], [0, 2, 0], [1, 1, 0], [2, 0, 1]], float)


def test_the_write_map_has_its_golden_rows_and_the_dual_form_agrees():
    rows = write_rows(collect(X, C), [0, 1, 2], rho=1)
    golden = [[0.3397398, -0.0993495], [-0.2585748, 0.2714370], [0.1805145, -0.0762862]]
    assert rows == pytest.approx(np.array(golden), abs=1e-7)
    assert write_rows_dual(X, C, [0, 1, 2], rho=1) == pytest.approx(rows, abs=1e-14)
    assert write_rows(collect(X, C), [2, 0], rho=1) == pytest.approx(rows[[2, 0]], abs=1e-14)


def test_the_write_direction_finds_the_planted_direction_better_than_the_difference_of_means():
    draw = np.random.default_rng(5)
    concepts = draw.random((2000, 60)) * (draw.random((2000, 60)) < 0.1)
    true = draw.normal(size=(60, 24))
    x = concepts @ true
    stats = collect(x, concepts)
    unit = true / np.linalg.norm(true, axis=1, keepdims=True)

    def mean_cosine(rows):
        return np.mean([row @ unit[j] / np.linalg.norm(row) for j, row in enumerate(rows)])

    written = mean_cosine(write_directions(stats, range(60), rho=0.1))
    plain = mean_cosine([difference_of_means(x, concepts[:, j] > 0) for j in range(60)])
    assert written > 0.999
    assert 1 - written < (1 - plain) / 50
    assert mean_cosine(covariance_directions(stats, range(60))) > 0.7
    assert mean_cosine(read_directions(procrustes(stats), range(60))) > 0.3


def test_near_duplicates_are_merged_and_give_their_weight_to_the_first():
    rows = np.array([[1.0, 0, 0], [0.99, 0.05, 0], [0, 2.0, 0]])
    found = combine(rows, [0.5, 0.3, 0.2])
    assert found.kept == (0, 2)
    assert found.merged == {1: 0}
    expected = 0.8 * rows[0] + 0.2 * rows[2]
    assert found.vector == pytest.approx(expected / np.linalg.norm(expected))
    assert found.norm == pytest.approx(np.linalg.norm(expected))
    assert found.cosines[0, 2] == 0
    assert np.linalg.norm(found.vector) == pytest.approx(1)


def test_directions_that_cancel_or_are_constant_have_nothing_to_add():
    with pytest.raises(DegenerateDirection):
        combine(np.array([[1.0, 0], [-1.0, 0]]))
    silent = np.column_stack([C, np.zeros(4)])
    with pytest.raises(DegenerateDirection):
        combine(covariance_directions(collect(X, silent), [3]))
    with pytest.raises(WidthMismatch):
        combine(np.eye(2), [1.0])
    with pytest.raises(TooFewPositives):
        difference_of_means(X, np.ones(4, bool))
    with pytest.raises(NoSecondMoment):
        write_rows(collect(X, C, second_moment=False), [0])
