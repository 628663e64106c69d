import importlib.metadata
import importlib.util

import numpy as np
import pytest

from services.explanation.errors import NotUnitNorm, TooFewExamples
from services.explanation.semantics.clusters import gram, split_in_two
from services.explanation.semantics.metrics import clarity, poly_reference, polysemanticity, redundancy, standardised
from tests.explanation.planted import unit

TWO_AND_ONE = np.array([[[1, 0], [1, 0], [0, 1]]], np.float32)
TWO_PAIRS = np.array([[[1, 0], [1, 0], [0, 1], [0, 1]]], np.float32)
ANTIPODES = np.array([[[1, 0], [1, 0], [-1, 0], [-1, 0]]], np.float32)


@pytest.fixture(scope="module")
def peer():
    """The reference package's scores; the file alone, since its package wants more to be installed."""
    try:
        path = importlib.metadata.distribution("semanticlens").locate_file("semanticlens/scores.py")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("semanticlens is not installed: pip install --no-deps semanticlens==0.2.1")
    spec = importlib.util.spec_from_file_location("semanticlens_scores", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def topics():
    """40 components of 20 examples: two tight groups of different sizes, or one and a stray. [C, n, d] unit rows."""
    draw = np.random.default_rng(0)
    centres = unit(draw.normal(size=(40, 2, 48)))
    second = np.arange(20)[None, :] < np.tile([1, 4, 7, 10], 10)[:, None]
    means = np.where(second[..., None], centres[:, 1:], centres[:, :1])
    return unit(means + 0.02 * draw.normal(size=(40, 20, 48)))


def test_clarity_of_two_alike_and_one_apart_is_a_third():
    assert clarity(TWO_AND_ONE)[0] == pytest.approx(1 / 3, abs=1e-12)


def test_clarity_is_the_mean_cosine_of_all_pairs(topics):
    n = topics.shape[1]
    products = gram(topics)
    pairs = (products.sum(axis=(1, 2)) - np.einsum("cii->c", products)) / (n * (n - 1))
    np.testing.assert_allclose(clarity(topics), pairs, atol=1e-7)


def test_clarity_reaches_from_opposites_to_equals():
    assert clarity(np.array([[[1, 0], [-1, 0]]], np.float32))[0] == -1
    assert clarity(np.array([[[1, 0], [1, 0]]], np.float32))[0] == 1


def test_clarity_refuses_one_example_and_rows_that_are_not_unit():
    with pytest.raises(TooFewExamples):
        clarity(np.ones((1, 1, 1), np.float32))
    with pytest.raises(NotUnitNorm):
        clarity(np.full((1, 2, 2), 0.5, np.float32))


def test_clarity_equals_the_reference_package(peer, topics):
    import torch

    np.testing.assert_allclose(clarity(topics), peer.clarity_score(torch.from_numpy(topics)).numpy(), atol=1e-6)


def test_two_orthogonal_pairs_are_split_completely():
    assert poly_reference(TWO_PAIRS)[0] == pytest.approx(1, abs=1e-12)
    assert polysemanticity(TWO_PAIRS)[0] == pytest.approx(1, abs=1e-12)


def test_antipodes_have_the_largest_reference_polysemanticity():
    assert poly_reference(ANTIPODES)[0] == pytest.approx(2, abs=1e-12)


def test_equal_examples_have_nothing_to_split():
    split = split_in_two(gram(np.tile(np.array([1, 0], np.float32), (1, 6, 1))))
    assert split.share[0] == 0
    assert split.cosine[0] == 1


def test_the_reference_form_equals_the_reference_package_on_clustered_examples(peer, topics):
    import torch

    theirs = peer.polysemanticity_score(torch.from_numpy(topics)).numpy()
    np.testing.assert_allclose(poly_reference(topics), theirs, atol=1e-6)


def test_a_split_does_not_depend_on_how_components_are_batched(topics):
    whole = split_in_two(gram(topics), seed=3)
    single = np.concatenate([split_in_two(gram(topics[c : c + 1]), seed=3).share for c in range(len(topics))])
    np.testing.assert_array_equal(whole.share, single)


def test_a_split_finds_the_planted_members():
    draw = np.random.default_rng(1)
    centres = unit(draw.normal(size=(2, 64)))
    members = np.array([0, 1, 1, 0, 1, 0, 0, 0, 1, 0])
    examples = unit(centres[members] + 0.05 * draw.normal(size=(10, 64)))[None]
    second = split_in_two(gram(examples)).second[0]
    assert set(map(tuple, [second.tolist()])) <= {tuple(members == 1), tuple(members == 0)}


def test_redundancy_of_two_alike_and_one_apart_is_two_thirds():
    largest, partner = redundancy(np.array([[1, 0], [1, 0], [0, 1]], np.float32))
    assert largest.mean() == pytest.approx(2 / 3)
    assert partner.tolist() == [1, 0, 0]


def test_redundancy_leaves_a_component_out_by_its_place_not_by_its_value(monkeypatch):
    from services.explanation.semantics import metrics

    monkeypatch.setattr(metrics, "BLOCK", 3)  # several blocks
    vectors = unit(np.random.default_rng(0).normal(size=(10, 8)))
    cosines = vectors.astype(np.float64) @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    largest, partner = redundancy(vectors)
    np.testing.assert_allclose(largest, cosines.max(axis=1), atol=1e-6)
    np.testing.assert_array_equal(partner, cosines.argmax(axis=1))


def test_redundancy_equals_the_reference_package(peer):
    import torch

    vectors = unit(np.random.default_rng(0).normal(size=(30, 16)))
    assert redundancy(vectors)[0].mean() == pytest.approx(float(peer.redundancy_score(torch.from_numpy(vectors))))


def test_one_component_has_no_nearest_other():
    with pytest.raises(TooFewExamples):
        redundancy(np.ones((1, 1), np.float32))


def test_standardising_takes_the_null_sets_of_nearest_clarity():
    null_at = np.repeat([0.0, 1.0], 60)
    null_values = np.concatenate([np.linspace(0, 1, 60), np.linspace(10, 12, 60)])
    z = standardised(np.array([0.5, 11.0]), np.array([0.0, 1.0]), null_at, null_values)
    np.testing.assert_allclose(z, [0, 0], atol=1e-9)


def test_a_null_without_spread_gives_no_z():
    assert np.isnan(standardised(np.array([1.0]), np.array([0.5]), np.zeros(60), np.full(60, 0.2)))[0]
