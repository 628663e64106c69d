import itertools

import numpy as np
import pytest

from services.explanation.semantics.embeddings import Embeddings, unit_rows
from services.explanation.semantics.metrics import clarity
from services.explanation.semantics.nulls import (
    background_moments,
    bank_moments,
    clarity_null,
    draw_sets,
    nearest_samples,
    random_set_bank,
    sizes_for,
    split_null,
)
from services.kit.arrays import save_arrays
from tests.explanation.planted import unit


def stored(folder, rows: np.ndarray, shards: int) -> Embeddings:
    paths = []
    for number, piece in enumerate(np.array_split(rows, shards)):
        path = folder / f"{number}.safetensors"
        save_arrays(path, {"unit": piece.astype(np.float16)})
        paths.append(path)
    return Embeddings(paths)


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(0)
    return unit(draw.normal(size=(600, 24)) + 0.7 * np.eye(24)[0])


@pytest.fixture(scope="module")
def embeddings(rows, tmp_path_factory) -> Embeddings:
    return stored(tmp_path_factory.mktemp("embeddings"), rows, 4)


def test_rows_come_back_from_any_shard_in_float32_and_unit_length(embeddings, rows):
    ids = np.array([[599, 0], [150, 149], [300, 300]])
    found = embeddings.rows(ids)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows[ids], atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-6)


def test_the_empty_place_is_no_sample(embeddings):
    with pytest.raises(IndexError):
        embeddings.rows(np.array([0, -1]))
    with pytest.raises(IndexError):
        embeddings.rows(np.array([600]))


def test_expected_clarity_is_the_mean_over_all_pairs(tmp_path):
    few = stored(tmp_path, unit(np.random.default_rng(1).normal(size=(9, 4))), 2)
    whole = few.rows(np.arange(9)).astype(np.float64)
    pairs = [whole[i] @ whole[j] for i, j in itertools.combinations(range(9), 2)]
    assert clarity_null(few, np.random.default_rng(0)).expected == pytest.approx(np.mean(pairs), abs=1e-6)


def test_the_closed_form_deviation_is_that_of_drawn_sets(embeddings):
    null = clarity_null(embeddings, np.random.default_rng(0))
    sets = draw_sets(embeddings.n, 15, 4000, np.random.default_rng(1))
    drawn = clarity(embeddings.rows(sets))
    assert drawn.mean() == pytest.approx(null.expected, abs=5e-4)
    assert drawn.std() == pytest.approx(float(null.deviation(np.array([15]))[0]), rel=0.06)


@pytest.mark.parametrize(("n", "size"), [(1000, 5), (801, 200), (40, 40), (12, 11)])
def test_sets_hold_distinct_samples_and_are_found_at_once(n, size):
    sets = draw_sets(n, size, 50, np.random.default_rng(0))
    assert sets.shape == (50, size)
    assert all(len(set(row)) == size for row in sets.tolist())
    assert sets.min() >= 0
    assert sets.max() < n


def test_every_sample_is_drawn_equally_often():
    counts = np.bincount(draw_sets(50, 5, 20_000, np.random.default_rng(0)).ravel(), minlength=50)
    assert np.abs(counts / 2000 - 1).max() < 0.1


def test_random_sets_have_no_z_against_themselves(embeddings):
    """Scores of fresh random sets are standard normal: the null is one of what it says."""
    bank = random_set_bank(embeddings, 10, 1500, np.random.default_rng(0))
    fresh = random_set_bank(embeddings, 10, 1500, np.random.default_rng(1))
    query = unit(np.random.default_rng(2).normal(size=(1, 24)))
    mean, deviation = bank_moments(bank, query)
    z = (fresh @ query[0] - mean[0]) / deviation[0]
    assert z.mean() == pytest.approx(0, abs=0.1)
    assert z.std() == pytest.approx(1, abs=0.08)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.05, abs=0.02)


def test_a_direction_in_which_nothing_varies_gives_no_z():
    bank = np.tile(np.array([[1, 0]], np.float32), (10, 1))
    assert np.isnan(bank_moments(bank, np.array([[1, 0]], np.float32))[1][0])


def test_background_moments_are_median_and_scaled_deviation_of_standardised_scores():
    draw = np.random.default_rng(0)
    rows, background = unit(draw.normal(size=(7, 16))), unit(draw.normal(size=(101, 16)))
    mean, deviation = draw.normal(size=101).astype(np.float32), draw.uniform(1, 2, 101).astype(np.float32)
    scores = (rows.astype(np.float64) @ background.T - mean) / deviation
    median, spread = background_moments(rows, background, mean, deviation)
    np.testing.assert_allclose(median, np.median(scores, axis=1), atol=1e-5)
    by_hand = 1.4826 * np.median(np.abs(scores - np.median(scores, axis=1)[:, None]), axis=1)
    np.testing.assert_allclose(spread, by_hand, atol=1e-5)


def test_a_background_without_spread_gives_no_z():
    row = np.array([[0, 1]], np.float32)
    background = np.tile(np.array([[1, 0]], np.float32), (5, 1))
    assert np.isnan(background_moments(row, background, np.zeros(5, np.float32), np.ones(5, np.float32))[1][0])


def test_nearest_samples_equal_a_full_sort(embeddings):
    anchors = np.array([3, 400])
    whole = embeddings.rows(np.arange(600))
    expected = np.argsort(-(whole[anchors] @ whole.T), axis=1, kind="stable")[:, :25]
    np.testing.assert_array_equal(nearest_samples(embeddings, anchors, 25), expected)


def test_the_split_null_spans_clear_and_diffuse_sets(embeddings):
    null = split_null(embeddings, 10, np.random.default_rng(0))
    expected = clarity_null(embeddings, np.random.default_rng(0)).expected
    assert null.clarity.shape == null.share.shape == (1200,)
    assert null.clarity.max() > null.clarity.min() + 0.1
    assert np.median(null.clarity) > expected + 0.1  # neighbours are more alike than any samples
    assert ((null.share >= 0) & (null.share <= 1)).all()


def test_sizes_end_with_the_number_of_examples():
    assert sizes_for(30) == [5, 10, 15, 20, 30]
    assert sizes_for(12) == [5, 10, 12]


def test_rows_of_length_zero_stay_zero():
    np.testing.assert_array_equal(unit_rows(np.zeros((1, 3))), np.zeros((1, 3)))
