import numpy as np

from services.explanation.labels.columns import rank_by_cosine, rank_by_cubed_cosine, rank_by_reordering
from services.explanation.semantics.embeddings import unit_rows

DRAW = np.random.default_rng(3)
EMBEDDINGS = unit_rows(DRAW.normal(size=(300, 12)) + 0.5)
TEXTS = unit_rows(DRAW.normal(size=(30, 12)) + 0.5)
S = EMBEDDINGS @ TEXTS.T
ACTIVATIONS = np.maximum(S[:, [4, 11, 20]] - 0.2 + 0.05 * DRAW.normal(size=(300, 3)), 0).astype(np.float32)


def test_the_cosine_of_columns_needs_no_table_of_similarities():
    expected = (ACTIVATIONS / np.linalg.norm(ACTIVATIONS, axis=0)).T @ (S / np.linalg.norm(S, axis=0))
    ranked = rank_by_cosine(ACTIVATIONS, EMBEDDINGS, TEXTS)
    np.testing.assert_allclose(ranked.scores[:, 0], expected.max(axis=1), atol=1e-5)
    np.testing.assert_array_equal(ranked.index[:, 0], expected.argmax(axis=1))


def test_the_cubed_cosine_is_that_of_centred_columns():
    a, s = (ACTIVATIONS - ACTIVATIONS.mean(0)) ** 3, (S - S.mean(0)) ** 3
    expected = (a / np.maximum(np.linalg.norm(a, axis=0), 1e-3)).T @ (s / np.maximum(np.linalg.norm(s, axis=0), 1e-3))
    ranked = rank_by_cubed_cosine(ACTIVATIONS, EMBEDDINGS, TEXTS)
    np.testing.assert_allclose(ranked.scores[:, 0], expected.max(axis=1), atol=1e-5)
    assert ranked.index[:, 0].tolist() == [4, 11, 20]


def test_reordering_finds_the_name_that_orders_the_best_samples():
    exact = S[:, [4, 11, 20]]
    ranked = rank_by_reordering(exact, EMBEDDINGS, TEXTS)
    assert ranked.index[:, 0].tolist() == [4, 11, 20]
    np.testing.assert_allclose(ranked.scores[:, 0], 0, atol=1e-6)  # no error where the order is the component's own
    again = rank_by_reordering(exact[:, 1:2], EMBEDDINGS, TEXTS)
    assert again.index[0, 0] == 11
