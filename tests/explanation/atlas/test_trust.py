"""Trust figures: golden scores, controls that fail as they must, and search through an alignment."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from contracts.atlas import NoMatchingConcept, TooFewPositives, WindowMismatch
from contracts.errors import InsufficientEvidence
from services.explanation.atlas.retrieval import (
    agreement,
    concepts_of,
    localise,
    match_labels,
    ranked_hits,
    standardised_rows,
    units_for,
)
from services.explanation.atlas.scores import (
    auroc,
    auroc_intervals,
    average_precision,
    chance_ranks,
    mean_percentile,
    mean_reciprocal_rank,
    paired_retrieval,
    rank_of_target,
    self_retrieval,
    tiers,
    truth_of,
)
from services.explanation.atlas.statistics import collect
from services.explanation.atlas.translators import lens, procrustes, ridges
from services.explanation.atlas.trust import Windows, hashed_tokens, judge, split_documents

RNG = np.random.default_rng(11)


def planted_windows(n=2000, concepts=40, width=20):
    """Windows of documents with favourite concepts; tokens of a window name half of its concepts."""
    documents = np.repeat(np.arange(n // 10), 10)
    favourite = RNG.random((n // 10, concepts)) < 0.1
    codes = RNG.random((n, concepts)) * (RNG.random((n, concepts)) < np.where(favourite[documents], 0.4, 0.04))
    x = codes @ RNG.normal(size=(concepts, width)) + 0.05 * RNG.normal(size=(n, width))
    words = [[f"w{j}" for j in np.flatnonzero(row) if j % 2] + ["the"] for row in codes]
    return Windows(x, codes, documents, np.array([len(word) for word in words])), hashed_tokens(words)


def ridge(x, c):
    return ridges(collect(x, c), [0.1])[0].read


@pytest.fixture(scope="module")
def judged():
    windows, bags = planted_windows()
    training, _, test = split_documents(windows.documents)
    tokens = (bags[training], bags[test])
    return (
        windows,
        training,
        test,
        judge(ridge, windows.at(training), windows.at(test), tokens=tokens, draws=60, shuffles=40),
    )


def test_tied_scores_give_the_golden_figures():
    y, s = np.array([[1], [0], [1], [0], [0]], bool), np.array([[0.9], [0.8], [0.8], [0.1], [0.1]])
    assert auroc(s, y)[0] == pytest.approx(0.9166667)
    assert average_precision(s, y)[0] == pytest.approx(0.8333333)
    assert mean_reciprocal_rank(np.array([1, 2, 10])) == pytest.approx(0.5333333)
    assert mean_percentile(np.array([1, 2, 10]), 100) == pytest.approx(0.9663300, abs=1e-7)
    assert [round(chance_ranks(d)[0], 4) for d in (576, 640, 4096)] == [0.0120, 0.0110, 0.0022]


def test_columns_equal_scikit_learn_with_and_without_ties():
    y = RNG.random((300, 12)) < 0.2
    s = np.round(RNG.normal(size=(300, 12)) + y, 1)
    assert auroc(s, y) == pytest.approx([roc_auc_score(y[:, j], s[:, j]) for j in range(12)])
    assert average_precision(s, y) == pytest.approx([average_precision_score(y[:, j], s[:, j]) for j in range(12)])


def test_a_column_of_one_class_has_no_figure():
    assert np.isnan(auroc(np.zeros((4, 2)), np.array([[True, False]] * 4))).all()
    assert np.isnan(average_precision(np.zeros((4, 1)), np.zeros((4, 1), bool)))[0]


def test_the_interval_widens_when_windows_of_a_document_repeat_each_other():
    y = RNG.random((100, 1)) < 0.4
    s = RNG.normal(size=(100, 1)) + y
    alone = auroc_intervals(s, y, np.arange(100))
    copies = auroc_intervals(np.repeat(s, 9, axis=0), np.repeat(y, 9, axis=0), np.repeat(np.arange(100), 9))
    naive = auroc_intervals(np.repeat(s, 9, axis=0), np.repeat(y, 9, axis=0), np.arange(900))
    width = np.diff(alone)[0, 0]
    assert np.diff(copies)[0, 0] == pytest.approx(width, rel=1e-9)
    assert np.diff(naive)[0, 0] < width / 2
    assert alone[0, 0] < auroc(s, y)[0] < alone[0, 1]


def test_common_latents_are_judged_by_their_top_and_rare_ones_are_marked():
    training = np.column_stack([RNG.random(1000), np.eye(1, 1000)[0], RNG.random(1000) * (RNG.random(1000) < 0.1)])
    truth = truth_of(training, training)
    assert truth.by_threshold.tolist() == [True, True, False]
    assert truth.evident.tolist() == [True, False, True]
    assert truth.y[:, 0].sum() == 50
    assert tiers(np.array([0.9, 0.9, 0.71]), truth.evident) == ["verified", "insufficient_evidence", "weak"]
    assert tiers(np.array([0.69]), np.array([True])) == ["untrusted"]


def test_no_document_of_the_test_is_in_training():
    documents = RNG.integers(0, 57, 900)
    parts = split_documents(documents, seed=4)
    assert sum(len(part) for part in parts) == 900
    held = [set(documents[part]) for part in parts]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]
    assert [len(part) for part in held] == [34, 11, 12]
    with pytest.raises(InsufficientEvidence):
        split_documents(np.zeros(90, int))


def test_an_honest_alignment_is_far_above_controls_that_stay_at_chance(judged):
    *_, report = judged
    rows = report.summary()
    assert rows["translator"]["auroc"] > 0.85
    assert rows["shuffled"]["auroc"] == pytest.approx(0.5, abs=0.02)
    assert rows["shuffled"]["ap"] == pytest.approx(rows["base"]["ap"], abs=0.05)
    assert rows["length"]["auroc"] < rows["translator"]["auroc"] - 0.2
    odd = np.arange(40) % 2 == 1
    assert report.controls["lexical"].auroc[odd].mean() > 0.95
    assert report.controls["lexical"].auroc[~odd].mean() < 0.65
    assert report.gain[odd].mean() < 0 < report.gain[~odd].mean()
    assert (report.intervals[:, 0] <= report.figures.auroc).all()
    assert set(report.tiers) <= {"verified", "weak", "untrusted", "insufficient_evidence"}
    assert report.tiers.count("verified") > 5
    assert sum(row["n"] for row in report.by_frequency()) == (report.truth.evident & ~report.truth.by_threshold).sum()


def test_a_test_document_in_training_or_too_little_evidence_is_refused(judged):
    windows, training, test, _ = judged
    with pytest.raises(WindowMismatch, match="in training and test"):
        judge(ridge, windows.at(training), windows.at(np.append(test, training[0])))
    with pytest.raises(InsufficientEvidence):
        judge(ridge, windows.at(training[:15]), windows.at(test[:8]))
    with pytest.raises(WindowMismatch):
        Windows(windows.x, windows.c[:3], windows.documents, windows.tokens)


def test_centred_lens_retrieves_itself_perfectly_from_its_own_windows(judged):
    windows, training, test, _ = judged
    x, c = windows.x[training], windows.c[training]
    own = self_retrieval(lens(x, c, centred=True).matrix, x, c)
    assert mean_reciprocal_rank(own) == 1
    other = self_retrieval(lens(x, c, centred=True).matrix, windows.x[test], windows.c[test])
    assert 0.5 < mean_reciprocal_rank(other) <= 1
    shuffled = procrustes(collect(x, c[RNG.permutation(len(c))])).matrix
    assert mean_percentile(self_retrieval(shuffled, x, c), 20) == pytest.approx(0.5, abs=0.2)


def test_paired_latents_are_found_through_the_map_and_ties_share_a_rank():
    codes = RNG.random((800, 15)) * (RNG.random((800, 15)) < 0.2)
    order = RNG.permutation(15)
    subject = codes[:, order] + 0.01
    ranks, kept = paired_retrieval(ridges(collect(subject, codes), [0.01])[0].matrix, subject, codes)
    assert mean_reciprocal_rank(ranks) == 1
    assert len(kept) == 15
    assert rank_of_target(np.array([[1.0, 1.0, 0.0]]), np.array([0]))[0] == 1.5
    with pytest.raises(TooFewPositives):
        paired_retrieval(np.ones((15, 15)), RNG.random((800, 15)), codes)


def test_a_text_finds_the_units_of_its_latents_and_only_trusted_labels_answer():
    labels, trusted = np.eye(6), np.array([True, True, False, True, True, True])
    names = [f"concept {j}" for j in range(6)]
    x = RNG.normal(size=(400, 6))
    made = ridges(collect(x, x[:, ::-1] * [1, 2, 3, 4, 5, 6]), [1e-6])[0]
    match = match_labels(np.array([0.8, 0.6, 0, 0, 0, 0]), labels, trusted, names)
    assert match.latents.tolist() == [0, 1]
    assert match.weight.tolist() == pytest.approx([1 / (1 + np.exp(-4)), 1 / (1 + np.exp(4))])
    assert np.argsort(-units_for(match, made))[:2].tolist() == [5, 4]
    with pytest.raises(NoMatchingConcept) as refusal:
        match_labels(np.eye(6)[2], labels, trusted, names)
    assert refusal.value.facts["nearest"][0] == "concept 2"
    null = [ridges(collect(x, RNG.permutation(x[:, ::-1] * [1, 2, 3, 4, 5, 6])), [1e-6])[0] for _ in range(3)]
    found, percentile = concepts_of(standardised_rows(made, null)[3], trusted, k=2)
    assert 2 not in found
    assert percentile[0] < 100
    assert concepts_of(standardised_rows(made, null)[1], trusted, k=1)[0].tolist() == [4]
    tokens = localise(np.eye(6), made, [0, 5])
    assert tokens.argmax(axis=0).tolist() == [5, 0]


def test_two_atlases_agree_where_their_labels_mean_the_same():
    cosine, agreed = agreement(np.eye(3), np.array([[1, 0, 0], [0, 0.5, 0.866], [0, 1, 0]]))
    assert cosine == pytest.approx([1, 0.5, 0])
    assert agreed.tolist() == [True, False, False]


def test_ranked_latents_are_hits_when_they_separate_the_concepts_texts():
    positive = np.arange(40) < 20
    codes = np.column_stack([positive, RNG.random(40), positive * 2.0, RNG.random(40)]).astype(float)
    assert ranked_hits(np.array([0, 2]), codes, positive) == (1.0, 1.0)
    share, gain = ranked_hits(np.array([1, 0]), codes, positive)
    assert share == 0.5
    assert gain == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
