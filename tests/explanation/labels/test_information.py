import numpy as np
import pytest

from contracts.errors import PriorNeedsComponents
from services.explanation.labels.information import SOFT_WPMI, WPMI, Information, rank_by_information
from services.explanation.semantics.embeddings import unit_rows

S = np.array([[0.3, 0.1, 0.2], [0.1, 0.3, 0.2], [0.2, 0.2, 0.2], [0.0, 0.1, 0.3]], np.float32)
BEST = np.array([[0, 1], [3, 2]])  # of A = [[3, 0], [2, 1], [1, 2], [0, 3]]


def table(ranked, names):
    scores = np.empty((len(ranked.scores), names))
    np.put_along_axis(scores, ranked.index[:, :names].astype(np.int64), ranked.scores[:, :names], axis=1)
    return scores


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Information(10.0, 2, 1.0, True), [[0.496793, 0.193789, -1.028153], [-1.031260, -0.240596, 0.496118]]),
        (Information(2.0, 2, 0.6, False), [[-0.813472, -0.868331, -0.995980], [-1.085397, -0.940257, -0.667905]]),
    ],
)
def test_golden_tables(kind, expected):
    ranked = rank_by_information(S, BEST, np.eye(3, dtype=np.float32), kind, names=3)
    np.testing.assert_allclose(table(ranked, 3), expected, atol=2e-6)


def plain(embeddings, best, texts, kind):
    """The official formula in float64."""
    logits = kind.scale * (embeddings.astype(np.float64) @ texts.T.astype(np.float64))
    p = np.exp(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))[best[:, : kind.top]]
    if kind.soft:
        w = kind.first - np.arange(kind.top) / kind.top * (kind.first - kind.last)
        likelihood = np.log(1 + w[:, None] * (p - 1) + 1e-7).sum(axis=1)
    else:
        likelihood = np.log(p + 1e-7).sum(axis=1)
    return likelihood - kind.prior * np.log(np.exp(likelihood).mean(axis=0))


@pytest.fixture(scope="module")
def world():
    draw = np.random.default_rng(0)
    embeddings = unit_rows(draw.normal(size=(800, 32)) + 0.8)
    activations = draw.normal(size=(800, 7))
    best = np.argsort(-activations, axis=0, kind="stable")[:100].T
    return embeddings, activations, best, unit_rows(draw.normal(size=(1300, 32)) + 0.5)


@pytest.mark.parametrize("kind", [SOFT_WPMI, WPMI], ids=["softwpmi", "wpmi"])
def test_products_in_groups_and_blocks_of_names_equal_the_official_formula(world, kind):
    embeddings, _, best, texts = world
    expected = plain(embeddings, best, texts, kind)
    ranked = rank_by_information(embeddings, best, texts, kind)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    np.testing.assert_allclose(ranked.scores, np.take_along_axis(expected, order, axis=1), atol=2e-5)
    assert (ranked.index[:, 0] == order[:, 0]).mean() >= 6 / 7


def test_the_score_is_not_the_activation_weighted_centred_mean(world):
    embeddings, activations, best, texts = world
    ranked = rank_by_information(embeddings, best, texts)
    centred = ((activations - activations.mean(axis=0)).T @ embeddings) @ texts.T
    assert (ranked.index[:, 0] == centred.argmax(axis=1)).mean() < 1


def test_the_prior_is_over_the_set_of_components_whatever_their_order(world):
    embeddings, _, best, texts = world
    order = np.array([3, 0, 6, 1, 5, 2, 4])
    whole, permuted = (rank_by_information(embeddings, chosen, texts) for chosen in (best, best[order]))
    np.testing.assert_allclose(permuted.scores, whole.scores[order], atol=1e-5)
    fewer = rank_by_information(embeddings, best[:3], texts)
    assert np.abs(fewer.scores - whole.scores[:3]).max() > 1e-3


def test_one_component_alone_is_refused(world):
    embeddings, _, best, texts = world
    with pytest.raises(PriorNeedsComponents, match="1 component"):
        rank_by_information(embeddings, best[:1], texts)
