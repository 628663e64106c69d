import numpy as np
import pytest

from contracts.errors import InvalidRequest
from services.explanation.labels.cache import NeighbourCache, mine_negatives
from services.explanation.labels.concept_vectors import (
    VECTORS,
    Pairs,
    concept_vectors,
    csp,
    lda,
    residuals,
    weighted_mean,
    weights_of,
)
from services.explanation.labels.ranking import best_of, rank_by_product
from services.explanation.semantics.embeddings import unit_rows

TEXTS = unit_rows(np.array([[1, 0], [0, 1], [1, 1]]))


def golden() -> Pairs:
    one = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]]], np.float32)
    yes = np.ones((2, 2), dtype=bool)
    cosines, activations = np.array([[0, 0], [1, 0]], np.float32), np.array([[3, 1], [1, 3]], np.float32)
    return Pairs(one, one[:, ::-1], cosines, activations, yes, yes, np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("gamma", "second", "scores"),
    [
        (0.5, (0.9284767, 0.3713907), (0.9284767, 0.3713907, 0.9191450)),
        (0.0, (0.9486833, 0.3162278), (0.9486833, 0.3162278, 0.8944272)),
        (1.0, (0.8944272, 0.4472136), (0.8944272, 0.4472136, 0.9486833)),
    ],
)
def test_golden_vectors_of_csp(gamma, second, scores):
    vectors = unit_rows(csp(golden(), gamma=gamma))
    np.testing.assert_allclose(vectors, [(0.9486833, 0.3162278), second], atol=1e-6)
    np.testing.assert_allclose(vectors @ TEXTS.T, [(0.9486833, 0.3162278, 0.8944272), scores], atol=1e-6)
    if gamma == 0.5:
        assert best_of(vectors @ TEXTS.T, names=2).index.tolist() == [[0, 2], [0, 2]]


def test_one_pair_is_projected_fully_or_not_at_all():
    row = np.array([[[1, 0]]], np.float32)
    one = np.ones((1, 1), np.float32)
    pairs = Pairs(row, row[..., ::-1], one, one, one > 0, one > 0, np.zeros(2, np.float32))
    np.testing.assert_allclose(unit_rows(csp(pairs, gamma=0)) @ [1, 0], [1], atol=1e-6)
    np.testing.assert_allclose(unit_rows(csp(pairs, gamma=1)) @ unit_rows(np.array([[1, -1]]))[0], [1], atol=1e-6)


@pytest.fixture(scope="module")
def world():
    draw = np.random.default_rng(4)
    embeddings = unit_rows(draw.normal(size=(600, 16)) + 1.0)
    activations = np.maximum(draw.normal(size=(600, 9)), 0).astype(np.float32)
    ids = np.argsort(-activations, axis=0, kind="stable")[:12].T
    values = np.take_along_axis(activations.T, ids, axis=1)
    cache = NeighbourCache.build(embeddings, ids)
    negatives = mine_negatives(cache, embeddings, ids, activations, activations.mean(axis=0)).ids
    return embeddings, ids, values, negatives, unit_rows(draw.normal(size=(40, 16)))


def pairs_of(world) -> Pairs:
    embeddings, ids, values, negatives, _ = world
    return Pairs.gather(embeddings, ids, values, negatives, embeddings.mean(axis=0))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_the_residual_has_the_length_that_the_identity_says(world, gamma):
    pairs = pairs_of(world)
    lengths = np.square(residuals(pairs, gamma)).sum(axis=-1)
    np.testing.assert_allclose(lengths, 1 - (2 * gamma - gamma**2) * pairs.cosines**2, atol=1e-5)


def test_full_projection_leaves_nothing_along_each_positives_own_negative(world):
    pairs = pairs_of(world)
    along = np.einsum("cmd,cmd->cm", residuals(pairs, 1.0), pairs.negatives)
    np.testing.assert_allclose(along, 0, atol=1e-6)


def test_without_projection_csp_is_the_weighted_mean_and_not_the_plain_one(world):
    pairs = pairs_of(world)
    np.testing.assert_allclose(csp(pairs, gamma=0), weighted_mean(pairs), atol=1e-6)
    assert np.abs(csp(pairs, gamma=0) - VECTORS["mean"](pairs)).max() > 1e-3


