"""Scores of steered text: the judge and its guard, fluency that sees loops, F with its undefined cases, α windows."""

import numpy as np
import pytest

from contracts.atlas import JudgeLeak, TooFewPositives
from contracts.errors import InsufficientEvidence
from services.explanation.atlas.steering_scores import (
    ConceptJudge,
    alpha_window,
    bag_of_words,
    faithfulness,
    fluency,
    leaked_words,
    logistic,
    pareto,
    relevance,
    repetition,
    total,
)

SEA = ["ship", "harbour", "sailor", "wave", "anchor", "tide", "boat", "deck"]
LAND = ["field", "tractor", "barn", "wheat", "fence", "cow", "hill", "road"]


def sentences(words, n, seed, extra=()):
    draw = np.random.default_rng(seed)
    return [" ".join([*draw.choice(words, 4), "and", "then", *draw.choice(["we", "they", "it"], 2), *extra, str(i)])
            for i in range(n)]  # fmt: skip


def embeddings(texts):
    """A stand-in for a sentence encoder: which of the two word lists a text is from, with noise."""
    found = {}
    for text in texts:
        words = text.split()
        seed = sum(map(ord, text))
        row = [sum(w in SEA for w in words), sum(w in LAND for w in words), 1]
        row = np.array(row) + 0.3 * np.random.default_rng(seed).normal(size=3)
        found[text] = row / np.linalg.norm(row)
    return found


@pytest.fixture(scope="module")
def judge():
    concept, others, plain = sentences(SEA, 40, 1), sentences(LAND, 40, 2), sentences(LAND, 300, 3)
    embed = embeddings([*concept, *others, *plain])
    return ConceptJudge.train(concept, others, plain, embed=embed, chosen_by=["token", "ocean"])


def test_the_judge_fires_on_the_concept_and_almost_never_on_unsteered_text(judge):
    sea, land = sentences(SEA, 60, 7), sentences(LAND, 300, 8)
    embed = embeddings([*sea, *land])
    assert (judge.scores(sea, embed) >= 1).mean() > 0.9
    assert (judge.scores(land, embed) >= 1).mean() <= 0.02
    assert len(judge.concept_sha256) == 64


def test_both_classifiers_must_fire(judge):
    sea = sentences(SEA, 20, 9)
    wrong = {text: np.array([0.0, 1.0, 0.3]) for text in sea}
    assert judge.scores(sea, wrong).max() == 0


def test_words_that_chose_the_latents_may_not_train_the_judge():
    concept, others = sentences(SEA, 40, 1), sentences(LAND, 40, 2)
    with pytest.raises(JudgeLeak) as refusal:
        ConceptJudge.train(concept, others, [], embed={}, chosen_by=["Ship, harbour", "we"])
    assert refusal.value.facts["overlap"] == ["harbour", "ship"]
    assert leaked_words(["we go"], ["we"]) == []
    with pytest.raises(TooFewPositives):
        ConceptJudge.train(concept[:5], others, [], embed={}, chosen_by=[])
    with pytest.raises(InsufficientEvidence):
        ConceptJudge.train(concept, others, others, embed={}, chosen_by=[])


def test_logistic_regression_reaches_the_optimum_of_its_loss():
    draw = np.random.default_rng(0)
    x, truth = draw.normal(size=(80, 3)), None
    truth = x @ [1.0, -2.0, 0.5] + draw.normal(size=80) > 0.3
    w, b = logistic(x, truth, ridge=1e-2)
    weight = np.where(truth, 0.5 / truth.mean(), 0.5 / (1 - truth.mean())) / 80
    error = weight * (1 / (1 + np.exp(-(x @ w + b))) - truth)
    assert x.T @ error + 1e-2 * w == pytest.approx(np.zeros(3), abs=1e-8)
    assert error.sum() + 1e-2 * b == pytest.approx(0, abs=1e-8)
    assert bag_of_words(["a a b"]).sum() == pytest.approx(
        (np.log1p(2) + np.log1p(1)) / np.hypot(np.log1p(2), np.log1p(1))
    )


def test_a_loop_is_not_fluent_although_its_perplexity_is_low():
    loop, text = "the sea the sea " * 10, "we walked along the shore until the light was gone"
    assert repetition(loop)[0] < 0.5
    assert repetition(loop)[1] > 0.2
    assert repetition(text) == (1, 0)
    assert repetition("one") == (1, 0)
    unsteered = np.linspace(10, 20, 11)
    assert fluency([text, loop, text, text], np.array([19.0, 2.0, 30.0, 58.0]), unsteered).tolist() == [2, 1, 1, 0]
    with pytest.raises(InsufficientEvidence):
        fluency([text], np.array([1.0]), unsteered[:9])


def test_relevance_is_cut_at_quantiles_and_the_total_is_a_harmonic_mean():
    assert relevance(np.array([0.5, 0.05, -0.5]), np.linspace(0, 1, 101)).tolist() == [2, 1, 0]
    assert total(np.array([2, 2, 0]), np.array([1, 2, 2]), np.array([2, 2, 2])).tolist() == [1.5, 2.0, 0.0]


def test_faithfulness_chooses_the_factor_on_one_half_and_reports_the_other():
    tune = np.arange(20) < 10
    clearly = {0.0: np.arange(20) % 10 < 1, 0.2: np.arange(20) % 10 < 7, 0.6: np.where(tune, False, True)}
    found = faithfulness(clearly, tune)
    assert (found.alpha, found.base, found.reached) == (0.2, 0.1, 0.7)
    assert found.value == pytest.approx(0.6666667)
    assert faithfulness({0.0: np.ones(20, bool), 0.2: np.ones(20, bool)}, tune).value is None
    assert faithfulness({0.0: np.ones(20, bool), 0.2: np.zeros(20, bool)}, tune).alpha == 0
    assert faithfulness({0.0: clearly[0.0], 0.2: np.zeros(20, bool)}, tune).value == 0
    for wrong in ({0.2: clearly[0.2]}, clearly):
        with pytest.raises(InsufficientEvidence):
            faithfulness(wrong, np.ones(20, bool))


def test_the_window_of_alpha_is_where_half_the_gain_is_reached_and_text_is_still_fluent():
    alphas = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    found = alpha_window(alphas, np.array([0.1, 0.5, 0.7, 0.9, 1.0]), np.array([2, 1.9, 1.5, 1.0, 0.2]), 0.1)
    assert (found.low, found.high, found.log2_width) == (0.2, 0.4, 1)
    assert alpha_window(alphas, np.full(5, 0.1), np.full(5, 2.0), 0.1) is None
    assert alpha_window(alphas, np.array([0, 0, 0, 0, 1.0]), np.array([2, 2, 2, 2, 0.0]), 0.0) is None


def test_the_front_keeps_what_nothing_beats_in_both():
    assert pareto(np.array([0.9, 0.5, 0.4, 0.5]), np.array([0.2, 1.0, 0.9, 1.0])).tolist() == [True, True, False, True]
