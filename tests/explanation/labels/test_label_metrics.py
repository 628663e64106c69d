import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from services.explanation.labels.label_metrics import (
    auroc,
    average_precision,
    clarity_of_concept,
    correlation,
    correlations,
    cosine,
    cosy,
    f1,
    faithfulness_of_steering,
    iou,
    responsiveness,
    top_share,
    tuned_share,
)

N = 20_000
FALL = 1e-3


def label_and_variants(prevalence: float):
    """A perfect binary label, one with half of its positives missing, one with as many wrong ones added."""
    held = round(prevalence * N)
    truth = np.arange(N) < held
    return truth, np.arange(N) < held // 2, np.arange(N) < 2 * held


def pearson(a, s):
    return correlation(a[:, None].astype(float), s[:, None].astype(float))[0]


METRICS = {
    "f1": lambda a, s: f1(s, a),
    "iou": lambda a, s: iou(s, a),
    "correlation": pearson,
    "cosine": lambda a, s: cosine(a.astype(float), s.astype(float)),
    "auprc": lambda a, s: average_precision(s.astype(float), a),
    "auroc": lambda a, s: auroc(s.astype(float), a),
    "inverse auroc": lambda a, s: auroc(a.astype(float), s),
}
CHANGES = {
    "f1": lambda g: (-1 / 3, -1 / 3),
    "iou": lambda g: (-1 / 2, -1 / 2),
    "correlation": lambda g: (np.sqrt((1 - g) / (2 - g)) - 1, np.sqrt((1 - 2 * g) / (2 * (1 - g))) - 1),
    "cosine": lambda g: (np.sqrt(0.5) - 1, np.sqrt(0.5) - 1),
    "auprc": lambda g: (-(1 - g) / 2, -1 / 2),
    "auroc": lambda g: (-1 / 4, -g / (2 * (1 - g))),
    "inverse auroc": lambda g: (-g / (2 * (2 - g)), -1 / 4),
}
TRUSTED = {"f1", "iou", "correlation", "cosine", "auprc"}


@pytest.mark.parametrize("prevalence", [0.4, 0.1, 0.01, 0.001, 0.0001])
@pytest.mark.parametrize("name", sorted(METRICS))
def test_a_narrow_or_broad_label_changes_each_score_by_its_closed_form(name, prevalence):
    truth, narrow, broad = label_and_variants(prevalence)
    best = METRICS[name](truth, truth)
    missing, extra = METRICS[name](truth, narrow) - best, METRICS[name](truth, broad) - best
    expected = CHANGES[name](prevalence)
    assert (missing, extra) == pytest.approx(expected, abs=1e-10)
    if name in TRUSTED:
        assert missing < -FALL and extra < -FALL


def test_scores_on_ties_equal_scikit_learn():
    draw = np.random.default_rng(0)
    truth = draw.random(500) < 0.2
    scores = np.round(draw.normal(size=500) + truth, 1)
    assert average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_weighted_correlations_equal_repeated_samples():
    draw = np.random.default_rng(1)
    a, s = draw.normal(size=(30, 3)), draw.normal(size=(30, 3))
    weights = draw.integers(0, 4, (2, 30))
    made = correlations(a, s, weights)
    for row in range(2):
        repeated = np.repeat(np.arange(30), weights[row])
        for c in range(3):
            assert made[row, c] == pytest.approx(np.corrcoef(a[repeated, c], s[repeated, c])[0, 1], abs=1e-12)


def test_a_constant_column_has_no_correlation_and_stops_nothing():
    a = np.stack([np.ones(20), np.arange(20.0)], axis=1)
    made = correlation(a, np.stack([np.arange(20.0)] * 2, axis=1))
    assert np.isnan(made[0]) and made[1] == pytest.approx(1)


def test_the_top_share_takes_what_ties_and_the_tuned_one_the_best_of_the_grid():
    values = np.array([3.0, 2, 2, 2, 1, 0, 0, 0, 0, 0])
    assert top_share(values, 0.2).tolist() == [True] * 4 + [False] * 6
    assert top_share(values, 0.0001).sum() == 1
    truth = values >= 2
    assert tuned_share(values, truth, (0.1, 0.3, 0.5)) == 0.3


def test_ties_count_half_in_cosy():
    made = cosy(np.array([0.0, 0, 1]), np.array([0.0, 2]))
    assert made["auc"] == pytest.approx((0.5 + 0.5 + 0 + 3) / 6)
    assert cosy(np.array([0.0, 0, 1]), np.array([0.0, 2]))["auc"] == pytest.approx(4 / 6)
    assert cosy(np.ones(3), np.array([2.0]))["mad"] == 0
    assert cosy(np.ones(3), np.array([])) == {"auc": None, "mad": None}


def test_steering_takes_the_maximising_factor_and_is_undefined_where_all_outputs_express_it():
    assert faithfulness_of_steering({0: 0.2, 10: 0.6, 50: 0.4, -10: 0.1}) == (pytest.approx(0.5), 10)
    assert faithfulness_of_steering({0: 0.5, 50: 0.1}) == (0.0, 0)
    assert faithfulness_of_steering({0: 1.0, 50: 1.0}) is None


def test_inverse_coding_shows_in_the_sign():
    assert clarity_of_concept(np.array([-1.0, -2]), np.array([0.0, 1])) == (1.0, -1)
    assert responsiveness(np.array([3.0, 9, 0, 1]), np.array([2, 1, 0, 0])) == (1.0, 1.0, 1)
    assert responsiveness(np.array([3.0, 9]), np.array([2, 1])) is None
