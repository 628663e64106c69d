import numpy as np
import pytest

from contracts.errors import InvalidRequest, UnknownScorer
from services.explanation.labels.evaluation import HeldOut, judge, most_frequent, random_labels, unsure
from services.explanation.labels.ranking import Ranked
from services.explanation.labels.scorers import PARAMETERS, Probe, adaptive_set, rank_names, scorer_named
from services.explanation.semantics.embeddings import unit_rows

TOPICS = 8


def world(seed=0, n=1500, noise=0.6):
    """Samples of eight topics; unit c reacts to topic c; the vocabulary holds the topics and 60 other words."""
    draw = np.random.default_rng(seed)
    words = unit_rows(draw.normal(size=(TOPICS + 60, 32)))
    topic = draw.integers(0, TOPICS, n)
    embeddings = unit_rows(words[topic] + noise * draw.normal(size=(n, 32)) / np.sqrt(32) + 0.05)
    activations = np.maximum(3.0 * (topic[:, None] == np.arange(TOPICS)) + 0.3 * draw.normal(size=(n, TOPICS)), 0)
    return embeddings, activations.astype(np.float32), words


def probe_of(seed=0, **changes) -> Probe:
    embeddings, activations, words = world(seed)
    given = {"embeddings": embeddings, "activations": activations, "valid": np.full(TOPICS, 100), "m": 20,
             "texts": words, "bare": words, "frames": words}  # fmt: skip
    return Probe(**{**given, **changes})


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"invert"}))
def test_every_scorer_finds_planted_topics(name):
    ranked = rank_names(scorer_named(name), probe_of())
    wanted = 0.6 if name in ("rank_reorder", "wpmi", "cos") else 0.8
    assert (ranked.index[:, 0] == np.arange(TOPICS)).mean() >= wanted
    assert (ranked.margin >= 0).all()


@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"invert"}))
def test_components_without_evidence_get_no_name_from_any_scorer(name):
    valid = np.full(TOPICS, 100)
    valid[[2, 5]] = 0
    ranked = rank_names(scorer_named(name), probe_of(valid=valid))
    assert (ranked.index[[2, 5]] == -1).all()
    assert (ranked.index[[0, 1, 3, 4, 6, 7], 0] >= 0).all()


def test_a_scorer_is_written_with_what_differs_from_its_defaults():
    assert scorer_named("csp").written == "csp"
    assert scorer_named("csp:gamma=1.0,unit=false").written == "csp"
    assert scorer_named("csp:unit=true,gamma=0.5").written == "csp:gamma=0.5,unit=true"


def test_each_parameter_changes_the_digest():
    texts = ["csp", "csp:gamma=0.5", "csp:unit=true", "csp:reuse=false", "csp:negatives=random", "csp:weighting=sqrt"]
    assert len({scorer_named(text).digest for text in texts}) == len(texts)


def test_an_unknown_scorer_is_answered_with_the_known_ones():
    with pytest.raises(UnknownScorer) as refusal:
        scorer_named("clip-dissect")
    assert "softwpmi" in refusal.value.facts["known"]


@pytest.mark.parametrize(
    "text", ["csp:gamma=1.5", "csp:gama=1", "subspace:k=0", "csp:unit=maybe", "csp:gamma", "mean:k=1"]
)
def test_parameters_that_do_not_fit_are_refused_before_any_work(text):
    with pytest.raises(InvalidRequest):
        scorer_named(text)


def test_nearest_and_random_negatives_are_different_scorers():
    probe = probe_of()
    nearest, drawn = probe.negatives(), probe.negatives(kind="random")
    assert (nearest != drawn).mean() > 0.9
    assert probe.negatives() is nearest


def test_the_label_set_of_www_exists_for_a_negative_maximum_too():
    ranked = Ranked(np.array([[1.0, 0.96, 0.9], [-1.0, -1.04, -1.2]], np.float32), np.array([[0, 1, 2]] * 2, np.int32))
    assert adaptive_set(ranked).tolist() == [[True, True, False], [True, True, False]]


def held_out(seed=1):
    embeddings, activations, words = world(seed)
    return HeldOut(activations[:100], activations[100:], np.arange(len(activations) - 100) // 4), embeddings, words


def test_right_labels_predict_held_out_activations_and_random_ones_are_at_chance():
    samples, embeddings, words = held_out()
    every = np.ones(TOPICS, dtype=bool)

    def judged(index):
        chosen = words[index]
        return judge(samples, embeddings[:100] @ chosen.T, embeddings[100:] @ chosen.T, every)

    right, chance = judged(np.arange(TOPICS)), judged(TOPICS + random_labels(range(TOPICS), 60))
    assert (right.correlation > 0.8).all()
    assert right.auprc.mean() > 4 * chance.auprc.mean()  # the top 1 % among the 12 % that show the topic
    assert ((right.low < right.correlation) & (right.correlation < right.high)).all()
    assert abs(chance.correlation.mean()) < 0.1
    assert abs(chance.auprc.mean() - 0.01) < 0.02
    no = ~every
    assert not unsure(right, chance, no).any()
    assert unsure(chance, chance, no).all()
    assert not unsure(right, right, every).any()


def test_a_component_without_label_is_not_judged():
    samples, embeddings, words = held_out()
    some = np.arange(TOPICS) != 3
    made = judge(samples, embeddings[:100] @ words[:TOPICS].T, embeddings[100:] @ words[:TOPICS].T, some)
    assert np.isnan([made.correlation[3], made.low[3], made.auprc[3], made.f1[3]]).all()
    assert np.isfinite(made.correlation[some]).all()


def test_random_labels_do_not_depend_on_which_components_are_asked_for():
    np.testing.assert_array_equal(random_labels([4, 9], 100), random_labels(range(10), 100)[[4, 9]])
    assert most_frequent(np.array([3, 1, 3, -1, 1, -1, -1])) == 1
