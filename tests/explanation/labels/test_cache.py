import numpy as np
import pytest

from services.explanation.labels.cache import (
    NONE,
    NeighbourCache,
    masked_products,
    mine_negatives,
    pair_cosines,
    random_negatives,
)
from services.explanation.semantics.embeddings import unit_rows


@pytest.fixture(scope="module")
def world():
    """2,000 samples in clusters; activations follow cluster directions, so that neighbours are often active too."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(12, 24))
    embeddings = unit_rows(centres[draw.integers(0, 12, 2000)] + 0.7 * draw.normal(size=(2000, 24)))
    activations = np.maximum(embeddings @ unit_rows(centres).T, 0).astype(np.float32)
    activations[:, 5] = np.where(np.arange(2000) < 30, 0, 1 + activations[:, 5])  # few samples are below the mean
    positives = np.argsort(-activations, axis=0, kind="stable")[:20].T
    return embeddings, activations, positives, activations.mean(axis=0)


def expected(world):
    embeddings, activations, positives, thresholds = world
    return np.stack([masked_products(embeddings, positives[c], activations[:, c] < thresholds[c]) for c in range(12)])


@pytest.mark.parametrize("k", [1, 16, 128])
def test_mining_equals_the_masked_products_whatever_the_length_of_the_lists(world, k):
    embeddings, activations, positives, thresholds = world
    cache = NeighbourCache.build(embeddings, positives, k)
    mined = mine_negatives(cache, embeddings, positives, activations, thresholds)
    np.testing.assert_array_equal(mined.ids, expected(world))
    np.testing.assert_allclose(mined.cosines, pair_cosines(embeddings, positives, mined.ids), atol=1e-6)


def test_a_negative_may_serve_several_positives_only_with_reuse(world):
    embeddings, activations, positives, thresholds = world
    cache = NeighbourCache.build(embeddings, positives, 4)
    shared = mine_negatives(cache, embeddings, positives, activations, thresholds).ids
    single = mine_negatives(cache, embeddings, positives, activations, thresholds, reuse=False).ids
    assert min(len(set(row.tolist())) for row in shared) < 20
    assert all(len(set(row.tolist())) == 20 for row in single)
    np.testing.assert_array_equal(single[:, 0], shared[:, 0])
    used = np.ones(2000, dtype=bool)
    for rank, positive in enumerate(positives[3]):  # rank order, by the definition
        low = (activations[:, 3] < thresholds[3]) & used
        assert single[3, rank] == masked_products(embeddings, positive[None], low)[0]
        used[single[3, rank]] = False


def test_a_constant_column_has_no_negative(world):
    embeddings, activations, positives, _ = world
    flat = activations.copy()
    flat[:, 0] = 2.0
    means = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
    cache = NeighbourCache.build(embeddings, positives, 16)
    for reuse in (True, False):
        mined = mine_negatives(cache, embeddings, positives, flat, means, reuse=reuse)
        assert (mined.ids[0] == NONE).all()
        assert (mined.cosines[0] == 0).all()
        assert (mined.ids[1:] != NONE).all()
    assert (random_negatives(flat, means, 3)[0] == NONE).all()


def test_empty_places_stay_empty_and_components_do_not_disturb_each_other(world):
    embeddings, activations, positives, thresholds = world
    some = positives.copy()
    some[2, 5:] = NONE
    cache = NeighbourCache.build(embeddings, positives, 16)
    mined = mine_negatives(cache, embeddings, some, activations, thresholds).ids
    want = expected(world)
    want[2, 5:] = NONE
    np.testing.assert_array_equal(mined, want)
    alone = mine_negatives(cache, embeddings, some[7:8], activations[:, 7:8], thresholds[7:8]).ids
    np.testing.assert_array_equal(alone, want[7:8])


def test_random_negatives_lie_below_the_threshold(world):
    _, activations, _, thresholds = world
    drawn = random_negatives(activations, thresholds, 15, seed=3)
    assert (np.take_along_axis(activations.T, drawn, axis=1) < thresholds[:, None]).all()
    np.testing.assert_array_equal(drawn, random_negatives(activations, thresholds, 15, seed=3))
