import numpy as np
import pytest

from services.explanation.semantics.significance import q_values, tail_shares

EXAMPLE = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])


def test_two_of_the_textbook_s_ten_tests_are_rejected():
    assert (q_values(EXAMPLE) <= 0.05).sum() == 2


def test_q_values_do_not_depend_on_order_or_shape():
    shuffled = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(q_values(EXAMPLE[shuffled].reshape(2, 5)).ravel(), q_values(EXAMPLE)[shuffled])


def test_a_larger_p_never_has_a_smaller_q():
    p = np.sort(np.random.default_rng(0).uniform(size=500))
    assert (np.diff(q_values(p)) >= 0).all()


def test_a_tail_share_counts_the_null_that_reaches_the_value():
    pool = np.array([3.0, 1.0, 2.0, 2.0])
    np.testing.assert_allclose(tail_shares(np.array([[0.0, 2.0], [2.5, 9.0]]), pool), [[1, 0.8], [0.4, 0.2]])


def test_without_z_there_is_no_p():
    assert np.isnan(tail_shares(np.array([np.nan]), np.zeros(3)))[0]


def test_p_of_the_null_itself_is_uniform():
    draw = np.random.default_rng(0)
    p = tail_shares(draw.normal(size=4000), draw.normal(size=50_000))
    assert np.quantile(p, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