def test_similarities_alone_rank_names_as_csp_does(world):
    embeddings, ids, values, negatives, texts = world
    pairs = pairs_of(world)
    weights, _ = weights_of(values, ids >= 0)
    s = embeddings @ texts.T
    by_table = np.einsum("cm,cmt->ct", weights, s[ids] - 0.5 * pairs.cosines[..., None] * s[negatives])
    np.testing.assert_allclose(csp(pairs, gamma=0.5) @ texts.T, by_table, atol=1e-5)


def test_lda_solves_the_equations_it_says(world):
    pairs = pairs_of(world)
    solved = unit_rows(lda(pairs, ridge=0.1))
    for c in range(3):
        one, other = pairs.positives[c].astype(np.float64), pairs.negatives[c].astype(np.float64)
        within = (
            (one - one.mean(0)).T @ (one - one.mean(0)) + (other - other.mean(0)).T @ (other - other.mean(0))
        ) / 22
        ridge = 0.1 * np.trace(within) / 16
        expected = np.linalg.solve(within + ridge * np.eye(16), one.mean(0) - other.mean(0))
        np.testing.assert_allclose(solved[c], expected / np.linalg.norm(expected), atol=1e-5)


PARAMETERS = {"csp": {"gamma": 0.7, "unit": True}, "subspace": {"k": 3}, "mean_diff": {"strength": 0.5}}


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_every_vector_scorer_is_rotation_free_batch_free_and_of_unit_length(world, name):
    embeddings, ids, values, negatives, texts = world
    centre, parameters = embeddings.mean(axis=0), PARAMETERS.get(name, {})
    vectors, good = concept_vectors(name, embeddings, ids, values, negatives, centre=centre, **parameters)
    assert good.all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(16, 16)))[0].astype(np.float32)
    turned, _ = concept_vectors(name, embeddings @ turn, ids, values, negatives, centre=centre @ turn, **parameters)
    np.testing.assert_allclose(turned @ (texts @ turn).T, vectors @ texts.T, atol=1e-5)
    alone, _ = concept_vectors(
        name, embeddings, ids[4:5], values[4:5], negatives[4:5], centre=centre, **parameters
    )  # fmt: skip
    np.testing.assert_allclose(alone[0], vectors[4], atol=1e-5)


def test_permuting_a_vocabulary_permutes_its_names_and_equal_names_score_equally(world):
    embeddings, ids, values, negatives, texts = world
    vectors, _ = concept_vectors("csp", embeddings, ids, values, negatives, centre=embeddings.mean(axis=0))
    order = np.random.default_rng(0).permutation(len(texts))
    plain, permuted = rank_by_product(vectors, texts), rank_by_product(vectors, texts[order])
    np.testing.assert_array_equal(order[permuted.index], plain.index)
    np.testing.assert_allclose(permuted.scores, plain.scores, atol=1e-6)
    doubled = rank_by_product(vectors, np.concatenate([texts, texts[plain.index[0, :1]]]))
    assert doubled.index[0, 0] == plain.index[0, 0]  # the earlier of two equals
    assert doubled.index[0, 1] == len(texts)
    assert doubled.margin[0] == pytest.approx(0, abs=1e-6)


def test_no_negative_means_no_label_for_contrastive_scorers_only(world):
    embeddings, ids, values, negatives, _ = world
    none = np.full_like(negatives, -1)
    centre = embeddings.mean(axis=0)
    assert not concept_vectors("csp", embeddings, ids, values, none, centre=centre)[1].any()
    assert concept_vectors("mean", embeddings, ids, values, none, centre=centre)[1].all()


def test_weights_without_any_activation_become_equal_and_are_flagged():
    weights, flagged = weights_of(np.array([[-1, -2], [3, 1]], np.float32), np.ones((2, 2), dtype=bool))
    np.testing.assert_allclose(weights, [[0.5, 0.5], [0.75, 0.25]], atol=1e-6)
    assert flagged.tolist() == [True, False]
    shares = {name: weights_of(np.array([[4, 1]], np.float32), np.ones((1, 2), dtype=bool), name)[0][0, 0] for name in
              ("none", "squared", "sqrt", "log1p")}  # fmt: skip
    expected = {"none": 1 / 2, "squared": 16 / 17, "sqrt": 2 / 3, "log1p": np.log(5) / np.log(10)}
    assert shares == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "bad"), [("csp", {"gamma": 1.5}), ("subspace", {"k": 11}), ("lda", {"ridge": 0.0})])
def test_parameters_out_of_range_are_refused_by_name(name, bad):
    with pytest.raises(InvalidRequest) as refusal:
        VECTORS[name](golden(), **bad)
    assert refusal.value.field == next(iter(bad))
