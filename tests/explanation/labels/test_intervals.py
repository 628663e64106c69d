import numpy as np
import pytest

from services.explanation.labels.intervals import difference_p, group_weights, holm, mean_interval, paired_difference


def test_the_interval_of_a_constant_has_no_width():
    assert vars(mean_interval(np.full(50, 0.3))) == pytest.approx({"value": 0.3, "low": 0.3, "high": 0.3, "n": 50})


def test_what_is_undefined_is_left_out_and_counted():
    values = np.array([1.0, np.nan, 3.0])
    assert (mean_interval(values).value, mean_interval(values).n) == (2.0, 2)
    assert mean_interval(np.array([np.nan])) is None


def test_the_interval_has_about_the_width_that_theory_says():
    values = np.random.default_rng(0).normal(size=400)
    interval = mean_interval(values)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.08)


def test_members_of_one_group_are_drawn_together():
    values = np.repeat(np.random.default_rng(1).normal(size=40), 10)
    alone, together = mean_interval(values), mean_interval(values, groups=np.repeat(np.arange(40), 10))
    assert together.high - together.low > 2.5 * (alone.high - alone.low)
    weights = group_weights(np.array([5, 5, 9]), 100)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    assert ((weights[:, 0] + weights[:, 2]) == 2).all()


def test_a_paired_difference_sees_what_unpaired_intervals_hide():
    draw = np.random.default_rng(2)
    one = draw.normal(size=100)
    other = one - 0.05 + 0.02 * draw.normal(size=100)
    difference = paired_difference(one, other)
    assert difference.low > 0.04 and difference.high < 0.06
    assert difference_p(one, other) < 1e-3
    assert difference_p(one, draw.permutation(one)) > 0.1


def test_holm_corrects_in_order():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    assert holm(np.array([])).tolist() == []


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(3).normal(size=30)
    assert mean_interval(values, seed=5) == mean_interval(values, seed=5)
    assert mean_interval(values, seed=5) != mean_interval(values, seed=6)
