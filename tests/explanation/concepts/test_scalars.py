from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from contracts.errors import ConstantFeatures, InvalidRequest, PointMismatch, TooFewPoints
from services.explanation.concepts.neighbours import nearest, other_nearest, standardized
from services.explanation.concepts.scalars import (
    cknna,
    linear_cka,
    mutual_knn,
    rsa,
    scalar_measures,
    svcca,
    unbiased_cka,
)

A = np.array([[1, 0], [0, 1], [1, 1], [2, 1]], float)
B = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 0], [1, 2, 1]], float)


def rotated(x: np.ndarray, seed: int = 9) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(x.shape[1], x.shape[1])))
    return 3 * x @ turn + 5


def normal(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def test_the_golden_cka():
    assert linear_cka(A, B) == pytest.approx(0.5666414, abs=1e-6)
    assert unbiased_cka(A, B) == pytest.approx(-0.8660254, abs=1e-6)


def test_the_feature_form_is_the_kernel_form():
    x, y = normal(40, 7, 0), normal(40, 11, 1)
    k, other = (side - side.mean(axis=0) for side in (x, y))
    k, other = k @ k.T, other @ other.T
    kernel_form = (k * other).sum() / (np.linalg.norm(k) * np.linalg.norm(other))
    assert linear_cka(x, y) == pytest.approx(kernel_form, rel=1e-5)  # features are held in float32


def test_only_the_unbiased_form_is_near_zero_for_unrelated_features():
    x, y = normal(100, 50, 2), normal(100, 50, 3)
    assert linear_cka(x, y) > 0.25
    assert abs(unbiased_cka(x, y)) < 0.1


def test_rotation_shift_and_uniform_scale_change_no_measure():
    x = normal(200, 12, 4)
    y = x[:, :8] + 0.5 * normal(200, 8, 5)
    before, after = scalar_measures(x, y), scalar_measures(rotated(x), y)
    for name in ("cka", "cka_unbiased", "rsa"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=2e-4)
    turned = rotated(x) - 5  # cosines do not survive a shift
    assert mutual_knn(turned, y)[0] == pytest.approx(mutual_knn(x, y)[0], abs=2e-3)


def test_identical_features_reach_one():
    x = normal(150, 20, 6)
    same = scalar_measures(x, x)
    values = (same.cka, same.cka_unbiased, same.svcca, same.rsa, same.mutual_knn, same.cknna)
    assert values == pytest.approx([1.0] * 6, abs=1e-6)


def test_mutual_neighbours_of_unrelated_features_are_chance():
    overlap, beyond = mutual_knn(normal(500, 10, 7), normal(500, 10, 8))
    assert overlap == pytest.approx(10 / 499, abs=0.006)
    assert abs(beyond) < 0.006


def test_svcca_is_the_canonical_correlation_of_ten_directions_and_undefined_below_ten():
    x = normal(300, 10, 10)
    assert svcca(x, rotated(x))[0] == pytest.approx(1, abs=1e-6)
    assert svcca(x, normal(300, 10, 11))[0] < 0.3
    assert svcca(x[:, :5], x) is None


def test_rsa_is_the_rank_correlation_of_the_distances():
    x, y = normal(30, 4, 12).astype(np.float32), normal(30, 6, 13).astype(np.float32)
    upper = np.triu_indices(30, 1)
    apart = [np.linalg.norm(side[:, None].astype(float) - side[None], axis=2)[upper] for side in (x, y)]
    assert rsa(x, y) == pytest.approx(spearmanr(*apart).statistic, abs=1e-9)


def test_cknna_of_all_neighbours_is_unbiased_cka_of_unit_rows_before_centring():
    x, y = normal(60, 6, 14), normal(60, 6, 15)
    assert cknna(x, x, k=10) == pytest.approx(1)
    assert abs(cknna(x, y, k=59)) < 0.2


def test_a_point_is_its_own_first_neighbour_even_among_copies():
    x = np.repeat(normal(5, 3, 16), 8, axis=0).astype(np.float32)
    found = nearest(x, 4)
    assert (found.index[:, 0] == np.arange(40)).all()
    assert (found.distance[:, 0] == 0).all()
    assert (other_nearest(x, 3) != np.arange(40)[:, None]).all()


def test_a_constant_column_stays_zero_when_standardised():
    x = np.column_stack([normal(50, 2, 17), np.full(50, 4.0)])
    assert np.allclose(standardized(x).std(axis=0), [1, 1, 0], atol=1e-6)


def test_bad_features_are_refused_by_name():
    x = normal(30, 3, 18)
    with pytest.raises(PointMismatch):
        linear_cka(x, x[:-1])
    with pytest.raises(ConstantFeatures):
        linear_cka(x, np.ones((30, 3)))
    broken = x.copy()
    broken[7, 1] = np.nan
    with pytest.raises(InvalidRequest) as refusal:
        linear_cka(x, broken)
    assert refusal.value.facts["row"] == 7
    with pytest.raises(TooFewPoints):
        mutual_knn(x[:10], x[:10])
