"""Judging labels on held-out samples."""

import numpy as np

from services.explanation.labels.evaluation import HeldOut, judge


def held_out(activations):
    return HeldOut(activations[:20], activations[20:], np.arange(len(activations) - 20), draws=50)


def test_a_label_that_predicts_the_activation_is_told_from_one_that_does_not():
    draw = np.random.default_rng(0)
    a = draw.normal(size=(120, 2))
    simulated = np.stack([a[:, 0] + 0.1 * draw.normal(size=120), draw.normal(size=120)], axis=1)
    found = judge(held_out(a), simulated[:20], simulated[20:], np.array([True, True]))
    assert found.correlation[0] > 0.98 and found.low[0] > 0.95 and found.auprc[0] > 0.9
    assert found.low[1] < 0 < found.high[1]


def test_labels_that_predict_the_same_everywhere_are_not_judged():
    a = np.random.default_rng(0).normal(size=(60, 3))
    constant = np.ones_like(a)
    found = judge(held_out(a), constant[:20], constant[20:], np.array([True, True, True]))
    assert np.isnan(found.correlation).all() and np.isnan(found.low).all() and np.isnan(found.high).all()


def test_components_without_a_label_stay_without_figures():
    a = np.random.default_rng(0).normal(size=(60, 2))
    found = judge(held_out(a), a[:20], a[20:], np.array([False, True]))
    assert np.isnan(found.f1[0]) and found.f1[1] > 0.6
