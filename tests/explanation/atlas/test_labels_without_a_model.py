"""Labels of text latents: token rules, contrast terms, output terms, the fixed list, and the trial that judges them."""

import numpy as np
import pytest

from contracts.atlas import WindowMismatch
from services.explanation.atlas.detection import concept_list_labels, detect, judge_labels, trial_of
from services.explanation.atlas.term_labels import (
    contrast_label,
    log_odds,
    output_label,
    output_terms,
    token_label,
)


def test_log_odds_have_their_golden_values():
    delta, z = log_odds(np.array([20.0]), 100, np.array([5.0]), 1000, prior=np.array([1.0]), total_prior=10)
    assert delta[0] == pytest.approx(3.6758739, abs=1e-7)
    assert z[0] == pytest.approx(7.9407952, abs=1e-7)


def test_a_latent_of_one_token_is_named_by_it_whatever_its_case_and_space():
    label = token_label({"▁The": 3.0, " the": 2.0, "THE": 1.0, "a": 3.9})
    assert (label.text, label.method) == ('token "the"', "token")
    assert label.score("The end of the story") == 2
    assert token_label({"the": 5.9, "a": 2.0, "of": 2.1}) is None
    assert token_label({}) is None


def test_words_that_share_a_beginning_or_an_ending_are_named_by_its_longest_form():
    label = token_label({" running": 2.0, " jumping": 2.0, "singing": 2.0, "dog": 1.0})
    assert (label.text, label.method) == ("words ending with ing", "suffix")
    assert label.score("He was Singing, not a ring; sang.") == 2
    label = token_label({"statistics": 1.0, "statistical": 1.0, "statist": 1.0, "of": 0.5})
    assert label.text == "words starting with statist"


def test_contrast_terms_are_those_over_used_at_the_peaks_and_none_without_a_difference():
    active = ["the bread was baked in an oven", "fresh bread and butter", "an oven for bread"] * 8
    other = ["the cat sat on the mat", "a ship in an old harbour", "butter and jam on the mat"] * 8
    label = contrast_label(active, other)
    assert next(iter(label.terms)) == "bread"
    assert "mat" not in label.terms
    assert label.score("warm bread") > 0 == label.score("a cat")
    assert contrast_label(other, other) is None
    assert contrast_label([], []) is None


def test_output_terms_are_the_rows_of_the_unembedding_that_a_direction_raises():
    tokens = [" cat", "Cat", " dog", "!", " sky"]
    unembedding = np.array([[1, 0], [0.9, 0], [0.5, 0.1], [0, 0], [-1, 0.2]], float)
    ((top, bottom),) = output_terms(np.array([[1.0, 0.0]]), unembedding, tokens, k=4)
    assert top == [" cat", "Cat", " dog", "!"]
    assert bottom[0] == " sky"
    label = output_label(top)
    assert dict(label.terms) == {"cat": 1.0, "dog": 0.5}
    ((gained, _),) = output_terms(np.array([[1.0, 1.0]]), unembedding, tokens, norm=np.array([0.0, 1.0]), k=1)
    assert gained == [" sky"]
    assert output_label(["!", "12"]) is None


@pytest.fixture(scope="module")
def windows():
    """Windows of 60 documents; latent j fires on topic j, whose windows lie together."""
    draw = np.random.default_rng(4)
    documents = np.repeat(np.arange(60), 10)
    topic = draw.integers(0, 6, 600)
    embeddings = np.eye(16)[topic] + 0.35 * draw.normal(size=(600, 16))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    codes = np.eye(6)[topic] * draw.uniform(0.5, 2, (600, 1)) * (draw.random((600, 1)) < 0.9)
    return codes, embeddings, documents


def test_the_fixed_list_names_topics_and_shuffled_names_stay_at_chance(windows):
    codes, embeddings, documents = windows
    texts = np.eye(16)[[3, 1, 0, 2, 5, 4, 9]]
    index, margin, used = concept_list_labels(codes, embeddings, texts, documents < 40)
    assert index.tolist() == [2, 1, 3, 0, 5, 4]
    assert (margin > 0.3).all()
    assert all((documents[rows] < 40).all() and len(rows) == 20 for rows in used)
    trials = [trial_of(codes[:, j], embeddings, documents, np.flatnonzero(documents < 40)) for j in range(6)]
    own, shuffled = judge_labels(trials, lambda j, rows: embeddings[rows] @ texts[index[j]], [True] * 6)
    assert np.mean([one.auroc for one in own]) > 0.8
    assert np.mean([one.auroc for one in shuffled]) < 0.6
    assert all(one.low <= one.auroc <= one.high for one in own)


def test_negatives_are_the_nearest_silent_windows_and_no_document_is_on_both_sides(windows):
    codes, embeddings, documents = windows
    evidence = np.flatnonzero(documents < 30)
    trial = trial_of(codes[:, 0], embeddings, documents, evidence)
    assert (documents[trial.windows] >= 30).all()
    assert (codes[trial.windows, 0] > 0).tolist() == trial.fires.tolist()
    positive, negative = trial.windows[trial.fires], trial.windows[~trial.fires]
    silent = np.flatnonzero((documents >= 30) & (codes[:, 0] <= 0))
    near = (embeddings[positive] @ embeddings[negative].T).max(axis=0).mean()
    assert near > (embeddings[positive] @ embeddings[silent].T).max(axis=0).mean() + 0.05
    assert len(set(trial.windows.tolist())) == len(trial.windows)


def test_a_latent_without_evidence_has_no_trial_and_gets_no_label(windows):
    _codes, embeddings, documents = windows
    rare = np.where(np.arange(600) < 4, 1.0, 0.0)[:, None]
    assert trial_of(rare[:, 0], embeddings, documents, np.zeros(0, int)) is None
    index, margin, _ = concept_list_labels(rare, embeddings, np.eye(16), documents >= 0)
    assert index.tolist() == [-1]
    assert np.isnan(margin[0])
    own, shuffled = judge_labels([None], lambda j, rows: rows, [True])
    assert own == shuffled == [None]


def test_a_perfect_label_is_verified_and_a_blind_one_is_not(windows):
    codes, embeddings, documents = windows
    trial = trial_of(codes[:, 0], embeddings, documents, np.zeros(0, int))
    best = detect(trial, trial.fires.astype(float))
    assert (best.auroc, best.precision, best.tier) == (1, 1, "verified")
    assert detect(trial, np.zeros(len(trial.windows))).tier == "untrusted"
    with pytest.raises(WindowMismatch):
        detect(trial, np.zeros(3))
