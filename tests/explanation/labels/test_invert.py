import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from contracts.errors import MissingAnnotations
from services.explanation.labels.invert import Formula, aurocs, explain, search, significance

DRAW = np.random.default_rng(1)
Y = DRAW.random((600, 8)) < np.array([0.3, 0.3, 0.25, 0.1, 0.05, 0.2, 0.0, 1.0])


def test_all_pairs_in_one_product_equal_scikit_learn_with_ties():
    columns = np.round(np.random.default_rng(2).normal(size=(600, 5)) + Y[:, :5], 1)
    made = aurocs(columns, Y)
    for component in range(5):
        for concept in range(6):
            expected = roc_auc_score(Y[:, concept], columns[:, component])
            assert made[component, concept] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(made[:, 6:]).all()  # on no sample, or on all: undefined


@pytest.mark.parametrize(
    ("truth", "text"),
    [
        (Y[:, 3], "d"),
        (Y[:, 0] & ~Y[:, 1], "a AND NOT b"),
        (Y[:, 3] | Y[:, 4], "d OR e"),
        ((Y[:, 0] & ~Y[:, 1]) | Y[:, 4], "(a AND NOT b) OR e"),
    ],
)
def test_planted_formulas_are_found_up_to_length_three(truth, text):
    column = (3.0 * truth + np.random.default_rng(2).normal(size=600) * 0.3)[:, None]
    found = search(column, Y)[0]
    assert found is not None
    formula, auroc = found
    np.testing.assert_array_equal(formula.truth(Y), truth)
    assert auroc == pytest.approx(roc_auc_score(truth, column[:, 0]), abs=1e-12)
    assert sorted(formula.text(list("abcdefgh")).replace("(", "").replace(")", "").split()) == sorted(
        text.replace("(", "").replace(")", "").split()
    )


def test_formulas_true_too_rarely_or_too_often_are_not_answers():
    rare = np.zeros((600, 2), dtype=bool)
    rare[:4, 0] = True
    rare[:, 1] = np.arange(600) % 2 == 0
    column = (rare[:, 0] * 5.0 + np.random.default_rng(2).normal(size=600))[:, None]
    formula = search(column, rare)[0][0]
    assert formula.truth(rare).sum() >= 5
    assert formula.truth(rare).mean() <= 0.5


def test_the_test_has_the_tie_correction():
    column, truth = np.round(np.random.default_rng(2).normal(size=200) + 0.4 * Y[:200, 0], 0), Y[:200, 0]
    expected = mannwhitneyu(column[truth], column[~truth], alternative="greater", method="asymptotic")
    auroc, p = significance(column, truth)
    assert p == pytest.approx(expected.pvalue, rel=1e-9)
    assert auroc == pytest.approx(expected.statistic / (truth.sum() * (~truth).sum()), abs=1e-12)
    assert significance(column, np.zeros(200, dtype=bool)) is None
    assert significance(np.ones(200), truth) == (0.5, 1.0)


def test_a_searched_formula_is_judged_on_other_samples():
    noise = np.random.default_rng(2).normal(size=(600, 160))
    found = explain(noise[:300], Y[:300], noise[300:], Y[300:])
    searched = np.array([one.auroc for one in found])
    held_out = np.array([one.held_out_auroc for one in found])
    assert searched.mean() > 0.55  # the search alone makes noise look good
    assert abs(held_out.mean() - 0.5) < 0.04
    assert sum(one.q < 0.05 for one in found) <= 3
    real = np.concatenate([noise[:, :5], (Y[:, 3] * 4.0)[:, None]], axis=1)
    assert explain(real[:300], Y[:300], real[300:], Y[300:])[5].q < 1e-6


def test_formulas_are_written_from_left_to_right():
    formula = Formula((("", 0, False), ("AND", 1, True), ("OR", 2, False)))
    assert formula.text(["dog", "water", "cat"]) == "(dog AND NOT water) OR cat"
    truth = formula.truth(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=bool))
    assert truth.tolist() == [True, False, True]


def test_without_labels_there_is_nothing_to_search():
    with pytest.raises(MissingAnnotations):
        search(np.ones((5, 1)), np.zeros((5, 3), dtype=bool))
