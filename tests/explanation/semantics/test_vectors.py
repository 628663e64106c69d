import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from services.explanation.semantics.clusters import gram, split_in_two
from services.explanation.semantics.embeddings import Embeddings
from services.explanation.semantics.metrics import clarity, standardised
from services.explanation.semantics.nulls import split_null
from services.explanation.semantics.vectors import SplitNull, memberships, null_for, prototype_vectors, semantic_vectors
from services.kit.arrays import save_arrays
from tests.explanation.planted import unit

N = 30


def test_a_semantic_vector_is_the_unit_mean_of_unit_rows():
    examples = np.array([[[1, 0], [0, 1]], [[1, 0], [1, 0]]], np.float32)
    vectors, length = semantic_vectors(examples)
    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5], [1, 0]], atol=1e-7)
    np.testing.assert_allclose(length, [0.5**0.5, 1], atol=1e-7)


def test_the_length_gives_clarity():
    examples = unit(np.random.default_rng(0).normal(size=(5, 12, 16)) + 0.5)
    _, length = semantic_vectors(examples)
    np.testing.assert_allclose((length.astype(float) ** 2 - 1 / 12) * 12 / 11, clarity(examples), atol=1e-6)


def test_examples_that_cancel_out_have_no_length():
    _, length = semantic_vectors(np.array([[[1, 0], [-1, 0]]], np.float32))
    assert length[0] == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """4,000 pictures of 40 topics with noise, and the split null of sets of 30 of them."""
    draw = np.random.default_rng(0)
    topics, of = unit(draw.normal(size=(40, 96))), np.arange(4000) % 40
    noise = draw.uniform(0.6, 2, 40)[of][:, None]  # some topics are clear, some diffuse
    rows = unit(topics[of] + noise * draw.normal(size=(4000, 96)) / np.sqrt(96))
    path = tmp_path_factory.mktemp("world") / "e.safetensors"
    save_arrays(path, {"unit": rows.astype(np.float16)})
    embeddings, seeded = Embeddings([path]), np.random.default_rng(1)
    return rows, of, {size: split_null(embeddings, size, seeded) for size in (5, 10, 15, 20, N)}


def component(rows, of, counts: dict[int, int], draw) -> tuple[np.ndarray, np.ndarray]:
    """Examples of a component that reacts to topics, and which topic each shows."""
    ids = np.concatenate([draw.choice(np.flatnonzero(of == topic), m, replace=False) for topic, m in counts.items()])
    ids = draw.permutation(ids)
    return rows[ids], of[ids]


def found(examples: np.ndarray, null: dict[int, SplitNull]) -> np.ndarray:
    grams = gram(examples)
    return memberships(grams, split_in_two(grams), clarity(examples), null)


def same_division(numbers: np.ndarray, truth: np.ndarray) -> float:
    """Share of pairs on whose being together or apart both divisions agree."""
    return float(np.mean((numbers[:, None] == numbers) == (truth[:, None] == truth)))


@pytest.mark.parametrize("counts", [{3: 20, 17: 10}, {3: 15, 17: 15}, {3: 12, 17: 10, 30: 8}], ids=str)
def test_planted_meanings_become_prototypes(world, counts):
    rows, of, null = world
    examples, truth = component(rows, of, counts, np.random.default_rng(5))
    numbers = found(examples[None], null)[0]
    assert numbers.max() + 1 == len(counts)
    assert same_division(numbers, truth) > 0.93
    assert np.diff(np.bincount(numbers)).max(initial=-1) <= 0  # larger ones first


def test_one_meaning_is_one_prototype(world):
    rows, of, null = world
    draw = np.random.default_rng(6)
    examples = np.stack([component(rows, of, {topic: N}, draw)[0] for topic in range(40)])
    assert (found(examples, null).max(axis=1) == 0).mean() >= 0.9


def test_two_stray_examples_are_no_prototype(world):
    rows, of, null = world
    examples, _ = component(rows, of, {3: 28, 17: 2}, np.random.default_rng(7))
    assert found(examples[None], null).max() == 0


def test_split_z_tells_components_of_several_topics_from_those_of_one(world):
    rows, of, null = world
    draw = np.random.default_rng(8)
    counts = [{int(t): N} for t in draw.integers(0, 40, 60)]
    for _ in range(60):
        first, second = draw.choice(40, 2, replace=False)
        m = int(draw.integers(4, 16))
        counts.append({int(first): N - m, int(second): m})
    examples = np.stack([component(rows, of, one, draw)[0] for one in counts])
    clear = clarity(examples)
    z = standardised(split_in_two(gram(examples)).share, clear, null[N].clarity, null[N].share)
    auroc = mannwhitneyu(z[60:], z[:60]).statistic / 3600
    assert auroc >= 0.98
    assert auroc > mannwhitneyu(-clear[60:], -clear[:60]).statistic / 3600


def test_prototype_vectors_are_the_unit_means_of_their_members():
    examples = np.array([[[1, 0], [0, 1], [1, 0]], [[0, 1], [0, 1], [0, 1]]], np.float32)
    numbers = np.array([[0, 1, 0], [0, 0, 0]], np.int8)
    rows, component, prototype = prototype_vectors(examples, numbers)
    np.testing.assert_array_equal(rows, [[1, 0], [0, 1], [0, 1]])
    assert component.tolist() == [0, 0, 1]
    assert prototype.tolist() == [0, 1, 0]


def test_a_prototype_whose_members_cancel_out_has_no_vector():
    examples = np.array([[[1, 0], [-1, 0], [0, 1]]], np.float32)
    rows, _, prototype = prototype_vectors(examples, np.array([[0, 0, 1]], np.int8))
    assert prototype.tolist() == [1]
    np.testing.assert_array_equal(rows, [[0, 1]])


def test_the_null_is_that_of_the_next_smaller_number_of_examples():
    nulls = {size: SplitNull(np.zeros(1), np.full(1, float(size))) for size in (5, 10, 30)}
    assert [null_for(nulls, n).share[0] for n in (3, 5, 9, 10, 29, 30, 80)] == [5, 5, 5, 10, 10, 30, 30]
