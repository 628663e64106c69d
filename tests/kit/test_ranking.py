"""AUROC equals scikit-learn's with ties, and its error Hanley and McNeil's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from services.kit.ranking import auroc, auroc_error


def test_it_is_scikit_learns_to_the_last_digits_with_ties():
    draw = np.random.default_rng(0)
    values, positive = draw.integers(0, 7, (300, 5)).astype(float), draw.random(300) < 0.2
    wanted = [roc_auc_score(positive, column) for column in values.T]
    assert auroc(values, positive) == pytest.approx(wanted, abs=1e-12)


def test_the_ends_and_the_middle():
    values = np.array([[0.0, 1, 5], [1, 0, 5], [2, -1, 5], [3, -2, 5]])
    assert auroc(values, np.array([False, False, True, True])).tolist() == [1.0, 0.0, 0.5]


def test_without_one_of_the_groups_it_is_not_a_number():
    assert np.isnan(auroc(np.ones((3, 2)), np.ones(3, bool))).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        auroc(np.ones((3, 2)), np.ones(2, bool))


def test_the_error_is_hanley_and_mcneils_example():
    """Their section on sample size: A = 0.893 with 58 normal and 51 abnormal cases has SE 0.032 (Table II)."""
    assert auroc_error(np.array([0.893]), 51, 58)[0] == pytest.approx(0.032, abs=0.0015)
    assert auroc_error(np.array([1.0]), 10, 10)[0] == 0
